"""Vectorised amounts are those of the exact functions, to the minor unit, wherever they round and however large."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.comparison.amounts import Ratios, fees, half_up, paid_impressions, ratio_of
from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.earnings import Overdelivery, earnings, platform_fee
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.money import AMOUNT_MINOR_MAX, minor_per_major
from reconciler.domain.parsing import IMPRESSIONS_MAX
from tests.support.examples import examples

CURRENCIES = ("INR", "JPY", "KWD", "USD")
OID = DocumentId(IdKind.OBJECT_ID, "0" * 24)


def terms_of(payment_type: PaymentType, rate: Fraction, target: int, currency: str) -> CampaignTerms:
    return CampaignTerms(
        campaign_id=OID,
        brand_id=OID,
        status="active",
        payment_type=payment_type,
        rate=rate,
        budget_minor=1,
        target_impressions=target,
        currency=currency,
        cooloff_hours=720,
        end_date=None,
        cooloff_was_read=True,
    )


counts = st.one_of(st.integers(0, 5_000), st.integers(0, IMPRESSIONS_MAX))
targets = st.one_of(st.integers(1, 5_000), st.integers(1, IMPRESSIONS_MAX + 1))


@st.composite
def campaigns(draw: st.DrawFn) -> CampaignTerms:
    currency = draw(st.sampled_from(CURRENCIES))
    scale = minor_per_major(currency)
    if draw(st.booleans()):
        rate = Fraction(draw(st.integers(1, AMOUNT_MINOR_MAX)), scale)
        return terms_of(PaymentType.FIXED, rate, draw(targets), currency)
    # In billionths: finer than any minor unit, and halves of one among them.
    billionths = st.one_of(
        st.integers(1, 10**6),
        st.integers(1, 4_000).map(lambda n: n * 5 * 10**8),
        st.integers(1, 10**9 * AMOUNT_MINOR_MAX),
    )
    return terms_of(PaymentType.CPM, Fraction(draw(billionths), 10**9), draw(targets), currency)


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(st.tuples(campaigns(), counts, st.sampled_from(list(Overdelivery))), min_size=1, max_size=20))
def test_gross_amounts_are_the_exact_ones(rows: list[tuple[CampaignTerms, int, Overdelivery]]) -> None:
    expected = [earnings(terms, impressions, overdelivery).gross_minor for terms, impressions, overdelivery in rows]
    times = paid_impressions(
        np.array([impressions for _, impressions, _ in rows], np.int64),
        np.array([terms.target_impressions for terms, _, _ in rows], np.int64),
        np.array([terms.payment_type is PaymentType.FIXED for terms, _, _ in rows]),
        overdelivery=np.array([overdelivery is Overdelivery.PAY for _, _, overdelivery in rows]),
    )

    found = half_up(
        Ratios([ratio_of(terms) for terms, _, _ in rows]), np.arange(len(rows)), times, lambda place: expected[place]
    )

    assert found.tolist() == [min(one, 2**63 - 1) for one in expected]


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**53 + 10**6), st.integers(0, 10_000)), min_size=1, max_size=20))
def test_fees_are_the_exact_ones(rows: list[tuple[int, int]]) -> None:
    expected = [platform_fee(gross, bps) for gross, bps in rows]

    found = fees(
        np.array([gross for gross, _ in rows], np.int64),
        np.array([bps for _, bps in rows], np.int64),
        lambda place: expected[place],
    )

    assert found.tolist() == expected


def test_the_exact_function_is_asked_only_where_int64_might_wrap() -> None:
    # 2 · 2^30 · 2^30 + 1 lies just below 2^62, twice as much beyond it.
    ratios = Ratios([Fraction(2**30), Fraction(2**32)])
    asked: list[int] = []

    def exact(place: int) -> int:
        asked.append(place)
        return 7

    found = half_up(ratios, np.array([0, 1]), np.array([2**30, 2**30], np.int64), exact)

    assert (found.tolist(), asked) == ([2**60, 7], [1])


@pytest.mark.parametrize(("bps", "gross", "fee"), [(250, 20, 1), (250, 19, 0), (10_000, 2**53, 2**53), (1, 4_999, 0)])
def test_fees_round_half_up(bps: int, gross: int, fee: int) -> None:
    found = fees(np.array([gross], np.int64), np.array([bps], np.int64), lambda _: platform_fee(gross, bps))
    assert found.tolist() == [fee]


def test_a_ratio_beyond_int64_is_never_put_into_it() -> None:
    ratios = Ratios([Fraction(2**70), Fraction(1, 2**70)])
    assert ratios.is_wide.all()
    assert half_up(ratios, np.array([0, 1]), np.array([1, 1], np.int64), lambda place: place).tolist() == [0, 1]
