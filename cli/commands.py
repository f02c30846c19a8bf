"""What each command does, once its arguments are understood."""

from __future__ import annotations

import json
import sys
from typing import Any

import structlog
import yaml

from app.parts import parts_of
from app.preparing import keep_halt, prepare, say_missing, wait_for_ledger
from cli import render, report_view
from cli.session import Session
from jobs.check.full_check import CheckOptions
from jobs.process.halting import halting
from reconciler.config import Settings
from reconciler.exit_codes import ExitCode
from reconciler.ledger import migrate as ledger_migrate
from reconciler.mongo import indexes

log = structlog.get_logger(__name__)


def sweep_once(session: Session, settings: Settings, *, dry_run: bool) -> ExitCode:
    """One sweep. Raises Outage, InvariantBroken or UsageError."""
    with parts_of(settings) as parts:
        prepare(parts, makes=True)
        with halting(parts.decisions):
            result = parts.sweep.step("once", dry_run=dry_run or not settings.payout.enabled)
    if session.as_json:
        print_json(result.as_json())
    else:
        render.sweep(result)
    return ExitCode.CLEAN


def check(session: Session, settings: Settings, *, dry_run: bool, campaign_id: str | None) -> ExitCode:
    """One full check. Raises Outage, InvariantBroken or UsageError."""
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


def migrate(_session: Session, settings: Settings, *, as_json: bool) -> ExitCode:
    """Bring both databases to what this program needs. Raises Outage or UsageError."""
    with parts_of(settings) as parts:
        wait_for_ledger(parts)
        before, after = ledger_migrate.upgrade(parts.engine)
        missing = parts.full_check.scan.missing_collections()
        spared = {one.name for one in missing.values()}
        ignored = indexes.ignored(parts.connection, settings.mapping)
        created = indexes.create_missing(parts.connection, settings.mapping, spared=spared)
        advice = indexes.wallets_advice(parts.connection, settings.mapping)
    for one in ignored:
        log.warning("an index cannot be used", action="index_ignored", why=one)
    for sentence in advice:
        log.warning(sentence, action="wallets_not_unique")
    names = [str(index) for index in created]
    say_missing(missing)
    if as_json:
        shown = {"collections_missing": sorted(one.name for one in missing.values())} if missing else {}
        print_json({"ledger": {"before": before, "after": after}, "indexes_created": names, **shown})
    else:
        render.migration(before, after, names)
    return ExitCode.CLEAN


def config_check(_session: Session, settings: Settings, *, as_json: bool) -> ExitCode:
    """Print the effective settings without credentials."""
    if as_json:
        print_json(settings.masked())
    else:
        sys.stdout.write(yaml.safe_dump(settings.masked(), sort_keys=False))
    return ExitCode.CLEAN


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command, on stdout: in ASCII, which every encoding can say."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
