"""The hash chain (invariant 6): it covers every column, survives the way through a database, and never changes form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from reconciler.ledger import schema
from reconciler.ledger.journal.chain import COVERED, batch_hash
from tests.support.ledger import NOW, STAMP, SetClock, asking, chain_is_sound, journal_of, request, rows_of

TIME = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def sample_rows() -> dict[str, list[dict[str, Any]]]:
    """Two rows a table, with a value in every column that depends on its place."""
    return {
        table: [{column: _sample(table, column, number) for column in columns} for number in (1, 2)]
        for table, columns in COVERED
    }


def _sample(table: str, column: str, number: int) -> Any:
    kind = schema.metadata.tables[table].c[column].type
    if isinstance(kind, schema.UtcDateTime):
        return TIME + timedelta(seconds=number)
    return f"{column} {number} é" if isinstance(kind, type(schema.entries.c.key.type)) else number


def hash_of(rows: dict[str, list[dict[str, Any]]], previous: str = "before", batch: int = 7) -> str:
    return batch_hash(previous=previous, batch=batch, created_at=TIME, rows=rows)


def test_every_column_of_the_journal_is_covered() -> None:
    assert [table for table, _ in COVERED] == [
        table.name for table in schema.JOURNAL_TABLES if table is not schema.chain
    ]
    for table, columns in COVERED:
        assert sorted(columns) == sorted(schema.metadata.tables[table].c.keys()), table


def test_format_1_is_fixed_for_ever() -> None:
    """A ledger written years ago must still verify: when this fails, a new format number is missing."""
    assert hash_of(sample_rows()) == "73483739d9746f62241b161efd30fbf51b7c01c1b42ae286a2d146d140bd72cc"


def test_every_value_makes_a_difference() -> None:
    seen = {hash_of(sample_rows()), hash_of(sample_rows(), previous="other"), hash_of(sample_rows(), batch=8)}
    expected = 3
    for table, columns in COVERED:
        for column in columns:
            rows = sample_rows()
            rows[table][1][column] = _sample(table, column, 3)
            seen.add(hash_of(rows))
            expected += 1
        rows = sample_rows()
        rows[table].pop()
        seen.add(hash_of(rows))
        expected += 1
    assert len(seen) == expected


def test_the_order_of_rows_makes_none() -> None:
    backwards = {table: rows[::-1] for table, rows in sample_rows().items()}
    assert hash_of(backwards) == hash_of(sample_rows())


def test_the_zone_a_time_is_told_in_makes_none() -> None:
    rows = sample_rows()
    india = timezone(timedelta(hours=5, minutes=30))
    for row in rows["payouts"]:
        row["facts_at"] = row["facts_at"].astimezone(india)
    assert hash_of(rows) == hash_of(sample_rows())


@pytest.mark.parametrize(
    ("participation", "streamer"),
    [
        ("oid:64b000000000000000000001", "64b000000000000000000002"),
        ("प्रचार 🎮 \u00e9 e\u0301", "名前"),
        ('it\'s "quoted" \\ {a,b} NULL', "%(x)s :name $1 ? ;--"),
        ("\ttab\nnewline\u2028", " "),
        ("𝄞" * 200, "\U0010ffff" * 200),
    ],
)
def test_rows_read_back_give_the_stored_hash(engine: Engine, participation: str, streamer: str) -> None:
    clock = SetClock()
    journal = journal_of(engine, clock)
    facts_at = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))

    journal.post(asking([request(participation, streamer=streamer, campaign=participation, facts_at=facts_at)]), STAMP)
    clock.advance(timedelta(milliseconds=1))
    journal.post(asking([request("held", campaign=participation)]), STAMP)
    clock.advance(timedelta(seconds=1))
    journal.post(asking([request("held", campaign=participation, budget=6600, facts_at=clock.now)]), STAMP)

    assert len(rows_of(engine, schema.chain)) == 3
    assert [row["streamer_id"] for row in rows_of(engine, schema.payouts) if row["batch"] == 1] == [streamer]
    chain_is_sound(engine)
