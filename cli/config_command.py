"""`config check`: the settings in effect."""

from __future__ import annotations

import sys

import click
import yaml

from cli.session import Session, as_json_option, print_json
from reconciler.exit_codes import ExitCode


@click.command(name="check")
@as_json_option
@click.pass_obj
def config_check(session: Session) -> ExitCode:
    """Check the configuration and print what is in effect, credentials struck out."""
    masked = session.settings().masked()
    if session.as_json:
        print_json(masked)
    else:
        sys.stdout.write(yaml.safe_dump(masked, sort_keys=False))
    return ExitCode.CLEAN
