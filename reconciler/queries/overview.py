"""How everything stands, by the databases and the report files; no daemon has to be asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from reconciler.clock import spelled, utc_text
from reconciler.errors import ClockOff, Outage, UsageError
from reconciler.ledger.engine import Engine, reading
from reconciler.ledger.operations.outbox import outbox_counts
from reconciler.ledger.operations.overview import LedgerOverview, overview
from reconciler.ledger.operations.runs import RunLog
from reconciler.ledger.reads.halts import current_halt
from reconciler.ledger.revisions import require_current
from reconciler.mongo.connection import Connection, is_standalone
from reconciler.ports.runs import RunRecord
from reconciler.ports.watch import KeptPosition
from reconciler.queries import Document
from reconciler.reports.folder import LATEST, ReportFolder
from reconciler.reports.stored import read_report

Section = Callable[[], Mapping[str, object]]
"""Asks for one more part of the overview. Times in it are aware."""


@dataclass(slots=True, kw_only=True)
class Overview:
    """What could be learned. ``away``: database → why it cannot be reached."""

    now: datetime
    away: dict[str, str] = field(default_factory=dict)
    ledger: LedgerOverview | None = None
    is_replica_set: bool | None = None
    sections: dict[str, Mapping[str, object]] = field(default_factory=dict)
    report: Document | None = None
    """The newest whole report on disk, which can be read when both databases are away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewSources:
    """Where an overview comes from. ``sections`` are asked only when the ledger is there."""

    engine: Engine
    connection: Connection
    reports: Path
    sections: Mapping[str, Section]


def overview_of(sources: OverviewSources, now: datetime) -> Overview:
    """Ask everything once. A database that is away leaves its part out. Raises UsageError for one not migrated."""
    found = Overview(now=now, report=_newest_report(ReportFolder(sources.reports)))
    try:
        require_current(sources.engine, makes=False)
        found.ledger = overview(sources.engine)
        found.sections = {name: ask() for name, ask in sources.sections.items()}
    except Outage as outage:
        found.away[outage.database] = outage.reason
    try:
        found.is_replica_set = not is_standalone(sources.connection)
    except Outage as outage:
        found.away[outage.database] = outage.reason
    return found


def halt_document(engine: Engine) -> Document | None:
    """The halt that nobody has ended: ``since`` and ``cause``."""
    with reading(engine) as connection:
        found = current_halt(connection)
    return None if found is None else {"since": utc_text(found.since), "cause": found.cause}


def last_run_document(engine: Engine, kind: str) -> Document | None:
    """The newest run of a kind (``sweep``, ``full_check``); None where there is none, or it has not ended."""
    run = RunLog(engine).latest(kind)
    if run is None or run.finished_at is None:
        return None
    return {
        "run_id": run.run_id,
        "started_at": utc_text(run.started_at),
        "finished_at": utc_text(run.finished_at),
        "outcome": run.outcome or "",
        "counts": dict(run.counts),
    }


def outbox_document(engine: Engine) -> dict[str, int]:
    """How many payouts wait for their effects (``pending``), and how many cannot have them (``blocked``)."""
    with reading(engine) as connection:
        counts = outbox_counts(connection)
    return {"pending": counts.pending, "blocked": counts.blocked}


def clock_section(ask_time: Callable[[], datetime]) -> Mapping[str, object]:
    """Whether this host may post, by its clock, and why not. ``ask_time`` raises ClockOff."""
    try:
        ask_time()
    except ClockOff as off:
        return {"is_right": False, "reason": str(off)}
    return {"is_right": True, "reason": None}


def stream_section(kept: KeptPosition, now: datetime, *, watch_enabled: bool) -> dict[str, object]:
    """Where the watch stands by what is kept. Nobody is asked whether it could go on from there."""
    reached_at = None if kept.position is None else kept.position.reached_at
    return {
        "watch_enabled": watch_enabled,
        "has_position": kept.position is not None,
        "reached_at": reached_at,
        "age_s": None if reached_at is None else max(0, round((now - reached_at).total_seconds())),
        "changed_at": kept.changed_at,
        "dropped_because": kept.dropped_because,
    }


def overview_document(found: Overview, lease_ttl_s: float) -> Document:
    """An overview for JSON; ``lease_ttl_s`` is the setting ``sweep.lease_ttl_s``, which daemons share."""
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
        **{name: spelled(part) for name, part in found.sections.items()},
        "latest_report": found.report,
    }


def _of_ledger(ledger: LedgerOverview, now: datetime, lease_ttl_s: float) -> Document:
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
            "renewed_ago_s": None if lease.was_given_back else round(lease_ttl_s - lease.expires_in_s, 3),
        },
        "last_sweep": _run_document(ledger.last_sweep, now),
        "last_check": _run_document(ledger.last_check, now),
        "running_check": _run_document(ledger.running_check, now),
        "open_breaks": dict(ledger.open_breaks),
        "acknowledged_breaks": ledger.acknowledged_breaks_count,
        "holds": dict(ledger.holds),
        "outbox": {"pending": ledger.outbox.pending, "blocked": ledger.outbox.blocked},
    }


def _run_document(run: RunRecord | None, now: datetime) -> Document | None:
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


def _newest_report(shelf: ReportFolder) -> Document | None:
    try:
        report = read_report(shelf, LATEST)
    except UsageError:
        # None yet, or a damaged one: `report show` says which.
        return None
    document = report.document
    return {name: document[name] for name in ("report_id", "verdict", "finished_at", "dry_run")}
