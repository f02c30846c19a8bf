"""``apikey``: keys for the API. Only the hash of one is ever kept, so it is shown once."""

from __future__ import annotations

import sys

import click

from app.serving import require_packages
from cli.session import Session, as_json_option, print_json
from reconciler.errors import UsageError
from reconciler.exit_codes import ExitCode


@click.group()
def apikey() -> None:
    """Keys for the API."""


@apikey.command()
@click.option("--role", required=True, type=click.Choice(["viewer", "admin"]), help="viewer reads, admin acts.")
@click.option("--name", required=True, help="Who will hold it; kept with everything they decide.")
@as_json_option
@click.pass_obj
def new(session: Session, *, role: str, name: str) -> ExitCode:
    """Make a key, and show it once with what belongs into the configuration. Nothing is stored."""
    require_packages()
    from reconciler.api.api_keys import digest_of, new_key  # noqa: PLC0415 - an extra, like all of the API
    from reconciler.config.api import parse_api_keys  # noqa: PLC0415

    key = new_key()
    entry = {"name": name, "role": role, "sha256": digest_of(key)}
    try:
        parse_api_keys([entry])
    except ValueError as error:
        raise UsageError(f"--name {error}") from None
    if session.as_json:
        print_json({"key": key, "config": entry})
    else:
        sys.stdout.write(
            f"The key, which is shown this once and stored nowhere:\n\n  {key}\n\n"
            "Into config.yaml, section api, auth, api_keys:\n\n"
            f"  - {{name: {name}, role: {role}, sha256: {entry['sha256']}}}\n\n"
            "Or into the environment, with commas between several:\n\n"
            f"  RECONCILER__API__AUTH__API_KEYS={name}:{role}:{entry['sha256']}\n"
        )
    return ExitCode.CLEAN
