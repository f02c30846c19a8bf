"""What one call of the command line was given, before any command begins, and what all commands share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from reconciler.config import Settings, load
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
    """The switch for machines."""
    return click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document.")(command)


def signed(command: Command) -> Command:
    """Options of every command with which a person decides."""
    by = click.option("--by", required=True, metavar="NAME", help="Who decides.")
    reason = click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept for ever.")
    return by(reason(command))


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command, on stdout: in ASCII, which every encoding can say."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
