"""Several writes in one round trip: PostgreSQL gets them together, and this program waits once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from reconciler.ledger.driver_errors import verdict_of


@contextmanager
def one_round_trip(connection: Connection) -> Iterator[None]:
    """Send what the block writes together. When it ends, all of it is done; else the driver's error is raised.

    The block cannot read. On SQLite, which is embedded, this changes nothing.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    driver: Any = connection.connection.driver_connection
    driver_error: type[Exception] = connection.dialect.loaded_dbapi.Error
    try:
        with driver.pipeline():
            yield
    except driver_error as error:
        # It comes at the end of the pipeline, past SQLAlchemy, so nobody has put it into SQLAlchemy's words yet.
        if driver.closed or driver.broken or verdict_of(error).drops:
            connection.invalidate(error)
        raise DBAPIError.instance(
            "several at once",
            None,
            error,
            connection.dialect.loaded_dbapi.Error,
            connection_invalidated=connection.invalidated,
        ) from error
