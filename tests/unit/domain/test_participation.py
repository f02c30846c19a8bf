"""A participation is read as far as it can be named; what only matters for a payment may stay unreadable."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given

from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.parsing import Unreadable
from reconciler.domain.participation import (
    STATUSES_SETTLED,
    STATUSES_THAT_PAY,
    MalformedParticipation,
    Participation,
    parse_participation,
)
from tests.support.decisions import CAMPAIGN_ID, Absent, oid, participation, participation_record
from tests.support.values import AWKWARD, participation_records

FIELDS = (
    "id",
    "campaign_id",
    "streamer_id",
    "status",
    "impressions",
    "earnings_forfeited",
    "final_earnings_transferred",
    "last_stream_date",
    "created_at",
)


def malformed(**changes: object) -> MalformedParticipation:
    parsed = parse_participation(participation_record(**changes))
    assert isinstance(parsed, MalformedParticipation), parsed
    return parsed


def test_a_well_formed_participation_is_read_whole() -> None:
    assert participation() == Participation(
        participation_id=oid(1),
        campaign_id=CAMPAIGN_ID,
        streamer_id=oid(0x51).value,
        status="active",
        impressions=2_000,
        forfeited=False,
        marked_paid=False,
        last_stream_at=None,
        created_at=datetime(1970, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("value", "last_stream_at"),
    [
        (Absent, None),
        (datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        (datetime(2026, 2, 1), None),  # noqa: DTZ001  # without a zone it says nothing
        ("2026-02-01", None),
        (True, None),
    ],
)
def test_a_last_stream_is_a_time_or_unknown(value: object, last_stream_at: object) -> None:
    assert participation(last_stream_date=value).last_stream_at == last_stream_at


MADE = DocumentId(IdKind.OBJECT_ID, "65e1c1c0" + "0" * 16)
MADE_AT = datetime(2024, 3, 1, 11, 53, 36, tzinfo=UTC)


@pytest.mark.parametrize(
    ("identity", "value", "created_at"),
    [
        (MADE, datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        (MADE, Absent, MADE_AT),
        (MADE, "2026-02-01", MADE_AT),
        (MADE, True, MADE_AT),
        (DocumentId(IdKind.OBJECT_ID, "f" * 24), Absent, datetime(2106, 2, 7, 6, 28, 15, tzinfo=UTC)),
        ("p1", datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)),
        ("p1", Absent, None),
        ("65e1c1c0" + "0" * 16, Absent, None),
    ],
)
def test_the_time_of_creation_is_the_documents_own_or_its_object_ids(
    identity: object, value: object, created_at: object
) -> None:
    assert participation(id=identity, created_at=value).created_at == created_at


def test_a_streamer_is_one_person_whether_named_by_object_id_or_by_its_hex() -> None:
    assert participation(streamer_id=oid(7)).streamer_id == participation(streamer_id=oid(7).value).streamer_id


def test_a_campaign_named_by_object_id_and_by_its_hex_is_two_campaigns() -> None:
    assert participation(campaign_id=oid(7)).campaign_id != participation(campaign_id=oid(7).value).campaign_id


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2000, 2_000),
        (2000.0, 2_000),
        ("2000", 2_000),
        (Decimal(2000), 2_000),
        (10**12, 10**12),
        (Absent, Unreadable("is missing")),
        (None, Unreadable("is missing")),
        (True, Unreadable("is a boolean, not a number")),
        (-1, Unreadable("is negative")),
        (1999.5, Unreadable("is not a whole number")),
        (10**12 + 1, Unreadable("is more than 1000000000000")),
        (float("nan"), Unreadable("is not a finite number")),
        ("٢٠٠٠", Unreadable("is text that is not a plain decimal number")),
    ],
)
def test_impressions_are_a_count_or_the_reason_why_not(value: object, expected: object) -> None:
    assert participation(impressions=value).impressions == expected


@pytest.mark.parametrize(
    ("field", "attribute"), [("earnings_forfeited", "forfeited"), ("final_earnings_transferred", "marked_paid")]
)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Absent, False),
        (None, False),
        (False, False),
        (True, True),
        (1, Unreadable("is a int, not a boolean")),
        ("true", Unreadable("is a str, not a boolean")),
    ],
)
def test_a_flag_is_never_guessed(field: str, attribute: str, value: object, expected: object) -> None:
    assert getattr(participation(**{field: value}), attribute) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("active", "active"), ("", ""), (Absent, None), (None, None), (1, None), (["active"], None)]
)
def test_a_status_is_text_or_unknown(value: object, expected: str | None) -> None:
    assert participation(status=value).status == expected


@pytest.mark.parametrize(
    ("changes", "participation_id", "shown", "problems"),
    [
        ({"campaign_id": Absent}, oid(1), oid(1).value, ["campaign_id is missing"]),
        ({"streamer_id": 5}, oid(1), oid(1).value, ["streamer_id is a int, not an ObjectId or a string"]),
        (
            {"campaign_id": "", "streamer_id": "a\x00"},
            oid(1),
            oid(1).value,
            ["campaign_id is an empty string", "streamer_id contains a NUL character, which SQL text cannot hold"],
        ),
        ({"id": 7}, None, "7", ["id is a int, not an ObjectId or a string"]),
        ({"id": Absent}, None, "None", ["id is missing"]),
        ({"id": "x" * 5_000}, None, "'" + "x" * 119, ["id is longer than 200 characters"]),
        (
            {"id": datetime(2026, 1, 1, tzinfo=UTC)},
            None,
            "datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)",
            ["id is a datetime, not an ObjectId or a string"],
        ),
        (
            {"id": None, "campaign_id": None, "streamer_id": None, "impressions": "x"},
            None,
            "None",
            ["id is missing", "campaign_id is missing", "streamer_id is missing"],
        ),
    ],
)
def test_one_that_cannot_be_named_is_shown_with_every_reason(
    changes: dict[str, object], participation_id: DocumentId | None, shown: str, problems: list[str]
) -> None:
    parsed = malformed(**changes)

    assert parsed.participation_id == participation_id
    assert parsed.shown_id == shown
    assert [str(problem) for problem in parsed.problems] == problems


def test_a_string_identity_is_shown_as_it_is() -> None:
    assert malformed(id="p-1", streamer_id=None).shown_id == "p-1"
    assert malformed(id="p-1", streamer_id=None).participation_id == DocumentId(IdKind.STRING, "p-1")


def test_a_status_that_pays_is_not_one_that_is_over() -> None:
    assert sorted(STATUSES_THAT_PAY) == ["active", "completed"]
    assert sorted(STATUSES_SETTLED) == ["left_early", "rejected", "removed"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", AWKWARD, ids=lambda value: repr(value)[:40])
def test_every_awkward_value_in_every_field_gets_an_answer(field: str, value: object) -> None:
    parsed = parse_participation(participation_record(**{field: value}))

    assert isinstance(parsed, Participation) or parsed.problems


@given(participation_records())
def test_no_record_makes_reading_raise(record: dict[str, object]) -> None:
    parsed = parse_participation(record)

    if isinstance(parsed, Participation):
        assert parsed.streamer_id
        assert isinstance(parsed.impressions, Unreadable) or 0 <= parsed.impressions <= 10**12
    else:
        assert parsed.problems
        assert len(parsed.shown_id) <= 200
