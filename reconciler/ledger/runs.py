"""The record of every sweep and check: begun, ended, and with what."""

from __future__ import annotations

import json
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.ledger.engine import asking, reading, writing
from reconciler.ledger.schema import chain_head, ledger_identity, runs
from reconciler.ledger.together import Together
from reconciler.ports import LedgerPosition, RunRecord

_POSITION = Together(
    lambda _: {
        "position": sa.select(ledger_identity.c.ledger_id, chain_head.c.sequence).join_from(
            ledger_identity, chain_head, sa.true()
        )
    }
)


class RunLog:
    """Writes runs beside the ledger. A run without an end was interrupted."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def start(self, run: RunRecord) -> None:
        """Record that a run began."""
        with writing(self._engine) as connection:
            connection.execute(
                sa.insert(runs).values(run_id=run.run_id, kind=run.kind, trigger=run.trigger, started_at=run.started_at)
            )

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

    def prune(self, before: datetime) -> int:
        """Forget sweeps that ended before a time; checks are kept. Answers how many went."""
        is_old = (runs.c.kind == "sweep") & (runs.c.finished_at < before)
        with writing(self._engine) as connection:
            return connection.execute(sa.delete(runs).where(is_old)).rowcount

    def latest(self, kind: str) -> RunRecord | None:
        """The newest run of a kind that ended."""
        query = (
            sa.select(runs)
            .where(runs.c.kind == kind, runs.c.finished_at.is_not(None))
            .order_by(runs.c.started_at.desc())
            .limit(1)
        )
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return RunRecord(
            run_id=row.run_id,
            kind=row.kind,
            trigger=row.trigger,
            started_at=row.started_at,
            finished_at=row.finished_at,
            outcome=row.outcome,
            counts=json.loads(row.counts or "{}"),
            error=row.error,
        )


def ledger_position(engine: Engine) -> LedgerPosition:
    """Which ledger this is, and how far it is."""
    with asking(engine) as connection:
        [row] = _POSITION.ask(connection, {})["position"]
    return LedgerPosition(ledger_id=row.ledger_id, sequence=row.sequence)
