"""What a full check keeps while it works: partitions done, who was waiting, and how far the chain was verified."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.clock import Clock, is_of_the_future
from reconciler.domain.breaks import Break, BreakKind
from reconciler.ledger.bulk import put
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.operations.runs import INTERRUPTED
from reconciler.ledger.schema import check_partitions, check_waiting, runs
from reconciler.ports.check_runs import CheckKey, DonePartition


class SqlCheckRuns:
    """Keeps how far a full check is, in tables beside the journal. Only the holder of the check's lease writes here."""

    def __init__(self, engine: Engine, *, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def close_interrupted(self) -> int:
        """Mark checks that ended without recording it as interrupted; returns how many."""
        is_open = (runs.c.kind == "full_check") & runs.c.finished_at.is_(None)
        with writing(self._engine) as connection:
            return connection.execute(
                sa.update(runs)
                .where(is_open)
                .values(
                    finished_at=self._clock(),
                    outcome=INTERRUPTED,
                    error="the process ended before the check was through",
                )
            ).rowcount

    def done(self, key: CheckKey, since: datetime) -> list[DonePartition]:
        """Partitions of an unfinished check of the same kind, if its last one was kept after ``since``."""
        table = check_partitions
        query = sa.select(table).where(table.c.work_key == _text(key)).order_by(table.c.number)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        kept_at = max((row.kept_at for row in rows), default=None)
        if kept_at is None or kept_at < since or is_of_the_future(kept_at, self._clock()):
            return []
        return [
            DonePartition(
                number=row.number,
                up_to=row.up_to,
                tally=json.loads(row.tally),
                breaks=[_break(one) for one in json.loads(row.breaks)],
            )
            for row in rows
        ]

    def keep(self, key: CheckKey, done: DonePartition) -> None:
        """Remember a partition. The first one of a check forgets those of the checks before."""
        row = {
            "work_key": _text(key),
            "number": done.number,
            "up_to": done.up_to,
            "tally": json.dumps(dict(done.tally)),
            "breaks": json.dumps([asdict(one) for one in done.breaks]),
            "kept_at": self._clock(),
        }
        with writing(self._engine) as connection:
            if done.number == 1:
                connection.execute(sa.delete(check_partitions))
            # A check that lost its lease may be keeping the same one.
            put(connection, check_partitions, [row])

    def finish(self, waiting: Mapping[str, datetime]) -> None:
        """Forget all partitions; keep who was due and unpaid, and when that was read first."""
        with writing(self._engine) as connection:
            connection.execute(sa.delete(check_partitions))
            connection.execute(sa.delete(check_waiting))
            rows = [{"participation_id": one, "read_at": read_at} for one, read_at in sorted(waiting.items())]
            put(connection, check_waiting, rows)

    def waiting(self) -> dict[str, datetime]:
        """Who was due and unpaid when the last check looked: tagged participation → when that was read first."""
        now = self._clock()
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(check_waiting)).all()
        # Read at a time of the future: no sweep would ever have passed by since.
        return {row.participation_id: min(row.read_at, now) for row in found}


def _text(key: CheckKey) -> str:
    return json.dumps(asdict(key), sort_keys=True)


def _break(stored: Mapping[str, object]) -> Break:
    fields = dict(stored)
    kind = BreakKind(str(fields.pop("kind")))
    return Break(kind=kind, **fields)  # type: ignore[arg-type]  # written by asdict of the same class
