"""Everything that is changed behind the triggers' back is found: each column of each journal table, each row.

One ledger a database: every edit is undone after it was found, which shows too that it alone was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.domain.plan import BatchPlan
from reconciler.ledger import schema
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.proof.anchor import Anchor, anchor_of
from reconciler.ledger.proof.integrity import CheckVerifier
from reconciler.ledger.proof.verify import SqlVerifier
from reconciler.ports.integrity import Integrity
from tests.support.ledger import NOW
from tests.support.tampering import Row, Tamperer, another, same
from tests.support.varied_ledger import Writer, decision_of, write_varied

COLUMNS = [(table, column) for table in schema.JOURNAL_TABLES for column in table.columns]
NAMES = [f"{table.name}.{column.name}" for table, column in COLUMNS]
TABLES = pytest.mark.parametrize("table", schema.JOURNAL_TABLES, ids=lambda table: table.name)
DERIVED = [
    *((schema.accounts, name) for name in ("balance_minor", "version", "kind")),
    *((schema.chain_head, name) for name in ("batch", "sequence", "hash")),
    (schema.ledger_identity, "ledger_id"),
]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('tampering') / 'ledger.db'}")
    else:
        engine = open_engine(request.getfixturevalue("postgres_server").create_database(f"test_{uuid4().hex}"))
    upgrade(engine)
    write_varied(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def tamperer(engine: Engine) -> Tamperer:
    return Tamperer(engine)


def verified(engine: Engine, anchor: Anchor | None = None) -> Integrity:
    return SqlVerifier(engine).verify(anchor)


def chosen(rows: list[Row]) -> list[Row]:
    """The first, the last and one in the middle."""
    return [rows[index] for index in sorted({0, len(rows) // 2, len(rows) - 1})]


def require_named(found: Integrity, row: Row, *, moved: bool) -> None:
    """The first fault names the row's batch, and if it names an entry, then the row's."""
    assert found.faults, "it was not found"
    first = found.faults[0]
    if moved:
        return
    assert first.batch == row["batch"], found.faults
    if "sequence" in row:
        assert first.sequence in (None, row["sequence"]), found.faults
    assert found.chain_verified_to < row["batch"]


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=NAMES)
def test_an_edited_column_is_found(engine: Engine, tamperer: Tamperer, table: sa.Table, column: sa.Column[Any]) -> None:
    rows = tamperer.rows(table)
    assert rows
    for row in chosen(rows):
        value = another(column, row[column.name])
        tamperer.update(table, row, column.name, value)
        try:
            found = verified(engine)
        finally:
            tamperer.update(table, row | {column.name: value}, column.name, row[column.name])
        require_named(found, row, moved=column.name in ("batch", "sequence"))
    assert verified(engine).faults == ()


@pytest.mark.parametrize(
    ("table", "column"),
    [(table, column) for table, column in COLUMNS if column.nullable],
    ids=[f"{table.name}.{column.name}" for table, column in COLUMNS if column.nullable],
)
def test_a_value_taken_away_is_found(
    engine: Engine, tamperer: Tamperer, table: sa.Table, column: sa.Column[Any]
) -> None:
    row = next(row for row in tamperer.rows(table) if row[column.name] is not None)
    tamperer.update(table, row, column.name, None)
    try:
        found = verified(engine)
    finally:
        tamperer.update(table, row, column.name, row[column.name])
    require_named(found, row, moved=False)


@pytest.fixture(scope="module")
def checker(engine: Engine) -> CheckVerifier:
    """The verifier of a check, after an earlier check that found nothing and left its milestone at the very end."""
    checker = CheckVerifier(engine, clock=lambda: NOW, whole_after=timedelta(days=7))
    assert checker.verify().faults == checker.verify().faults == ()
    return checker


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=NAMES)
def test_a_later_check_finds_an_edited_column(
    engine: Engine, tamperer: Tamperer, checker: CheckVerifier, table: sa.Table, column: sa.Column[Any]
) -> None:
    """A check goes on from its milestone, and everything before it has to be what it was all the same."""
    row = tamperer.rows(table)[0]
    value = another(column, row[column.name])
    tamperer.update(table, row, column.name, value)
    try:
        found = checker.verify()
    finally:
        tamperer.update(table, row | {column.name: value}, column.name, row[column.name])
    assert "chain_broken" in {one.kind for one in found.faults}
    assert checker.verify().faults == ()


@TABLES
def test_a_later_check_finds_a_row_that_was_deleted_or_put_in(
    engine: Engine, tamperer: Tamperer, checker: CheckVerifier, table: sa.Table
) -> None:
    for row in chosen(tamperer.rows(table)):
        tamperer.delete(table, row)
        try:
            found = checker.verify()
        finally:
            tamperer.insert(table, row)
        assert "chain_broken" in {one.kind for one in found.faults}
    assert checker.verify().faults == ()


@TABLES
def test_a_deleted_row_is_found(engine: Engine, tamperer: Tamperer, table: sa.Table) -> None:
    for row in chosen(tamperer.rows(table)):
        tamperer.delete(table, row)
        try:
            found = verified(engine)
        finally:
            tamperer.insert(table, row)
        require_named(found, row, moved=table is schema.chain)
    assert verified(engine).faults == ()


@pytest.mark.parametrize("where", ["same batch", "batch of a time to come", "batch zero"])
@TABLES
def test_an_inserted_row_is_found(engine: Engine, tamperer: Tamperer, table: sa.Table, where: str) -> None:
    like = tamperer.rows(table)[-1]
    new = dict(like)
    for column in table.columns:
        if (
            column.unique
            or column.primary_key
            or column.name in ("sequence", "n", "account_version", "participation_id")
        ):
            new[column.name] = another(column, like[column.name])
    if table is schema.hold_events:
        new["event"] = like["event"]
    if table is not schema.chain or where != "same batch":
        new["batch"] = {"same batch": like["batch"], "batch of a time to come": 999, "batch zero": 0}[where]
    tamperer.insert(table, new)
    try:
        found = verified(engine)
    finally:
        tamperer.delete(table, new)
    assert found.faults
    assert verified(engine).faults == ()


@pytest.mark.parametrize(("table", "column"), DERIVED, ids=[f"{table.name}.{name}" for table, name in DERIVED])
def test_what_is_derived_from_the_journal_has_to_agree(
    engine: Engine, tamperer: Tamperer, table: sa.Table, column: str
) -> None:
    row = tamperer.rows(table)[-1]
    tamperer.update(table, row, column, another(table.c[column], row[column]))
    try:
        found = verified(engine)
    finally:
        tamperer.update(table, row, column, row[column])
    assert found.faults


@pytest.mark.parametrize("literal", ["'many'", "1.5", "x'00ff'", "9223372036854775807", "''"])
@pytest.mark.parametrize(
    ("table", "column"),
    [
        (schema.postings, "amount_minor"),
        (schema.postings, "balance_after_minor"),
        (schema.postings, "batch"),
        (schema.postings, "sequence"),
        (schema.entries, "booked_at"),
        (schema.entries, "sequence"),
        (schema.payouts, "rate"),
        (schema.payouts, "impressions"),
        (schema.payouts, "created_at"),
        (schema.payouts, "currency"),
        (schema.settlements, "pool_minor"),
        (schema.settlement_lines, "impressions"),
        (schema.chain, "batch"),
        (schema.chain, "format"),
        (schema.chain, "created_at"),
        (schema.chain, "hash"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_sqlite_takes_anything_anywhere_and_it_is_found(
    engine: Engine, tamperer: Tamperer, table: sa.Table, column: str, literal: str
) -> None:
    if engine.dialect.name != "sqlite":
        return
    row = chosen(tamperer.rows(table))[-1]
    key = {one.name: row[one.name] for one in table.primary_key.columns}
    tamperer.put_raw(table, row, column, literal)
    try:
        found = verified(engine)
    finally:
        with tamperer.connection() as connection:
            where = (
                same(table, key)
                if column not in key
                else sa.text(f"typeof({column}) <> 'integer' OR {column} > 1000000")
            )
            connection.execute(sa.update(table).where(where).values({column: row[column]}))
    assert found.faults
    assert verified(engine).faults == ()


def test_a_history_written_anew_is_found_by_its_anchor_and_by_a_later_check(
    engine: Engine, tamperer: Tamperer, checker: CheckVerifier
) -> None:
    anchor = Anchor.parse(str(anchor_of(engine)))
    row = next(row for row in tamperer.rows(schema.payouts) if row["impressions"] == 2345)
    tamperer.update(schema.payouts, row, "cooloff_hours", 1)
    reversal = next(one for one in tamperer.rows(schema.payouts) if one["reverses"] == row["payout_key"])
    tamperer.update(schema.payouts, reversal, "cooloff_hours", 1)
    tamperer.rehash()
    try:
        alone, anchored, checked = verified(engine), verified(engine, anchor), checker.verify()
    finally:
        tamperer.update(schema.payouts, row, "cooloff_hours", row["cooloff_hours"])
        tamperer.update(schema.payouts, reversal, "cooloff_hours", row["cooloff_hours"])
        tamperer.rehash()
    assert alone.faults == ()
    assert [fault.kind for fault in checked.faults] == ["chain_broken"]
    assert "is not the one that was verified before" in checked.faults[0].detail
    assert [fault.detail for fault in anchored.faults] == [
        f"the history up to batch {anchor.batch} is not the one that was anchored: it was written anew"
    ]
    assert verified(engine, anchor).faults == ()


def test_a_history_cut_off_is_found_by_its_anchor_only(engine: Engine, tamperer: Tamperer) -> None:
    before = anchor_of(engine)
    Writer(engine, batches=before.batch).write(BatchPlan(decisions=[decision_of("resume:1", "resume", "paying")]))
    anchor = anchor_of(engine)
    tamperer.delete(schema.decisions, {"decision_key": "resume:1"})
    tamperer.delete(schema.chain, {"batch": anchor.batch})
    head = tamperer.rows(schema.chain_head)[0]
    tamperer.update(schema.chain_head, head, "batch", before.batch)
    tamperer.update(schema.chain_head, head, "hash", before.hash)

    assert verified(engine).faults == ()
    assert verified(engine, before).faults == ()
    assert [fault.detail for fault in verified(engine, anchor).faults] == [
        f"the chain ends with batch {before.batch}, and the anchor was taken at batch {anchor.batch}"
    ]


def test_an_anchor_of_another_ledger_is_told(engine: Engine) -> None:
    own = anchor_of(engine)
    other = Anchor(ledger_id=str(uuid4()), batch=own.batch, sequence=own.sequence, hash=own.hash)

    assert [fault.detail for fault in verified(engine, other).faults] == [
        f"this is ledger {own.ledger_id}, and the anchor is of ledger {other.ledger_id}"
    ]
