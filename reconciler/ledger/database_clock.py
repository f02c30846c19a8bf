"""The database's own clock, as SQL: for what several machines judge by time, whose clocks need not agree.

SQLite keeps times as text in the one form that our own columns have (``YYYY-MM-DD HH:MM:SS.ffffff``, UTC), which sorts
as time does; PostgreSQL asks ``clock_timestamp()``, since ``now()`` stands still while a statement waits for a lock.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.ledger.schema import UtcDateTime

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
