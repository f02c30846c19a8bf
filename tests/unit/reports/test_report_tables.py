"""Rows for other programs: what a cell looks like, and that no spreadsheet runs one."""

from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import UsageError
from reconciler.reports.tables import Column, Kind, guarded, unguarded, write_csv, write_json, write_parquet

COLUMNS = (
    Column("at", Kind.TIME),
    Column("who", Kind.IDENTITY),
    Column("note"),
    Column("currency"),
    Column("amount_minor", Kind.AMOUNT),
    Column("count", Kind.COUNT),
)
AT = datetime(2026, 3, 1, 12, 0, 0, 125_000, tzinfo=UTC)


def row(**changes: Any) -> dict[str, Any]:
    return {"at": AT, "who": "oid:ab", "note": "x", "currency": "INR", "amount_minor": 5, "count": 1} | changes


def as_csv(*rows: dict[str, Any]) -> list[dict[str, str]]:
    out = io.StringIO()
    write_csv(rows, COLUMNS, out)
    return list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))


def as_json(*rows: dict[str, Any], head: dict[str, object] | None = None) -> Any:
    out = io.StringIO()
    write_json(rows, COLUMNS, out, name="rows", head=head)
    return json.loads(out.getvalue())


def test_a_row_has_plain_identities_times_in_utc_and_amounts_twice() -> None:
    written = {
        "at": "2026-03-01T12:00:00.125Z",
        "who": "ab",
        "note": "x",
        "currency": "KWD",
        "amount_minor": -1234567,
        "amount": "-1234.567",
        "count": 1,
    }
    one = row(amount_minor=-1_234_567, currency="KWD")

    assert as_json(one, head={"since": None}) == {"since": None, "rows": [written]}
    assert as_csv(one) == [{name: str(value) for name, value in written.items()}]


def test_nothing_is_null_in_json_and_empty_in_csv() -> None:
    one = row(at=None, who=None, note=None, amount_minor=None, count=None)

    assert as_json(one)["rows"][0] == {
        "at": None, "who": None, "note": None, "currency": "INR", "amount_minor": None, "amount": None, "count": None
    }  # fmt: skip
    assert as_csv(one)[0]["note"] == as_csv(one)[0]["amount"] == ""


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_json_is_one_document_however_many_rows(rows: int) -> None:
    assert len(as_json(*[row()] * rows)["rows"]) == rows


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "-", "-\r=1", "=\n1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert as_csv(row(note=text, who=f"str:{text}"))[0]["note"] == f"'{text}"
    assert as_csv(row(who=f"str:{text}"))[0]["who"] == f"'{text}"


@pytest.mark.parametrize("text", ["x\r=1+1", "x\n=1+1", 'x"\r\n=1', "a,=1"])
def test_no_line_begins_inside_a_cell(text: str) -> None:
    assert as_csv(row(note=text), row()) == [as_csv(row())[0] | {"note": text}, as_csv(row())[0]]


def test_a_negative_amount_stays_a_number() -> None:
    [written] = as_csv(row(amount_minor=-500))
    assert (written["amount_minor"], written["amount"]) == ("-500", "-5.00")


@given(st.text())
def test_a_guard_can_be_taken_off(text: str) -> None:
    if not text.startswith("'"):
        assert unguarded(guarded(text)) == text


def test_parquet_without_its_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(UsageError, match="parquet needs the package pyarrow"):
        write_parquet([row()], COLUMNS, tmp_path / "rows.parquet")

    assert list(tmp_path.iterdir()) == []


def test_parquet_keeps_types_and_leaves_no_half_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"

    count = write_parquet([row(), row(at=None, amount_minor=None, count=2**53)], COLUMNS, path)

    table = pyarrow.parquet.read_table(path)
    assert count == 2
    assert table.column_names == ["at", "who", "note", "currency", "amount_minor", "amount", "count"]
    assert [str(kind) for kind in table.schema.types] == [
        "timestamp[ms, tz=UTC]", "string", "string", "string", "int64", "string", "int64"
    ]  # fmt: skip
    assert table.to_pylist()[0] | {"at": None} == row(at=None, who="ab", amount="0.05")
    assert table.to_pylist()[0]["at"] == AT
    assert table.to_pylist()[1]["count"] == 2**53

    def failing() -> Any:
        yield row()
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="No space left on device"):
        write_parquet(failing(), COLUMNS, tmp_path / "other.parquet")
    assert [one.name for one in tmp_path.iterdir()] == ["rows.parquet"]
