"""A campaign's terms: every target, every field that may be malformed, and all problems told at once."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.campaign import (
    COOLOFF_HOURS_DEFAULT,
    CampaignTerms,
    MalformedCampaign,
    PaymentType,
    derived_target,
    parse_campaign,
)
from tests.support.decisions import BRAND_ID, CAMPAIGN_ID, DEFAULTS, Absent, campaign, campaign_record, terms
from tests.support.values import AWKWARD, campaign_records

FIELDS = (
    "status",
    "brand_id",
    "payment_type",
    "payment_rate",
    "budget",
    "target_impressions",
    "currency",
    "gkey_cooloff_hours",
    "end_date",
)


def problems(**changes: object) -> list[str]:
    """What is wrong with the reference campaign after these changes."""
    parsed = campaign(**changes)
    assert isinstance(parsed, MalformedCampaign), parsed
    return [str(problem) for problem in parsed.problems]


def test_the_reference_campaign_is_read_whole() -> None:
    assert terms() == CampaignTerms(
        campaign_id=CAMPAIGN_ID,
        brand_id=BRAND_ID,
        status="active",
        payment_type=PaymentType.CPM,
        rate=Fraction(1650),
        budget_minor=330_000,
        target_impressions=2_000,
        currency="INR",
        cooloff_hours=720,
        end_date=None,
        cooloff_was_read=True,
    )


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        # derived, cpm: ⌊budget / rate · 1000⌋
        ({}, 2_000),
        ({"target_impressions": None}, 2_000),
        ({"target_impressions": 0}, 2_000),
        ({"target_impressions": "0"}, 2_000),
        ({"target_impressions": -0.0}, 2_000),
        ({"target_impressions": Decimal("0E+6111")}, 2_000),
        ({"budget": 1000}, 606),
        ({"budget": 3299.9999999999995}, 2_000),
        ({"payment_rate": 1649.9999999999998}, 2_000),
        ({"budget": 3, "payment_rate": 1}, 3_000),
        ({"budget": "0.01", "payment_rate": 10}, 1),
        ({"budget": "0.01", "payment_rate": "0.000000001"}, 10**10),
        ({"budget": 1, "payment_rate": 3, "currency": "JPY"}, 333),
        ({"budget": "0.001", "payment_rate": 1, "currency": "KWD"}, 1),
        ({"budget": "0.0001", "payment_rate": "0.1", "currency": "CLF"}, 1),
        # derived, fixed: ⌊budget · 1000⌋, whatever the rate
        ({"payment_type": "fixed"}, 3_300_000),
        ({"payment_type": "fixed", "payment_rate": 7}, 3_300_000),
        ({"payment_type": "fixed", "budget": "0.01"}, 10),
        # explicit: the document's word, whatever the budget would buy
        ({"target_impressions": 1}, 1),
        ({"target_impressions": 2500}, 2_500),
        ({"target_impressions": 2500.0}, 2_500),
        ({"target_impressions": "2000"}, 2_000),
        ({"target_impressions": Decimal("2E+3")}, 2_000),
        ({"target_impressions": 10**13}, 10**13),
        ({"target_impressions": 5, "payment_rate": 10**9}, 5),
        ({"target_impressions": 5, "payment_type": "fixed"}, 5),
    ],
)
def test_the_target_is_the_explicit_one_or_what_the_budget_buys(changes: dict[str, object], target: int) -> None:
    assert terms(**changes).target_impressions == target


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"target_impressions": -1}, ["target_impressions is negative"]),
        ({"target_impressions": 0.5}, ["target_impressions is not a whole number"]),
        ({"target_impressions": "many"}, ["target_impressions is text that is not a plain decimal number"]),
        ({"target_impressions": False}, ["target_impressions is a boolean, not a number"]),
        ({"target_impressions": float("nan")}, ["target_impressions is not a finite number"]),
        ({"payment_rate": 3_300_001}, ["target_impressions derived from budget and rate is less than 1"]),
        ({"budget": 1, "payment_rate": 1001}, ["target_impressions derived from budget and rate is less than 1"]),
        ({"status": Absent}, ["status is not text"]),
        ({"status": 5}, ["status is not text"]),
        ({"brand_id": Absent}, ["brand_id is missing"]),
        ({"brand_id": ""}, ["brand_id is an empty string"]),
        ({"payment_type": Absent}, ["payment_type is neither cpm nor fixed"]),
        ({"payment_type": "CPM"}, ["payment_type is neither cpm nor fixed"]),
        ({"payment_type": ["cpm"]}, ["payment_type is neither cpm nor fixed"]),
        ({"currency": "rupees"}, ["currency is not a currency code of ISO 4217"]),
        ({"currency": 356}, ["currency is a int, not a currency code"]),
        ({"payment_rate": Absent}, ["payment_rate is missing"]),
        ({"payment_rate": 0}, ["payment_rate is not more than zero"]),
        ({"payment_rate": -1650}, ["payment_rate is not more than zero"]),
        ({"payment_rate": "0.0000000004"}, ["payment_rate is not more than zero"]),
        ({"payment_rate": 1e300}, ["payment_rate is more than 2^53 minor units"]),
        ({"payment_type": "fixed", "payment_rate": 0}, ["payment_rate is not more than zero"]),
        ({"payment_type": "fixed", "payment_rate": 0.005}, ["payment_rate is no whole number of minor units of INR"]),
        ({"budget": Absent}, ["budget is missing"]),
        ({"budget": 0}, ["budget is not more than zero"]),
        ({"budget": -3300}, ["budget is not more than zero"]),
        ({"budget": 3300.005}, ["budget is no whole number of minor units of INR"]),
        ({"budget": "90071992547409.93"}, ["budget is more than 2^53 minor units"]),
        ({"budget": float("inf")}, ["budget is not a finite number"]),
        (
            {"budget": None, "payment_rate": "x", "target_impressions": -1, "brand_id": 5, "status": None},
            [
                "status is not text",
                "brand_id is a int, not an ObjectId or a string",
                "payment_rate is text that is not a plain decimal number",
                "budget is missing",
                "target_impressions is negative",
            ],
        ),
    ],
)
def test_what_is_malformed_is_named_with_every_reason(changes: dict[str, object], expected: list[str]) -> None:
    assert problems(**changes) == expected


def test_an_explicit_target_does_not_mend_a_malformed_budget() -> None:
    assert problems(target_impressions=2_000, budget=0) == ["budget is not more than zero"]


@pytest.mark.parametrize(("status", "kept"), [("draft", "draft"), (None, None), (7, None), ({}, None)])
def test_a_malformed_campaign_keeps_its_status(status: object, kept: str | None) -> None:
    parsed = campaign(status=status, budget=None)

    assert isinstance(parsed, MalformedCampaign)
    assert parsed.status == kept


@pytest.mark.parametrize(
    ("value", "hours", "was_read"),
    [
        (Absent, 720, True),
        (None, 720, True),
        (1, 1, True),
        ("24", 24, True),
        (48.0, 48, True),
        (8760, 8760, True),
        (0, 720, False),
        (8761, 720, False),
        (-1, 720, False),
        (1.5, 720, False),
        (True, 720, False),
        (float("nan"), 720, False),
        ("soon", 720, False),
        ([], 720, False),
    ],
)
def test_a_cool_off_out_of_range_counts_as_the_default_and_never_stops_a_payment(
    value: object, hours: int, *, was_read: bool
) -> None:
    read = terms(gkey_cooloff_hours=value)

    assert (read.cooloff_hours, read.cooloff_was_read) == (hours, was_read)
    assert COOLOFF_HOURS_DEFAULT == 720


@pytest.mark.parametrize(
    ("value", "end_date"),
    [
        (Absent, None),
        (None, None),
        (datetime(2026, 3, 31, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)),
        (datetime(2026, 3, 31), None),  # noqa: DTZ001  # without a zone it says nothing
        ("2026-03-31", None),
        (0, None),
    ],
)
def test_an_end_date_that_is_no_time_is_none_and_never_stops_a_payment(value: object, end_date: object) -> None:
    assert terms(end_date=value).end_date == end_date


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "1650"),
        ({"payment_rate": "0.005000001"}, "0.005000001"),
        ({"payment_type": "fixed"}, "1650.00"),
        ({"payment_type": "fixed", "currency": "JPY"}, "1650"),
        ({"payment_type": "fixed", "payment_rate": 1649.9999999999998}, "1650.00"),
    ],
)
def test_the_rate_is_kept_as_exact_text(changes: dict[str, object], text: str) -> None:
    assert terms(**changes).rate_text == text


@pytest.mark.parametrize("change", [{"rate": Fraction(0)}, {"budget_minor": 0}, {"target_impressions": 0}])
def test_terms_that_could_pay_nothing_cannot_be_built(change: dict[str, object]) -> None:
    whole = {name: getattr(terms(), name) for name in CampaignTerms.__slots__}

    with pytest.raises(ValueError, match="rate, budget and target of a campaign are positive"):
        CampaignTerms(**(whole | change))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", AWKWARD, ids=lambda value: repr(value)[:40])
def test_every_awkward_value_in_every_field_gets_an_answer(field: str, value: object) -> None:
    parsed = campaign(**{field: value})

    assert isinstance(parsed, CampaignTerms) or parsed.problems


@given(campaign_records())
def test_no_record_makes_reading_raise(record: dict[str, object]) -> None:
    parsed = parse_campaign(CAMPAIGN_ID, record, DEFAULTS)

    if isinstance(parsed, CampaignTerms):
        assert parsed.target_impressions >= 1
        assert 1 <= parsed.cooloff_hours <= 8760
        assert parsed.rate_text
    else:
        assert parsed.problems


@given(st.integers(1, 10**10), st.integers(1, 10**10))
def test_a_derived_target_is_the_last_impression_that_the_budget_covers(budget_minor: int, rate_minor: int) -> None:
    budget, rate = Fraction(budget_minor, 100), Fraction(rate_minor, 100)
    target = derived_target(PaymentType.CPM, rate, budget, 1_000)

    assert target * rate / 1000 <= budget < (target + 1) * rate / 1000


def test_a_record_is_not_changed_by_reading_it() -> None:
    record = campaign_record()
    before = dict(record)
    parse_campaign(CAMPAIGN_ID, record, DEFAULTS)

    assert record == before
