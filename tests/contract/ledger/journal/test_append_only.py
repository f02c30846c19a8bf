"""What is posted is never changed (invariant 5): the database itself refuses, whoever asks, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Engine

from reconciler.domain.plan import NewAdoption
from reconciler.ledger import schema
from reconciler.ledger.append_only import REFUSAL
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from tests.support.ledger import (
    NOW,
    SIGNED,
    STAMP,
    asking,
    decisions_of,
    everything,
    insert_rows,
    journal_of,
    pool_due,
    request,
    rows_of,
)

PROTECTED = (*schema.JOURNAL_TABLES, schema.ledger_identity)


def unique_keys(table: sa.Table) -> Iterator[tuple[str, ...]]:
    """The primary key and every other unique key, from the schema itself, so that a new one is tried too."""
    for constraint in table.constraints:
        if isinstance(constraint, sa.PrimaryKeyConstraint | sa.UniqueConstraint):
            yield tuple(column.name for column in constraint.columns)
    for index in table.indexes:
        if index.unique:
            yield tuple(column.name for column in index.columns)


KEYS = [
    pytest.param(table, key, id=f"{table.name}-{'-'.join(key)}")
    for table in PROTECTED
    for key in sorted(unique_keys(table))
]


@pytest.fixture
def ledger(engine: Engine) -> Engine:
    """A ledger with rows in every protected table."""
    fill(engine)
    return engine


def fill(engine: Engine) -> None:
    """One payout, one hold, one frozen settlement, one decision, one adoption: a row in every protected table."""
    journal = journal_of(engine)
    journal.post(asking([request("p1"), request("p2")]), STAMP)
    assert journal.freeze(pool_due("c2", {"p3": 1500, "p4": 500}), NOW, STAMP)
    adoption = NewAdoption(
        participation_id="str:old",
        campaign_id="str:c1",
        streamer_id="s-old",
        amount_minor=100,
        currency="INR",
        decision_key="adopt:1",
    )
    decisions_of(engine).adopt([adoption], SIGNED, "adopt:1")
    assert all(rows_of(engine, table) for table in PROTECTED)


def refused(engine: Engine, statement: str) -> str:
    """Run a statement that must fail and change nothing; answers the database's message."""
    before = everything(engine)
    with pytest.raises(exc.DBAPIError) as raised, engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert everything(engine) == before
    return str(raised.value.orig)


def other_value(column: sa.Column[Any], value: Any) -> Any:
    if isinstance(column.type, schema.UtcDateTime):
        return datetime(2000, 1, 1, tzinfo=UTC)
    return value + 1000 if isinstance(value, int) else "other"


def changed(column: sa.Column[Any]) -> str:
    if isinstance(column.type, schema.UtcDateTime):
        return "'2000-01-01 00:00:00'"
    return f'"{column.name}" + 1' if isinstance(column.type, sa.BigInteger) else "'changed'"


def test_no_column_can_be_updated(ledger: Engine) -> None:
    before = everything(ledger)
    allowed = []
    for table in PROTECTED:
        for column in table.columns:
            statement = f'UPDATE {table.name} SET "{column.name}" = {changed(column)}'
            try:
                with ledger.begin() as connection:
                    connection.exec_driver_sql(statement)
            except exc.DBAPIError as error:
                if REFUSAL in str(error.orig):
                    continue
            allowed.append(f"{table.name}.{column.name}")
    assert allowed == []
    assert everything(ledger) == before


def test_no_row_can_be_deleted(ledger: Engine) -> None:
    for table in PROTECTED:
        [first, *_] = table.primary_key.columns
        for condition in ("", f' WHERE "{first.name}" IS NOT NULL'):
            assert REFUSAL in refused(ledger, f"DELETE FROM {table.name}{condition}"), table.name


def test_an_upsert_cannot_change_a_row(ledger: Engine) -> None:
    for table in PROTECTED:
        key = ", ".join(f'"{column.name}"' for column in table.primary_key.columns)
        last = list(table.columns)[-1].name
        statement = (
            f"INSERT INTO {table.name} SELECT * FROM {table.name} WHERE true "
            f'ON CONFLICT ({key}) DO UPDATE SET "{last}" = excluded."{last}"'
        )
        assert REFUSAL in refused(ledger, statement), table.name


@pytest.fixture
def postgres_ledger(postgres_url: str) -> Iterator[Engine]:
    engine = open_engine(postgres_url)
    upgrade(engine)
    fill(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_ledger(sqlite_url: str) -> Iterator[Engine]:
    engine = open_engine(sqlite_url)
    upgrade(engine)
    fill(engine)
    yield engine
    engine.dispose()


def test_postgresql_refuses_truncate(postgres_ledger: Engine) -> None:
    for table in PROTECTED:
        # A table that others refer to is refused before its trigger is asked.
        assert "cannot truncate" in refused(postgres_ledger, f"TRUNCATE {table.name}") or table is not schema.entries
        assert REFUSAL in refused(postgres_ledger, f"TRUNCATE {table.name} CASCADE")
        assert REFUSAL in refused(postgres_ledger, f"TRUNCATE {table.name} RESTART IDENTITY CASCADE")
    # Accounts are derived and unprotected, but postings refer to them and would go too.
    assert REFUSAL in refused(postgres_ledger, "TRUNCATE accounts CASCADE")
    everything_at_once = ", ".join(table.name for table in schema.metadata.sorted_tables)
    assert REFUSAL in refused(postgres_ledger, f"TRUNCATE {everything_at_once}")


@pytest.mark.parametrize(("table", "key"), KEYS)
def test_sqlite_refuses_to_replace_through_any_unique_key(
    sqlite_ledger: Engine, table: sa.Table, key: tuple[str, ...]
) -> None:
    row = rows_of(sqlite_ledger, table)[-1]
    new = {name: value if name in key else other_value(table.c[name], value) for name, value in row.items()}
    before = everything(sqlite_ledger)
    # Foreign keys and checks off: they must not be what refuses.
    with sqlite_ledger.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection.exec_driver_sql("BEGIN")
        with pytest.raises(exc.DBAPIError, match=REFUSAL):
            connection.execute(sa.insert(table).prefix_with("OR REPLACE"), [new])
        connection.invalidate()
    assert everything(sqlite_ledger) == before


def test_sqlite_refuses_update_or_replace(sqlite_ledger: Engine) -> None:
    for table in PROTECTED:
        for column in table.primary_key.columns:
            statement = f'UPDATE OR REPLACE {table.name} SET "{column.name}" = {changed(column)}'
            assert REFUSAL in refused(sqlite_ledger, statement)


CHECKS = (
    ("UPDATE accounts SET balance_minor = -1 WHERE kind = 'escrow'", "escrow_not_negative"),
    ("UPDATE wallet_positions SET projected_version = version + 1", "projected_not_ahead"),
    ("UPDATE outbox SET status = 'lost'", "ck_outbox_status"),
    ("UPDATE chain_head SET id = 2", "ck_chain_head_single"),
    ("INSERT INTO ledger_identity VALUES (2, 'another', '2026-01-01 00:00:00')", "ck_ledger_identity_single"),
)

WRONG_ROWS: tuple[tuple[sa.Table, dict[str, Any], str], ...] = (
    (schema.payouts, {"gross_minor": 1}, "net_and_fee_are_gross"),
    (schema.payouts, {"fee_minor": 1}, "net_and_fee_are_gross"),
    (schema.payouts, {"gross_minor": -1, "amount_minor": -1}, "payout_not_negative"),
    (schema.payouts, {"fee_minor": -1, "gross_minor": 0, "amount_minor": 1}, "payout_not_negative"),
    (schema.payouts, {"sequence": 99}, "foreign key"),
    (schema.hold_events, {"event": "paused"}, "ck_hold_events_event"),
    (schema.postings, {"sequence": 99}, "foreign key"),
    (schema.postings, {"account": "nobody's"}, "foreign key"),
    (schema.fundings, {"sequence": 99}, "foreign key"),
    (schema.outbox, {"sequence": 99}, "foreign key"),
    (schema.settlement_lines, {"settlement_key": "nobody's"}, "foreign key"),
)


def test_checks_refuse_raw_sql(ledger: Engine) -> None:
    for statement, constraint in CHECKS:
        assert constraint in refused(ledger, statement)


def test_constraints_refuse_rows_that_are_wrong_in_one_thing(ledger: Engine) -> None:
    [entry, *_] = rows_of(ledger, schema.entries)
    insert_rows(ledger, schema.entries, [entry | {"sequence": 50, "key": "adjustment:free"}])
    free = {
        "payout_key": "new",
        "n": 50,
        "sequence": 50,
        "hold_key": "new",
        "account_version": 50,
        "participation_id": "str:new",
    }
    right = {}
    for table, changes, constraint in WRONG_ROWS:
        row = rows_of(ledger, table)[-1]
        right[table] = row | {name: value for name, value in free.items() if name in row}
        with pytest.raises(exc.IntegrityError) as raised:
            insert_rows(ledger, table, [right[table] | changes])
        assert constraint in str(raised.value.orig).lower(), (table.name, changes)

    for table, row in right.items():
        insert_rows(ledger, table, [row])  # it was nothing else that refused them


def test_negative_amounts_are_a_reversals(ledger: Engine) -> None:
    [payout] = rows_of(ledger, schema.payouts)
    [entry, *_] = rows_of(ledger, schema.entries)
    insert_rows(ledger, schema.entries, [entry | {"sequence": 50, "key": "reversal"}])
    reversal = {"payout_key": "reversal", "sequence": 50, "kind": "reversal", "gross_minor": -5, "amount_minor": -5}
    insert_rows(ledger, schema.payouts, [payout | reversal])
    assert len(rows_of(ledger, schema.payouts)) == 2
