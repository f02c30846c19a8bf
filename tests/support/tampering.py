"""Somebody with every right in the database, who changes what is posted without the triggers' knowledge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.ledger import schema
from reconciler.ledger.journal.chain import COVERED, batch_hash

Row = dict[str, Any]


class Tamperer:
    """Works past triggers, foreign keys and checks; unique keys stay, since what breaks them is seen at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                triggers = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
                statements = [f"DROP TRIGGER {name}" for name in triggers.scalars().all()]
            else:
                checks = connection.exec_driver_sql(
                    "SELECT conrelid::regclass::text, conname FROM pg_constraint "
                    "WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
                )
                statements = [f"ALTER TABLE {table} DROP CONSTRAINT {name}" for table, name in checks.all()]
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.commit()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                raw = connection.connection.driver_connection
                assert raw is not None
                for pragma in ("foreign_keys = OFF", "ignore_check_constraints = ON"):
                    raw.execute(f"PRAGMA {pragma}").close()
            with connection.begin():
                if self._engine.dialect.name == "postgresql":
                    connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
                yield connection

    def rows(self, table: sa.Table) -> list[Row]:
        with self._engine.connect() as connection:
            query = sa.select(table).order_by(*table.primary_key.columns)
            return [dict(row) for row in connection.execute(query).mappings()]

    def update(self, table: sa.Table, row: Row, column: str, value: object) -> None:
        with self.connection() as connection:
            changed = connection.execute(sa.update(table).where(same(table, row)).values({column: value}))
            assert changed.rowcount == 1

    def put_raw(self, table: sa.Table, row: Row, column: str, literal: str) -> None:
        """Set a column to an SQL literal, of whatever type."""
        with self.connection() as connection:
            connection.execute(sa.update(table).where(same(table, row)).values({column: sa.text(literal)}))

    def delete(self, table: sa.Table, row: Row) -> None:
        with self.connection() as connection:
            assert connection.execute(sa.delete(table).where(same(table, row))).rowcount == 1

    def insert(self, table: sa.Table, row: Row) -> None:
        with self.connection() as connection:
            connection.execute(sa.insert(table).values(row))

    def rehash(self) -> None:
        """Make the chain right again over whatever the rows are now."""
        with self.connection() as connection:
            ledger_id = connection.execute(sa.select(schema.ledger_identity.c.ledger_id)).scalar_one()
            previous = hashlib.sha256(ledger_id.encode()).hexdigest()
            batch = 0
            for link in connection.execute(sa.select(schema.chain).order_by(schema.chain.c.batch)).all():
                batch = link.batch
                rows = {
                    name: [
                        dict(row)
                        for row in connection.execute(
                            sa.select(schema.metadata.tables[name]).where(schema.metadata.tables[name].c.batch == batch)
                        ).mappings()
                    ]
                    for name, _ in COVERED
                }
                derived = batch_hash(previous=previous, batch=batch, created_at=link.created_at, rows=rows)
                connection.execute(
                    sa.update(schema.chain)
                    .where(schema.chain.c.batch == batch)
                    .values(previous_hash=previous, hash=derived)
                )
                previous = derived
            connection.execute(sa.update(schema.chain_head).values(batch=batch, hash=previous))


def same(table: sa.Table, row: Row) -> sa.ColumnElement[bool]:
    """The row with this row's primary key."""
    return sa.and_(*(column == row[column.name] for column in table.primary_key.columns))


def another(column: sa.Column[Any], value: object) -> object:
    """A value of the column's type that it does not have."""
    if isinstance(column.type, schema.UtcDateTime):
        return value + timedelta(milliseconds=1) if isinstance(value, datetime) else datetime(2026, 2, 2, tzinfo=UTC)
    if isinstance(column.type, sa.BigInteger):
        return value + 1000 if isinstance(value, int) else 7
    return "somebody" if value is None else f"{value}x"
