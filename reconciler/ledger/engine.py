"""Connections to the ledger's database."""

from __future__ import annotations

import importlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url

from reconciler.ledger.driver_errors import drop_stale_connections, translated
from reconciler.ledger.ledger_file import compare_files, keep_to_the_file
from reconciler.ledger.limits import Limits

__all__ = [
    "Engine",
    "masked_url",
    "open_engine",
    "reading",
    "reading_once",
    "rehearsing",
    "writing",
]

BUSY_TIMEOUT_MS = 15_000
"""How long a SQLite writer waits for another one; a batch takes milliseconds."""

WAL_RETRY_S = 0.01


def open_engine(url: str, limits: Limits | None = None, beat: Callable[[], None] = lambda: None) -> Engine:
    """An engine for SQLite or PostgreSQL; connects lazily, on first use.

    ``limits`` are for PostgreSQL. ``beat`` is called whenever a connection is returned.
    """
    parsed = make_url(url)
    engine = (
        _open_sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _open_postgres(parsed, limits or Limits())
    )

    @sa.event.listens_for(engine, "checkin")
    def is_done(*_: object) -> None:
        beat()

    return engine


def _open_postgres(url: URL, limits: Limits) -> Engine:
    # Imported here alone: an embedded ledger needs neither the driver nor the second its import takes.
    engine: Engine = importlib.import_module("reconciler.ledger.postgres").open_postgres(url, limits)
    drop_stale_connections(engine)
    return engine


def _open_sqlite(url: URL) -> Engine:
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    drop_stale_connections(engine)
    keep_to_the_file(engine)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own transaction handling begins too late (at the first write) and never IMMEDIATE; ours is in
        # `begin` below.
        connection.isolation_level = None
        _use_wal(connection)
        for pragma in (
            "synchronous = FULL",
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_writing = connection.get_execution_options().get("ledger_writes")
        connection.exec_driver_sql(f"BEGIN {'IMMEDIATE' if is_writing else 'DEFERRED'}")
        if is_writing:
            compare_files(connection)

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a new file to WAL; later connections find it so.

    The first connections of two processes may refuse each other here at once: SQLite does not wait where waiting
    could be a deadlock, whatever the busy timeout.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(WAL_RETRY_S)
        else:
            return


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One read transaction: on SQLite a snapshot, on PostgreSQL a snapshot too (REPEATABLE READ)."""
    with translated(engine), engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


@contextmanager
def reading_once(engine: Engine) -> Iterator[Connection]:
    """A connection for one statement, which is a snapshot by itself: PostgreSQL needs no transaction around it."""
    if engine.dialect.name != "postgresql":
        with reading(engine) as connection:
            yield connection
        return
    with translated(engine), engine.connect() as connection:
        driver = connection.connection.driver_connection
        if getattr(driver, "is_pooled", False):
            # What is set for a session may be set for another one of ours or of somebody else's.
            with connection.begin():
                yield connection
        else:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction, committed at the end of the block and rolled back if it raises."""
    with translated(engine), engine.connect() as connection:
        connection.execution_options(ledger_writes=True)
        with connection.begin():
            yield connection


@contextmanager
def rehearsing(engine: Engine) -> Iterator[Connection]:
    """One write transaction that is always rolled back."""
    with translated(engine), engine.connect() as connection:
        connection.execution_options(ledger_writes=True)
        with connection.begin() as transaction:
            yield connection
            transaction.rollback()


def masked_url(engine: Engine) -> str:
    """The engine's URL without its password."""
    return engine.url.render_as_string(hide_password=True)
