"""The files of a report: which there are, and what is in each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet
import pytest

from reconciler.domain.break_memory import TrackedBreak
from reconciler.domain.breaks import Break, BreakKind, BreakStatus
from reconciler.ports.integrity import Integrity
from reconciler.reports import renditions as renditions_module
from reconciler.reports.model import Completeness, Report, Sighting, Totals
from reconciler.reports.payout_rows import PAYOUT_COLUMNS
from reconciler.reports.renditions import renditions
from reconciler.reports.tables import Kind
from tests.support.report_schema import schema_errors

AT = datetime(2026, 11, 26, 2, 30, tzinfo=UTC)
ALL = [".csv", ".payouts.csv", ".parquet", ".payouts.parquet", ".html", ".json"]


def report_of(*found: Break, kind: str = "full_check", ledger_sequence: int = 2) -> Report:
    return Report(
        report_id="20261126T023000Z-1f0c9a2b",
        kind=kind,
        trigger="full_check",
        as_of=AT,
        started_at=AT,
        finished_at=AT,
        dry_run=False,
        config_fingerprint="f",
        completeness=Completeness(participations=1, broken=1),
        totals=(),
        sightings=[
            Sighting(
                found=one, tracked=TrackedBreak(break_id="1f0c9a2b1f0c9a2b", first_seen=AT, status=BreakStatus.OPEN)
            )
            for one in found
        ],
        repairs={"paid": 0, "projected": 0},
        carried={"new": 0, "carried": 0, "cleared": 0},
        integrity=Integrity(
            faults=(), entries=2, chain_verified_to=1, ledger_sequence=ledger_sequence, chain_head="ab"
        ),
    )


def payouts() -> Iterator[dict[str, Any]]:
    """Three rows in the order of posting; the third was posted after the report's position."""
    for sequence in (1, 2, 3):
        empty: dict[str, Any] = {column.name: None for column in PAYOUT_COLUMNS}
        numbers = {column.name: sequence for column in PAYOUT_COLUMNS if column.kind in {Kind.COUNT, Kind.AMOUNT}}
        yield empty | numbers | {"created_at": AT, "currency": "INR", "rule": "=1+1", "participation_id": "oid:65a1"}


def files_of(report: Report) -> dict[str, bytes]:
    written = {}
    for suffix, write in renditions(report, json_breaks_max=1, payouts=payouts).items():
        file = io.BytesIO()
        write(file)
        written[suffix] = file.getvalue()
    return written


def test_a_report_has_every_format_and_the_document_comes_last() -> None:
    assert list(files_of(report_of())) == ALL


def test_a_check_of_one_campaign_lists_no_payouts() -> None:
    assert list(files_of(report_of(kind="campaign_check"))) == [".csv", ".parquet", ".html", ".json"]


def test_without_the_package_there_is_no_parquet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renditions_module, "has_parquet", lambda: False)

    assert list(files_of(report_of())) == [".csv", ".payouts.csv", ".html", ".json"]


def test_payouts_end_where_the_report_does_and_are_guarded() -> None:
    files = files_of(report_of())

    rows = list(csv.DictReader(io.StringIO(files[".payouts.csv"].decode(), newline="")))
    assert [(row["sequence"], row["amount_minor"], row["amount"]) for row in rows] == [
        ("1", "1", "0.01"),
        ("2", "2", "0.02"),
    ]
    assert {(row["rule"], row["participation_id"]) for row in rows} == {("'=1+1", "65a1")}
    table = pyarrow.parquet.read_table(io.BytesIO(files[".payouts.parquet"]))
    assert table.column("sequence").to_pylist() == [1, 2]
    assert table.column("created_at").to_pylist() == [AT, AT]


def test_an_empty_ledger_has_files_with_heads_alone() -> None:
    files = files_of(report_of(ledger_sequence=0))

    assert files[".payouts.csv"].decode().startswith("created_at,status,")
    assert pyarrow.parquet.read_table(io.BytesIO(files[".payouts.parquet"])).num_rows == 0
    assert pyarrow.parquet.read_table(io.BytesIO(files[".parquet"])).num_rows == 0


def test_breaks_are_whole_in_csv_parquet_and_page_and_the_first_in_the_document() -> None:
    hostile = "=cmd|' /C calc'!A0"
    found = [
        Break(
            kind=BreakKind.AMOUNT_DIFFERS, participation_id=hostile, currency="INR", expected_minor=5, actual_minor=7
        ),
        Break(kind=BreakKind.MALFORMED, reason="participation", detail="<b>"),
    ]

    files = files_of(report_of(*found))

    rows = list(csv.DictReader(io.StringIO(files[".csv"].decode(), newline="")))
    assert [row["participation_id"] for row in rows] == [f"'{hostile}", ""]
    table = pyarrow.parquet.read_table(io.BytesIO(files[".parquet"])).to_pylist()
    # A column of Parquet is no formula, so nothing is put before it.
    assert [row["participation_id"] for row in table] == [hostile, ""]
    assert [(row["delta_minor"], row["delta"]) for row in table] == [(2, "0.02"), (None, None)]
    assert [row["status"] for row in table] == ["open", "open"]
    page = files[".html"].decode()
    assert "&lt;b&gt;" in page
    assert "<b>malformed</b>" in page
    assert files[".json"].count(b'"break_id"') in {0, 1}
    assert files[".json"].count(b'"severity"') == 1


def test_the_document_satisfies_the_schema() -> None:
    total = Totals(
        currency="INR",
        expected_minor=5,
        paid_minor=5,
        held_minor=0,
        reversed_minor=0,
        refunded_minor=0,
        explained_by={},
        payouts_count=1,
    )
    found = Break(kind=BreakKind.HELD, reason="over_budget", currency="INR", expected_minor=5, actual_minor=0)

    assert schema_errors(replace(report_of(found), totals=[total]).as_json(10)) == []
