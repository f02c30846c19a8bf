"""Times that people type, cut where the configuration says that a day begins."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.periods import moment, period_of
from reconciler.config import Settings, load
from reconciler.errors import UsageError
from reconciler.ledger.reads.general_ledger import Period
from reconciler.queries.identities import streamer_forms, tagged_forms


def settings(timezone: str = "Asia/Kolkata") -> Settings:
    return load(None, {}, {"reports.timezone": timezone})


@pytest.mark.parametrize(
    ("timezone", "text", "at"),
    [
        ("Asia/Kolkata", "2026-03-01", datetime(2026, 2, 28, 18, 30, tzinfo=UTC)),
        ("UTC", "2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("Europe/Berlin", "2026-07-01", datetime(2026, 6, 30, 22, tzinfo=UTC)),
        ("Europe/Berlin", "2026-01-01", datetime(2025, 12, 31, 23, tzinfo=UTC)),
        ("Asia/Kolkata", "2026-03-01T12:00:00+00:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("Asia/Kolkata", "2026-03-01T12:00:00.125Z", datetime(2026, 3, 1, 12, 0, 0, 125_000, tzinfo=UTC)),
        ("UTC", "2026-03-01 12:00+05:30", datetime(2026, 3, 1, 6, 30, tzinfo=UTC)),
    ],
)
def test_a_date_is_its_midnight_there_and_a_time_is_what_its_offset_says(
    timezone: str, text: str, at: datetime
) -> None:
    assert moment("--as-of", text, settings(timezone)) == at


@pytest.mark.parametrize(
    "text", ["yesterday", "", "2026-02-30", "2026-03-01T12:00:00", "0001-01-01T00:00:00+05:30", "2026-03-01T25:00Z"]
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"--since takes a date \(2026-03-31\) or a time with its offset"):
        moment("--since", text, settings())


def test_a_time_finer_than_the_ledgers_is_refused() -> None:
    with pytest.raises(UsageError, match="finer than a millisecond"):
        moment("--since", "2026-03-01T12:00:00.000001Z", settings())


def test_a_period_may_be_open_or_empty_but_not_backwards() -> None:
    assert period_of(settings("UTC"), None, None) == Period()
    day = datetime(2026, 3, 1, tzinfo=UTC)
    assert period_of(settings("UTC"), "2026-03-01", "2026-03-01") == Period(since=day, until=day)
    with pytest.raises(UsageError, match="--since lies after --until"):
        period_of(settings(), "2026-03-02", "2026-03-01")


def test_identities_are_given_plain_or_tagged() -> None:
    hex_id = "64B000000000000000000001"
    assert tagged_forms(hex_id) == [f"oid:{hex_id.lower()}", f"str:{hex_id}"]
    assert tagged_forms(f"oid:{hex_id}") == [f"oid:{hex_id.lower()}", f"str:oid:{hex_id}"]
    assert tagged_forms("str:p1") == ["str:p1", "str:str:p1"]
    assert tagged_forms("p1") == ["str:p1"]
    assert tagged_forms("oid:p1") == ["str:oid:p1"]
    assert streamer_forms("oid:64b000000000000000000001") == [
        "oid:64b000000000000000000001",
        "64b000000000000000000001",
    ]


@pytest.mark.parametrize("text", ["", "a\x00b", "a\udcffb"])
def test_text_that_no_document_has_for_an_identity_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an identity"):
        tagged_forms(text)
