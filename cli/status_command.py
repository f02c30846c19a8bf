"""`status`: how everything stands, by the databases and the report files; no daemon has to be asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import click

from app.parts import Parts, parts_of
from cli import render
from cli.books import zone_of
from cli.commands import print_json
from cli.people_commands import as_json_option
from cli.session import Session
from cli.stream_commands import stream_standing
from cli.tables import local_time, one_line
from reconciler.clock import utc_text
from reconciler.errors import ClockOff, Outage, UsageError
from reconciler.exit_codes import ExitCode
from reconciler.ledger.migrate import require_current
from reconciler.ledger.operations.overview import LedgerOverview, overview
from reconciler.mongo.connection import is_standalone
from reconciler.ports.runs import RunRecord
from reconciler.reports.shelf import LATEST, ReportShelf
from reconciler.reports.stored import read_report

Source = Callable[[Parts], Mapping[str, object]]


def _clock_standing(parts: Parts) -> Mapping[str, object]:
    """Whether this host may post, by its clock, and why not."""
    try:
        parts.journal.now()
    except ClockOff as off:
        return {"is_right": False, "reason": str(off)}
    return {"is_right": True, "reason": None}


SOURCES: tuple[tuple[str, Source], ...] = (("stream", stream_standing), ("clock", _clock_standing))
"""Further sections by name, each from a table of its own: asked only when the ledger is there. Times are aware."""


@dataclass(slots=True, kw_only=True)
class _Found:
    """What could be learned. ``away``: database → why it cannot be reached."""

    now: datetime
    away: dict[str, str] = field(default_factory=dict)
    ledger: LedgerOverview | None = None
    is_replica_set: bool | None = None
    sections: dict[str, Mapping[str, object]] = field(default_factory=dict)
    report: dict[str, object] | None = None
    """The newest whole report on disk, which can be read when both databases are away."""


@click.command()
@as_json_option
@click.pass_obj
def status(session: Session, *, as_json: bool) -> ExitCode:
    """How everything stands. Exits 3 when a database is away, 4 while paying is halted."""
    with parts_of(session.settings()) as parts:
        found = _look(parts)
        zone = zone_of(parts.settings)
    if as_json or session.as_json:
        print_json(_document(found, parts.settings.sweep.lease_ttl_s))
    else:
        render.facts("Status", _lines(found, lambda time: local_time(time, zone)))
    if found.ledger is not None and found.ledger.halt is not None:
        # Before a database that is away: that one comes back by itself.
        return ExitCode.HALTED
    return ExitCode.UNREACHABLE if found.away else ExitCode.CLEAN


def _look(parts: Parts) -> _Found:
    """Ask everything once. A database that is away leaves its part out. Raises UsageError for one not migrated."""
    found = _Found(now=parts.clock(), report=_newest_report(ReportShelf(parts.settings.reports.directory)))
    try:
        require_current(parts.engine, makes=False)
        found.ledger = overview(parts.engine)
        found.sections = {name: source(parts) for name, source in SOURCES}
    except Outage as outage:
        found.away[outage.database] = outage.reason
    try:
        found.is_replica_set = not is_standalone(parts.connection)
    except Outage as outage:
        found.away[outage.database] = outage.reason
    return found


def _newest_report(shelf: ReportShelf) -> dict[str, object] | None:
    try:
        report = read_report(shelf, LATEST)
    except UsageError:
        # None yet, or a damaged one: `report show` says which.
        return None
    document = report.document
    return {name: document[name] for name in ("report_id", "verdict", "finished_at", "dry_run")}


def _document(found: _Found, lease_ttl_s: float) -> dict[str, Any]:
    ledger = found.ledger
    return {
        "now": utc_text(found.now),
        "databases": {
            name: {"reachable": name not in found.away, "reason": found.away.get(name)}
            for name in ("ledger", "mongodb")
        },
        "replica_set": found.is_replica_set,
        "halted": None if ledger is None else ledger.halt is not None,
        **({} if ledger is None else _of_ledger(ledger, found.now, lease_ttl_s)),
        **{name: {key: _plain(value) for key, value in part.items()} for name, part in found.sections.items()},
        "latest_report": found.report,
    }


def _of_ledger(ledger: LedgerOverview, now: datetime, lease_ttl_s: float) -> dict[str, Any]:
    lease, halt = ledger.lease, ledger.halt
    return {
        "halt": None
        if halt is None
        else {"since": utc_text(halt.since), "cause": halt.cause, "decision_key": halt.decision_key},
        "ledger": {"ledger_id": ledger.ledger_id, "sequence": ledger.sequence, "chain_head": ledger.chain_head},
        "lease": None
        if lease is None
        else {
            "holder": lease.holder,
            "epoch": lease.epoch,
            "held": lease.is_held,
            "expires_in_s": None if lease.was_given_back else lease.expires_in_s,
            # By this process's own sweep.lease_ttl_s, which daemons share.
            "renewed_ago_s": None if lease.was_given_back else round(lease_ttl_s - lease.expires_in_s, 3),
        },
        "last_sweep": _run(ledger.last_sweep, now),
        "last_check": _run(ledger.last_check, now),
        "running_check": _run(ledger.running_check, now),
        "open_breaks": dict(ledger.open_breaks),
        "acknowledged_breaks": ledger.acknowledged_breaks_count,
        "holds": dict(ledger.holds),
        "outbox": {"pending": ledger.outbox.pending, "blocked": ledger.outbox.blocked},
    }


def _run(run: RunRecord | None, now: datetime) -> dict[str, Any] | None:
    if run is None:
        return None
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "trigger": run.trigger,
        "started_at": utc_text(run.started_at),
        "finished_at": None if run.finished_at is None else utc_text(run.finished_at),
        "outcome": run.outcome,
        "error": run.error,
        "age_s": round((now - (run.finished_at or run.started_at)).total_seconds(), 3),
    }


def _lines(found: _Found, shown: Callable[[datetime], str]) -> list[tuple[str, str]]:
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


def _plain(value: object) -> object:
    return utc_text(value) if isinstance(value, datetime) else value
