"""`--once`: one sweep."""

from __future__ import annotations

from app.parts import parts_of
from app.preparing import prepare
from cli import render
from cli.session import Session, print_json
from jobs.process.halting import halting
from reconciler.exit_codes import ExitCode


def sweep_once(session: Session, *, dry_run: bool) -> ExitCode:
    """One sweep. Raises Outage, InvariantBroken or UsageError."""
    settings = session.settings()
    with parts_of(settings) as parts:
        prepare(parts, makes=True)
        with halting(parts.decisions):
            result = parts.sweep.step("once", dry_run=dry_run or not settings.payout.enabled)
    if session.as_json:
        print_json(result.as_json())
    else:
        render.sweep(result)
    return ExitCode.CLEAN
