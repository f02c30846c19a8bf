"""The ledger's time: its database's clock, and how far this host's own may be off before it does not post.

Several machines judge by time, and their clocks need not agree; their database is one. SQLite is embedded and has no
clock but the host's: there the last entry is the only witness.

SQLite keeps times as text in the one form that our own columns have (``YYYY-MM-DD HH:MM:SS.ffffff``, UTC), which sorts
as time does; PostgreSQL asks ``clock_timestamp()``, since ``now()`` stands still while a statement waits for a lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from reconciler.clock import Clock, utc_now
from reconciler.errors import ClockOff
from reconciler.ledger.schema import UtcDateTime

log = structlog.get_logger(__name__)

NOW = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'",
    "postgresql": "date_trunc('milliseconds', clock_timestamp())",
}
"""Dialect → its present moment in whole milliseconds, as our columns hold it."""


def now_sql(connection: Connection) -> sa.TextClause:
    """The present moment as an expression, to be written into a column of times."""
    return sa.text(NOW[connection.dialect.name])


def database_now(connection: Connection) -> datetime:
    """The present moment by the database's clock."""
    query = sa.select(sa.literal_column(NOW[connection.dialect.name], UtcDateTime).label("now"))
    found: datetime = connection.execute(query).scalar_one()
    return found


def before(connection: Connection, age: timedelta) -> datetime:
    """The moment that lies ``age`` before the present one."""
    return database_now(connection) - age


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseTimes:
    """The times that one statement read from the database. SQLite has no clock of its own: two of them are None."""

    last_at: datetime | None
    """The time of the last batch; None before the first."""
    asked_at: datetime | None = None
    """When the statement arrived, before it waited for any lock."""
    now: datetime | None = None
    """When it was done waiting."""


def times_columns(dialect_name: str) -> tuple[sa.ColumnElement[datetime], ...]:
    """The columns ``asked_at`` and ``now`` of :class:`DatabaseTimes`."""
    asked_at = "NULL" if dialect_name == "sqlite" else "date_trunc('milliseconds', statement_timestamp())"
    now = "NULL" if dialect_name == "sqlite" else NOW[dialect_name]
    columns = {"asked_at": asked_at, "now": now}
    return tuple(sa.literal_column(text, UtcDateTime).label(name) for name, text in columns.items())


class LedgerClock:
    """The ledger's time. Raises ClockOff on a host whose own clock is off by more than ``skew_max``.

    Such a host would also judge wrongly what it does not ask the database: how old facts are, whether a campaign is
    over. So it does not post. Two differences are compared, and both are valid however long a statement waits: a host
    whose clock is right sends a statement no later than it arrives, and gets the result no earlier than it was made.
    """

    def __init__(self, *, host: Clock = utc_now, skew_max: timedelta = timedelta(seconds=5)) -> None:
        self.host = host
        self._skew_max = skew_max
        self._fault: str | None = None

    def fault(self) -> str | None:
        """What was wrong with the clocks when they were last compared; None if nothing was."""
        return self._fault

    def now(self, times: DatabaseTimes, began_at: datetime, *, may_be_off: bool = False) -> datetime:
        """The ledger's time. ``began_at``: this host's time before the database was asked.

        Raises ClockOff, unless the host ``may_be_off`` for what it is about to do.
        """
        here = self.host()
        found = self._sqlite_fault(times, here) if times.now is None else self._skew(times, began_at, here)
        self._say(found)
        if found is not None and not may_be_off:
            raise ClockOff(found)
        return times.now or here

    def _skew(self, times: DatabaseTimes, began_at: datetime, here: datetime) -> str | None:
        ahead = began_at - (times.asked_at or began_at)
        behind = (times.now or here) - here
        if max(ahead, behind) <= self._skew_max:
            return None
        which = f"{_shown(ahead)} ahead of" if ahead > behind else f"{_shown(behind)} behind"
        return (
            f"this host's clock is {which} that of the ledger's database, and safety.clock_skew_max_s allows "
            f"{_shown(self._skew_max)}: nothing is posted from here until the clock that is wrong is set"
        )

    def _sqlite_fault(self, times: DatabaseTimes, here: datetime) -> str | None:
        if times.last_at is None or times.last_at - here <= self._skew_max:
            return None
        behind = times.last_at - here
        return (
            f"this host's clock is {_shown(behind)} behind the last entry of the ledger, and nothing is posted: set "
            f"it. If it is right and was ahead then, set safety.clock_skew_max_s above {behind.total_seconds():.0f} "
            "until it has caught up: new entries get the time of the last one"
        )

    def _say(self, found: str | None) -> None:
        """Log each change once."""
        before, self._fault = self._fault, found
        if found is not None and before is None:
            log.error("the clocks do not agree", action="clock_off", reason=found)
        elif found is None and before is not None:
            log.info("the clocks agree again", action="clock_right_again")


def _shown(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds / 86_400:.1f} days" if seconds >= 2 * 86_400 else f"{seconds:.1f} s"
