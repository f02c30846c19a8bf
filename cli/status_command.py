"""`status`: how everything stands, by the databases and the report files; no daemon has to be asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import click

from app.ledger import ledger_of
from app.mongodb import mongodb_of
from cli import render
from cli.opening import zone_of
from cli.session import Session, as_json_option, print_json
from cli.tables import local_time, one_line
from reconciler.exit_codes import ExitCode
from reconciler.ledger.operations.overview import LedgerOverview
from reconciler.ports.runs import RunRecord
from reconciler.queries.overview import (
    Overview,
    OverviewSources,
    clock_section,
    overview_document,
    overview_of,
    stream_section,
)


@click.command()
@as_json_option
@click.pass_obj
def status(session: Session) -> ExitCode:
    """How everything stands. Exits 3 when a database is away, 4 while paying is halted."""
    settings = session.settings()
    with ledger_of(settings) as parts, mongodb_of(settings) as connection:
        now = parts.clock()
        sources = OverviewSources(
            engine=parts.engine,
            connection=connection,
            reports=settings.reports.directory,
            sections={
                "stream": lambda: stream_section(parts.positions.load(), now, watch_enabled=settings.watch.enabled),
                "clock": lambda: clock_section(parts.journal.now),
            },
        )
        found = overview_of(sources, now)
    if session.as_json:
        print_json(overview_document(found, settings.sweep.lease_ttl_s))
    else:
        zone = zone_of(settings)
        render.facts("Status", _lines(found, lambda time: local_time(time, zone)))
    if found.ledger is not None and found.ledger.halt is not None:
        # Before a database that is away: that one comes back by itself.
        return ExitCode.HALTED
    return ExitCode.UNREACHABLE if found.away else ExitCode.CLEAN


def _lines(found: Overview, shown: Callable[[datetime], str]) -> list[tuple[str, str]]:
    ledger = found.ledger
    lines = [
        (name, f"away: {one_line(found.away[name])}" if name in found.away else "reachable")
        for name in ("ledger", "mongodb")
    ]
    if found.is_replica_set is False:
        lines.append(("mongodb is", "a standalone server: no change streams, sweeps only"))
    if ledger is not None:
        lines += _lines_of_ledger(ledger, found.now, shown)
    lines += [
        (f"{name}: {key.replace('_', ' ')}", shown(value) if isinstance(value, datetime) else _said(value))
        for name, part in found.sections.items()
        for key, value in part.items()
        if value is not None
    ]
    if found.report is not None:
        lines.append(("newest report", one_line(f"{found.report['report_id']} ({found.report['verdict']})")))
    return lines


def _lines_of_ledger(ledger: LedgerOverview, now: datetime, shown: Callable[[datetime], str]) -> list[tuple[str, str]]:
    halt, lease = ledger.halt, ledger.lease
    if lease is None:
        leads = "nobody yet"
    elif lease.is_held:
        leads = f"{one_line(lease.holder)} (epoch {lease.epoch}, for {lease.expires_in_s:.0f} s more)"
    elif lease.was_given_back:
        leads = f"nobody; last {one_line(lease.holder)}, which gave the lease back"
    else:
        leads = f"nobody; last {one_line(lease.holder)}, {_ago(-lease.expires_in_s)} ago"
    return [
        ("paying", "not halted" if halt is None else f"HALTED since {shown(halt.since)}: {one_line(halt.cause)}"),
        ("leads", leads),
        ("last sweep", _run_line(ledger.last_sweep, now)),
        ("last check", _run_line(ledger.last_check, now)),
        *([("running check", _run_line(ledger.running_check, now))] if ledger.running_check else []),
        ("open breaks", _counts(ledger.open_breaks)),
        ("acknowledged breaks", str(ledger.acknowledged_breaks_count)),
        ("holds", _counts(ledger.holds)),
        ("effects pending, blocked", f"{ledger.outbox.pending}, {ledger.outbox.blocked}"),
        ("ledger sequence", str(ledger.sequence)),
    ]


def _run_line(run: RunRecord | None, now: datetime) -> str:
    if run is None:
        return "none yet"
    ago = f"{_ago((now - (run.finished_at or run.started_at)).total_seconds())} ago"
    if run.outcome is None:
        return f"began {ago}"
    return f"{run.outcome}, {ago}" + (f": {one_line(run.error)}" if run.error else "")


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.items()) or "none"


def _ago(seconds: float) -> str:
    for length_s, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length_s:
            return f"{int(seconds // length_s)} {unit}"
    return f"{max(0, round(seconds))} s"


def _said(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else one_line(str(value))
