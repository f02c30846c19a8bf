"""`--full-check`: one full check, and its report."""

from __future__ import annotations

from app.parts import parts_of
from app.preparing import keep_halt, prepare
from cli import render, report_view
from cli.session import Session, print_json
from jobs.check.options import CheckOptions
from jobs.process.halting import halting
from reconciler.exit_codes import ExitCode


def check(session: Session, *, dry_run: bool, campaign_id: str | None) -> ExitCode:
    """One full check. Raises Outage, InvariantBroken or UsageError."""
    settings = session.settings()
    with parts_of(settings) as parts:
        prepare(parts, makes=True)
        # Checks go on while paying is halted: they say what they see, and repair nothing.
        is_halted = parts.decisions.is_halted()
        options = CheckOptions(
            trigger="full_check",
            dry_run=dry_run or is_halted or not settings.payout.enabled,
            campaign_id=campaign_id,
            is_halted=is_halted,
            remembers=not dry_run,
        )
        with halting(parts.decisions), render.progress("Checking participations") as progress:
            report, path = parts.full_check.step(options, progress)
        keep_halt(parts, report)
    if session.as_json:
        print_json(report.as_json(settings.reports.json_breaks_max))
    else:
        report_view.show_report(report.as_json(len(report.sightings)), path)
    return report.exit_code
