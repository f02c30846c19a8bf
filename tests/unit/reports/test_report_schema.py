"""The published schema: every kind of report satisfies it, and what breaks the contract does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import report_documents as reports
from tests.support.report_schema import required_fields, schema_errors

Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize("report", [reports.clean, reports.eventful, reports.halted])
def test_every_report_satisfies_the_schema(report: Callable[[], reports.SampleReport]) -> None:
    assert schema_errors(report().document) == []


def test_what_the_schema_does_not_require_may_be_absent() -> None:
    document = reports.eventful(12).document
    for name in ("timezone", "waiting", "withheld", "paid_by_day", "settled_before_us"):
        del document[name]
    for total in document["totals"]:
        del total["explained_by"]
    for row in document["breaks"]:
        for name in ("break_id", "status", "acknowledged_by", "acknowledged_reason"):
            del row[name]

    assert schema_errors(document) == []


def test_fields_may_be_added() -> None:
    document = reports.eventful().document
    document["positions"]["shard"] = 1
    document["breaks"][0]["colour"] = "red"

    assert schema_errors(document | {"later": []}) == []


@pytest.mark.parametrize("name", sorted(required_fields()))
def test_no_required_field_may_be_missing(name: str) -> None:
    document = reports.eventful().document
    del document[name]

    assert schema_errors(document) != []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda one: one.update(schema="reconciliation-report/2"), "$.schema"),
        (lambda one: one.update(exit_code=0), "$.exit_code"),
        (lambda one: one.update(as_of="2026-11-26 02:30"), "$.as_of"),
        (lambda one: one.update(finished_at="2026-13-26T02:30:00.000Z"), "$.finished_at"),
        (lambda one: one["completeness"].update(lost=1), "$.completeness"),
        (lambda one: one["completeness"].update(held=-1), "$.completeness.held"),
        (lambda one: one["totals"][0].update(paid_minor=1.5), "$.totals[0].paid_minor"),
        (lambda one: one["totals"][0].update(paid_minor="1"), "$.totals[0].paid_minor"),
        (lambda one: one["totals"][0].pop("refunded_minor"), "$.totals[0]"),
        (lambda one: one["breaks"][0].update(severity="fatal"), "$.breaks[0].severity"),
        (lambda one: one["breaks"][0].update(status="closed"), "$.breaks[0].status"),
        (lambda one: one["breaks"][0].update(status="acknowledged", acknowledged_by=""), "$.breaks[0].acknowledged_by"),
        (lambda one: one["breaks"][0].update(action=""), "$.breaks[0].action"),
        (lambda one: one["breaks"][0].update(currency="rupees"), "$.breaks[0].currency"),
        (lambda one: one["waiting"].pop("held"), "$.waiting"),
        (lambda one: one["paid_by_day"][0].update(day="26 Nov"), "$.paid_by_day[0].day"),
    ],
)
def test_what_breaks_the_contract_is_refused(change: Change, where: str) -> None:
    document = reports.eventful().document
    change(document)

    assert {error.partition(": ")[0] for error in schema_errors(document)} == {where}
