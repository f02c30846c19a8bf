"""The record of every sweep and check: begun, ended, and with what."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.clock import CLOCKS_DIFFER_MAX, utc_now
from reconciler.ledger.combined_select import CombinedSelect
from reconciler.ledger.database_clock import before, now_sql
from reconciler.ledger.engine import reading, reading_once, writing
from reconciler.ledger.operations.events import EventLog
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import chain_head, ledger_identity, runs
from reconciler.ports.ledger_guard import LedgerPosition
from reconciler.ports.runs import RunRecord

_POSITION = CombinedSelect(
    lambda _: {
        "position": sa.select(ledger_identity.c.ledger_id, chain_head.c.sequence).join_from(
            ledger_identity, chain_head, sa.true()
        )
    }
)

SILENT_FOR = timedelta(minutes=2)
"""After so long without a sign of life, on the database's clock, a run without an end was interrupted: eight signs of
life, and longer than the longest wait for a lock."""

INTERRUPTED = "interrupted"

_INTERRUPTED_BECAUSE = "its process ended, or its machine, before the run did; nothing it had committed is lost"


class RunLog:
    """Writes runs beside the ledger. One without an end goes on, or was interrupted."""

    def __init__(self, engine: Engine, *, events: EventLog | None = None) -> None:
        self._engine = engine
        self._events = events or EventLog(engine, clock=utc_now, subscriptions={})

    def start(self, run: RunRecord) -> None:
        """Record that a run began."""
        with writing(self._engine) as connection:
            connection.execute(
                sa.insert(runs).values(
                    run_id=run.run_id,
                    kind=run.kind,
                    trigger=run.trigger,
                    started_at=run.started_at,
                    alive_at=now_sql(connection),
                )
            )

    def beat(self, run_id: str) -> None:
        """Give a sign of life of a run that goes on, by the database's clock."""
        with writing(self._engine) as connection:
            connection.execute(sa.update(runs).where(runs.c.run_id == run_id).values(alive_at=now_sql(connection)))

    def end_silent(self) -> list[RunRecord]:
        """Mark runs as interrupted that have no end and gave no sign of life for long; returns them.

        A run that goes on gives signs of life, on whatever host. One that was silent and alive all the same, as on a
        machine that slept, records its own end later, which replaces this mark.
        """
        with reading(self._engine) as connection:
            silent = [_record(row) for row in connection.execute(sa.select(runs).where(_is_silent(connection)))]
        if not silent:
            return []
        with writing(self._engine) as connection:
            ended = connection.execute(
                sa.update(runs)
                .where(_is_silent(connection))
                .values(
                    # When it was last known to live.
                    finished_at=runs.c.alive_at,
                    outcome=INTERRUPTED,
                    counts="{}",
                    error=_INTERRUPTED_BECAUSE,
                )
                .returning(*runs.columns)
            )
            return [_record(row) for row in ended]

    def finish(self, run: RunRecord) -> None:
        """Record how it ended."""
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(runs)
                .where(runs.c.run_id == run.run_id)
                .values(
                    finished_at=run.finished_at,
                    outcome=run.outcome,
                    counts=json.dumps(dict(run.counts), sort_keys=True),
                    error=run.error,
                )
            )
            self._events.run_ended(connection, run)

    def prune(self, before: datetime) -> int:
        """Forget sweeps that ended before a time; checks are kept. Returns how many went."""
        is_old = (runs.c.kind == "sweep") & (runs.c.finished_at < before)
        with writing(self._engine) as connection:
            return connection.execute(sa.delete(runs).where(is_old)).rowcount

    def latest(self, kind: str) -> RunRecord | None:
        """The newest run of a kind that ended."""
        query = sa.select(runs).where(runs.c.kind == kind, runs.c.finished_at.is_not(None)).limit(1)
        with reading(self._engine) as connection:
            row = connection.execute(query.order_by(*_newest_first(connection))).one_or_none()
        return None if row is None else _record(row)

    def newest(self, kinds: tuple[str, ...], limit: int) -> list[RunRecord]:
        """The newest runs of some kinds, newest first. Those that fell silent show as interrupted, marked or not."""
        with reading(self._engine) as connection:
            query = sa.select(runs).where(runs.c.kind.in_(kinds)).order_by(*_newest_first(connection), runs.c.run_id)
            silent = set(connection.execute(sa.select(runs.c.run_id).where(_is_silent(connection))).scalars())
            found = [_record(row) for row in connection.execute(query.limit(limit))]
        return [
            replace(one, outcome=INTERRUPTED, error=_INTERRUPTED_BECAUSE) if one.run_id in silent else one
            for one in found
        ]


def _newest_first(connection: Connection) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    """Those that a wrong clock dated in the future come last, lest they stand for the last ones until then."""
    return runs.c.started_at > before(connection, -CLOCKS_DIFFER_MAX), runs.c.started_at.desc()


def _is_silent(connection: Connection) -> sa.ColumnElement[bool]:
    # A sign of the future was given by a clock that was wrong.
    is_off = (runs.c.alive_at < before(connection, SILENT_FOR)) | (runs.c.alive_at > before(connection, -SILENT_FOR))
    return runs.c.finished_at.is_(None) & is_off


def _record(row: sa.Row[Any]) -> RunRecord:
    return from_row(RunRecord, row, counts=json.loads(row.counts or "{}"))


def ledger_position(engine: Engine) -> LedgerPosition:
    """Which ledger this is, and how far it is."""
    with reading_once(engine) as connection:
        [row] = _POSITION.run(connection, {})["position"]
    return LedgerPosition(ledger_id=row.ledger_id, sequence=row.sequence)
