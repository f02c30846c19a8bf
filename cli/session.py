"""What one call of the command line was given, before any command begins, and what all commands share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.config import Settings, load
from reconciler.errors import UsageError
from reconciler.telemetry import configure_logging

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Flags that every command shares."""

    config_path: Path | None
    overrides: Mapping[str, object]
    as_json: bool

    def settings(self, more: Mapping[str, object] | None = None) -> Settings:
        """The effective settings, with logging set up by them. Raises ConfigError."""
        settings = load(self.config_path, os.environ, {**self.overrides, **(more or {})})
        configure_logging(settings.log, sys.stderr)
        return settings


def as_json_option(command: Command) -> Command:
    """`--json` behind a command; it means what it means before the command: ``session.as_json``."""
    return click.option(
        "--json", is_flag=True, expose_value=False, callback=_ask_json, help="Print exactly one JSON document."
    )(command)


def format_option(*formats: str) -> Callable[[Command], Command]:
    """`--format` as the parameter ``form``; the first is the default."""
    return click.option(
        "--format", "form", type=click.Choice(formats), help=f"How it is written; default: {formats[0]}."
    )


def chosen_format(session: Session, form: str | None, default: str = "table") -> str:
    """``--format``, or what ``--json`` means. Raises UsageError when both are given and differ."""
    if form is not None and session.as_json and form != "json":
        raise UsageError(f"--json and --format {form} exclude each other")
    return form or ("json" if session.as_json else default)


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command, on stdout: in ASCII, which every encoding can say."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def _ask_json(context: click.Context, _option: click.Parameter, given: object) -> None:
    if given:
        context.obj = replace(context.obj, as_json=True)
