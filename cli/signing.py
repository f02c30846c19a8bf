"""Options with which a person signs a decision."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import click

from reconciler.exit_codes import ExitCode
from reconciler.ledger.journal.decisions import Signature


def signed(command: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
    """Options of every command with which a person decides, as the parameter ``signature``."""

    @wraps(command)
    def sign(*arguments: object, by: str, reason: str, **others: object) -> ExitCode:
        return command(*arguments, signature=Signature(by=by, reason=reason), **others)

    by = click.option("--by", required=True, metavar="NAME", help="Who decides.")
    reason = click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept for ever.")
    return by(reason(sign))
