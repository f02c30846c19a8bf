"""MongoDB's part of the composition root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.config import Settings
from reconciler.mongo.connection import Connection, connect


@contextmanager
def mongodb_of(settings: Settings) -> Iterator[Connection]:
    """The connection to MongoDB for some settings: made when it is first used, closed at the end."""
    mongodb = settings.mongodb
    connection = connect(mongodb.uri.get_secret_value(), mongodb.database, wait_max_s=mongodb.wait_max_s)
    try:
        yield connection
    finally:
        connection.close()
