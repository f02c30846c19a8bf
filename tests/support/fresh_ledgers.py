"""Migrated, empty ledgers by the hundred: copied from a template instead of migrated one by one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy.engine import Engine, make_url

from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from tests.support.servers import Postgres

FreshLedgers = Callable[[], AbstractContextManager[Engine]]
"""Each call opens a ledger that nobody has used; leaving the block removes it."""


def sqlite_ledgers(folder: Path) -> FreshLedgers:
    """A file each."""
    template = folder / "template.db"
    _migrate(f"sqlite:///{template}")

    @contextmanager
    def fresh() -> Iterator[Engine]:
        path = folder / f"{uuid4().hex}.db"
        shutil.copy(template, path)
        engine = open_engine(f"sqlite:///{path}")
        try:
            yield engine
        finally:
            engine.dispose()
            for file in folder.glob(f"{path.name}*"):
                file.unlink()

    return fresh


def postgres_ledgers(server: Postgres) -> FreshLedgers:
    """A database each, from a template database; nobody may be connected to that one."""
    template = f"template_{uuid4().hex}"
    _migrate(server.create_database(template))

    @contextmanager
    def fresh() -> Iterator[Engine]:
        name = f"test_{uuid4().hex}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        url = make_url(server.url).set(drivername="postgresql").render_as_string(hide_password=False)
        # Not `with`: it would open a transaction, and databases are not made inside one.
        connection = psycopg.connect(url, autocommit=True)
        try:
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        finally:
            connection.close()
        engine = open_engine(server.database_url(name))
        try:
            yield engine
        finally:
            engine.dispose()
            server.drop_database(name)

    return fresh


def _migrate(url: str) -> None:
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
