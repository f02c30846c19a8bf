"""Whether somebody who is due should have been paid by now: a whole sweep ended since, or no daemon sweeps."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.clock import CLOCKS_DIFFER_MAX
from reconciler.ledger.database_clock import before, database_now
from reconciler.ledger.engine import reading
from reconciler.ledger.operations.lease import PAYING, is_held
from reconciler.ledger.reads.halts import current_halt
from reconciler.ledger.schema import runs

LONGEST = timedelta(hours=2)


class SqlSweepWatch:
    """``pays``: whether this installation pays at all; where it does not, no sweep ever comes to anybody.

    ``within``: how long somebody may be on the way at most, whoever seems to lead: longer than any sweep takes.
    """

    def __init__(self, engine: Engine, *, pays: bool, within: timedelta = LONGEST) -> None:
        self._engine = engine
        self._pays = pays
        self._within = within

    def must_be_paid(self, read_at: datetime) -> bool:
        """Whether a whole sweep began and ended since ``read_at``, or no daemon is there to sweep."""
        if not self._pays:
            return True
        with reading(self._engine) as connection:
            return (
                not is_held(connection, PAYING)
                or read_at <= before(connection, self._within)
                or current_halt(connection) is not None
                or _swept_since(connection, read_at)
            )


def _swept_since(connection: Connection, since: datetime) -> bool:
    swept = (runs.c.kind == "sweep") & (runs.c.outcome == "complete") & (runs.c.started_at >= since)
    # A sweep of the future was one on a host whose clock was wrong: nobody knows when it was.
    is_known = runs.c.started_at <= database_now(connection) + CLOCKS_DIFFER_MAX
    found = connection.execute(
        sa.select(runs.c.run_id).where(swept, is_known, runs.c.finished_at.is_not(None)).limit(1)
    )
    return found.one_or_none() is not None
