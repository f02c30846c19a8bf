"""Full checks on demand, as rows: whoever asks any daemon, the leading one does it, once.

A row is open until its check ended. A daemon that died in the middle leaves it open, and the next leader does the check
again under the same report id, a few times at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.clock import Clock
from reconciler.ledger.bulk import insert_new
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import check_requests

ATTEMPTS_MAX = 5
"""A check that ended its daemon so often is given up: it would end every next one too."""

GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """A row. ``outcome``: the report's verdict, ``failed`` or ``given_up``; None while it is open."""

    report_id: str
    requested_by: str
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    done_count: int
    expected_count: int
    outcome: str | None
    error: str | None

    @property
    def state(self) -> str:
        """``waiting``, ``running`` or ``finished``."""
        if self.finished_at is not None:
            return "finished"
        return "waiting" if self.started_at is None else "running"


class CheckRequests:
    """Asks for checks, takes them, and says how they go. ``new_id`` draws a report's identity."""

    def __init__(self, engine: Engine, *, clock: Clock, new_id: Callable[[datetime], str]) -> None:
        self._engine = engine
        self._clock = clock
        self._new_id = new_id

    def request(self, by: str) -> tuple[CheckRequest, bool]:
        """Ask for a check; returns the open one, and whether it is new. At most one is open."""
        # Most of a crowd find the open one without a write, which would queue for a lock.
        while (found := self.open_one()) is None:
            new = self._insert(by)
            if new is not None:
                return new, True
        return found, False

    def _insert(self, by: str) -> CheckRequest | None:
        """A new row; None where another request was quicker."""
        now = self._clock()
        report_id = self._new_id(now)
        empty = dict.fromkeys(("started_at", "finished_at", "outcome", "error"))
        counts = dict.fromkeys(("attempts", "done_count", "expected_count"), 0)
        row = {"report_id": report_id, "open_slot": 1, "requested_by": by, "requested_at": now, **empty, **counts}
        with writing(self._engine) as connection:
            # Waits for another transaction that is about to take the slot.
            insert_new(connection, check_requests, row)
            found = connection.execute(_by_id(report_id)).one_or_none()
        return None if found is None else from_row(CheckRequest, found)

    def open_one(self) -> CheckRequest | None:
        """The check that waits or runs."""
        return self._find(check_requests.c.open_slot == 1)

    def find(self, report_id: str) -> CheckRequest | None:
        """A check that was asked for, by its report."""
        return self._find(check_requests.c.report_id == report_id)

    def take(self) -> CheckRequest | None:
        """Begin with the open check; None when there is none. Gives up one that ended too many daemons."""
        with writing(self._engine) as connection:
            row = connection.execute(sa.select(check_requests).where(check_requests.c.open_slot == 1)).one_or_none()
            if row is None:
                return None
            if row.attempts >= ATTEMPTS_MAX:
                detail = f"begun {row.attempts} times, and never ended"
                _finish(connection, row.report_id, self._clock(), GIVEN_UP, detail)
                return None
            connection.execute(
                _of(row.report_id).values(started_at=self._clock(), attempts=row.attempts + 1, done_count=0)
            )
            return from_row(CheckRequest, connection.execute(_by_id(row.report_id)).one())

    def put_back(self, report_id: str) -> None:
        """Leave it for later, as if it had not begun: a database was away, or this daemon ends."""
        with writing(self._engine) as connection:
            connection.execute(
                _of(report_id)
                .where(check_requests.c.open_slot == 1)
                .values(started_at=None, attempts=check_requests.c.attempts - 1)
            )

    def progress(self, report_id: str, done_count: int, expected_count: int) -> None:
        """Say how far it is."""
        with writing(self._engine) as connection:
            connection.execute(_of(report_id).values(done_count=done_count, expected_count=expected_count))

    def finish(self, report_id: str, outcome: str, error: str | None = None) -> None:
        """Say how it ended, and leave the slot to the next."""
        with writing(self._engine) as connection:
            _finish(connection, report_id, self._clock(), outcome, error)

    def _find(self, condition: sa.ColumnElement[bool]) -> CheckRequest | None:
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(check_requests).where(condition)).one_or_none()
        return None if row is None else from_row(CheckRequest, row)


def _finish(connection: Connection, report_id: str, now: datetime, outcome: str, error: str | None) -> None:
    connection.execute(_of(report_id).values(open_slot=None, finished_at=now, outcome=outcome, error=error))


def _of(report_id: str) -> sa.Update:
    return sa.update(check_requests).where(check_requests.c.report_id == report_id)


def _by_id(report_id: str) -> sa.Select[Any]:
    return sa.select(check_requests).where(check_requests.c.report_id == report_id)
