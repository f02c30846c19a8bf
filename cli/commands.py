"""What each command does, once its arguments are understood."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog
import yaml

from cli import render, report_view
from cli.composition import Parts, parts_of
from cli.session import Session
from cli.waiting import wait_for_ledger
from jobs.full_check import CheckOptions
from reconciler.check_ports import MissingCollection
from reconciler.config import Settings
from reconciler.domain.breaks import Severity
from reconciler.errors import InvariantBroken
from reconciler.exit_codes import ExitCode
from reconciler.ledger import migrate as ledger_migrate
from reconciler.mongo import indexes
from reconciler.mongo.connection import require_primary
from reconciler.reports.model import Report

log = structlog.get_logger(__name__)


def sweep_once(session: Session, settings: Settings, *, dry_run: bool) -> ExitCode:
    """One sweep. Raises Outage, InvariantBroken or UsageError."""
    with parts_of(settings) as parts:
        prepare(parts, makes=True)
        with halting(parts):
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
        is_halted = parts.desk.is_halted()
        options = CheckOptions(
            trigger="full_check",
            dry_run=dry_run or is_halted or not settings.payout.enabled,
            campaign_id=campaign_id,
            is_halted=is_halted,
            remembers=not dry_run,
        )
        with halting(parts), render.progress("Checking participations") as progress:
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
    _say_missing(missing)
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


@contextmanager
def halting(parts: Parts) -> Iterator[None]:
    """Write a broken invariant down, so that nobody pays until a person has looked; it goes on its way."""
    try:
        yield
    except InvariantBroken as broken:
        parts.desk.halt(broken.invariant, broken.detail)
        raise


def keep_halt(parts: Parts, report: Report) -> None:
    """Halt paying when a check found the ledger contradicting itself, whether it was to repair anything or not."""
    critical = [one.found for one in report.sightings if one.found.severity is Severity.CRITICAL]
    if critical:
        parts.desk.halt(critical[0].kind.value, critical[0].detail)


def prepare(parts: Parts, *, makes: bool = False) -> None:
    """Make sure that both databases are there and are what this program needs, within the bounded wait.

    ``makes``: a SQLite ledger that is not there yet is made, since somebody is to be paid.
    """
    wait_for_ledger(parts)
    ledger_migrate.require_current(parts.engine, makes=makes)
    require_primary(parts.connection)
    missing = parts.full_check.scan.missing_collections()
    _say_missing({role: one for role, one in missing.items() if one.is_suspect})
    absent = {one.name for one in missing.values()}
    for index in indexes.missing(parts.connection, parts.settings.mapping):
        if index.collection in absent:
            continue
        log.warning(
            "an index is missing, so queries are slow: run `python run.py migrate`",
            action="index_missing",
            index=str(index),
        )


def _say_missing(missing: Mapping[str, MissingCollection]) -> None:
    for role, one in missing.items():
        log.warning(
            "a mapped collection does not exist, and is not made: correct mongodb.database or mapping.collections, "
            "then run `python run.py migrate` for its indexes",
            action="collection_missing",
            collection=one.name,
            wanted_for=role,
            why=one.detail,
        )


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command, on stdout: in ASCII, which every encoding can say."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
