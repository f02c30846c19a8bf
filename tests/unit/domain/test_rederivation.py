"""The second path to every amount agrees with the first, whatever the facts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.earnings import Overdelivery, earnings, platform_fee
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.rederivation import AmountFacts, amounts_of, pool_of, shares_of
from reconciler.domain.settlement import largest_remainder

IDENTITY = DocumentId(IdKind.OBJECT_ID, f"{1:024x}")
CURRENCIES = st.sampled_from(["INR", "JPY", "KWD"])
COUNTS = st.integers(0, 10**12)
TERMS = CampaignTerms(
    campaign_id=IDENTITY,
    brand_id=IDENTITY,
    status="active",
    payment_type=PaymentType.CPM,
    rate=Fraction(1),
    budget_minor=1,
    target_impressions=1,
    currency="INR",
    cooloff_hours=720,
    end_date=None,
    cooloff_was_read=True,
)


@st.composite
def terms(draw: st.DrawFn) -> CampaignTerms:
    currency = draw(CURRENCIES)
    if draw(st.booleans()):
        rate = Fraction(draw(st.integers(1, 10**15)), 10**9)
        return replace(TERMS, rate=rate, currency=currency, target_impressions=draw(st.integers(1, 10**9)))
    digits = {"INR": 2, "JPY": 0, "KWD": 3}[currency]
    rate = Fraction(draw(st.integers(1, 10**12)), 10**digits)
    return replace(TERMS, payment_type=PaymentType.FIXED, rate=rate, currency=currency)


def facts_of(of: CampaignTerms, impressions: int, overdelivery: Overdelivery, fee_bps: int = 0) -> AmountFacts:
    return AmountFacts(
        of.payment_type.value,
        of.rate_text,
        impressions,
        of.target_impressions,
        overdelivery.value,
        of.currency,
        fee_bps,
    )


@given(terms(), COUNTS, st.sampled_from(Overdelivery), st.integers(0, 10_000))
def test_it_agrees_with_what_decides(of: CampaignTerms, impressions: int, how: Overdelivery, fee_bps: int) -> None:
    first = earnings(of, impressions, how)
    fee_minor = platform_fee(first.gross_minor, fee_bps)

    assert amounts_of(facts_of(of, impressions, how, fee_bps)) == (
        first.gross_minor,
        fee_minor,
        first.gross_minor - fee_minor,
        first.impressions_paid,
        first.rounding,
    )
    assert pool_of(facts_of(of, impressions, how)) == earnings(of, impressions, how).gross_minor


@given(st.integers(0, 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_shares_agree_and_sum_to_the_pool(pool_minor: int, weights: list[int]) -> None:
    members = [(f"oid:{number:024x}", weight) for number, weight in enumerate(weights)]

    shares = shares_of(pool_minor, list(reversed(members)))

    assert [shares[member] for member, _ in members] == largest_remainder(pool_minor, weights)
    assert sum(shares.values()) == pool_minor


def test_the_reference_case() -> None:
    assert amounts_of(AmountFacts("cpm", "1650", 2500, 2000, "cap_at_target", "INR"))[:3] == (330_000, 0, 330_000)
    assert amounts_of(AmountFacts("cpm", "1650", 606, 606, "cap_at_target", "INR", 1250))[:3] == (
        99_990,
        12_499,
        87_491,
    )


def test_a_share_is_taken_as_it_was_frozen() -> None:
    assert amounts_of(AmountFacts("cpm", "1650", 7, 9, "pay", "INR", 10, 12345)) == (
        12_345,
        12,
        12_333,
        7,
        "largest_remainder",
    )


@pytest.mark.parametrize(
    "facts",
    [
        AmountFacts("gift", "1", 1, 1, "pay", "INR"),
        AmountFacts("cpm", "1", 1, 1, "sometimes", "INR"),
        AmountFacts("cpm", "a lot", 1, 1, "pay", "INR"),
        AmountFacts("cpm", "0", 1, 1, "pay", "INR"),
        AmountFacts("cpm", "0.0000000001", 1, 1, "pay", "INR"),
        AmountFacts("cpm", "1", 1, 1, "pay", "XYZ"),
    ],
)
def test_facts_that_no_payout_has_are_refused(facts: AmountFacts) -> None:
    with pytest.raises(ValueError):
        amounts_of(facts)
