"""How much: the reference case to the last minor unit, both payment types, both policies, one rounding."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.earnings import Earnings, Overdelivery, earnings
from reconciler.domain.money import minor_digits
from tests.support.decisions import terms

CAP, PAY = Overdelivery.CAP_AT_TARGET, Overdelivery.PAY


def cpm_terms() -> st.SearchStrategy[CampaignTerms]:
    """Campaigns of currencies of every size, with rates down to nine decimals and targets of their own."""
    return st.builds(
        lambda rate, currency, target: terms(
            payment_rate=rate, currency=currency, target_impressions=target, budget=10**6
        ),
        st.decimals(min_value=Decimal("0.000000001"), max_value=10**6, places=9),
        st.sampled_from(["JPY", "INR", "KWD", "CLF"]),
        st.integers(1, 10**7),
    )


@pytest.mark.parametrize(
    ("impressions", "policy", "gross_minor", "impressions_paid"),
    [
        (2_000, CAP, 330_000, 2_000),
        (2_001, CAP, 330_000, 2_000),
        (2_500, CAP, 330_000, 2_000),
        (10**12, CAP, 330_000, 2_000),
        (2_000, PAY, 330_000, 2_000),
        (2_001, PAY, 330_165, 2_001),
        (2_500, PAY, 412_500, 2_500),
        (1_999, CAP, 329_835, 1_999),  # what a settlement of all would pay; below target nobody asks
    ],
)
def test_the_reference_case(impressions: int, policy: Overdelivery, gross_minor: int, impressions_paid: int) -> None:
    assert earnings(terms(), impressions, policy) == Earnings(
        gross_minor=gross_minor, impressions_paid=impressions_paid, rounding="half_up"
    )


def test_a_budget_that_the_target_does_not_exhaust_pays_for_the_target() -> None:
    small = terms(budget=1000)

    assert small.target_impressions == 606
    assert earnings(small, 606, CAP).gross_minor == 99_990
    assert earnings(small, 700, CAP).gross_minor == 99_990
    assert earnings(small, 607, PAY).gross_minor == 100_155


@pytest.mark.parametrize("policy", Overdelivery)
@pytest.mark.parametrize("impressions", [3_300_000, 3_300_001, 10**12])
def test_fixed_pays_the_rate_however_much_was_delivered(impressions: int, policy: Overdelivery) -> None:
    assert earnings(terms(payment_type="fixed"), impressions, policy) == Earnings(
        gross_minor=165_000, impressions_paid=impressions, rounding="none"
    )


@pytest.mark.parametrize(
    ("currency", "rate", "impressions", "gross_minor"),
    [
        ("INR", 10, 1, 1),
        ("INR", 5, 1, 1),  # 0.005 is half a paisa: up
        ("INR", "4.999999999", 1, 0),
        ("INR", 1, 4, 0),
        ("INR", "0.000000001", 1, 0),
        ("INR", 15, 1, 2),  # half-even would agree here,
        ("INR", 25, 1, 3),  # and not here
        ("INR", "333.333333333", 3, 100),
        ("JPY", 500, 1, 1),
        ("JPY", "499.999999999", 1, 0),
        ("JPY", 1650, 2_000, 3_300),
        ("KWD", 1, 1, 1),
        ("KWD", "0.5", 1, 1),
        ("KWD", "1.5", 999, 1_499),  # 1498.5
        ("CLF", "0.05", 1, 1),
        ("CLF", 1650, 2_000, 33_000_000),
    ],
)
def test_cpm_is_rounded_once_to_the_minor_unit(currency: str, rate: object, impressions: int, gross_minor: int) -> None:
    bought = terms(currency=currency, payment_rate=rate, budget=10**6, target_impressions=impressions)

    assert earnings(bought, impressions, CAP).gross_minor == gross_minor


@pytest.mark.parametrize(("currency", "gross_minor"), [("JPY", 12), ("INR", 1_200), ("KWD", 12_000), ("CLF", 120_000)])
def test_fixed_is_in_the_currency_s_own_minor_units(currency: str, gross_minor: int) -> None:
    assert earnings(terms(payment_type="fixed", payment_rate=12, currency=currency), 1, CAP).gross_minor == gross_minor


@given(cpm_terms(), st.integers(0, 10**12), st.integers(0, 10**6), st.sampled_from(Overdelivery))
def test_earnings_never_fall_as_impressions_rise(
    campaign: CampaignTerms, impressions: int, more: int, policy: Overdelivery
) -> None:
    fewer, later = earnings(campaign, impressions, policy), earnings(campaign, impressions + more, policy)

    assert 0 <= fewer.gross_minor <= later.gross_minor


@given(cpm_terms(), st.data())
def test_up_to_the_target_the_policies_agree_and_every_impression_counts(
    campaign: CampaignTerms, data: st.DataObject
) -> None:
    impressions = data.draw(st.integers(0, campaign.target_impressions))
    capped = earnings(campaign, impressions, CAP)

    assert capped == earnings(campaign, impressions, PAY)
    assert capped.impressions_paid == impressions


@given(cpm_terms(), st.integers(0, 10**12))
def test_beyond_the_target_a_capped_campaign_pays_no_more(campaign: CampaignTerms, beyond: int) -> None:
    at_target = earnings(campaign, campaign.target_impressions, CAP)

    assert earnings(campaign, campaign.target_impressions + beyond, CAP) == at_target


@given(cpm_terms(), st.integers(0, 10**12))
def test_cpm_agrees_with_decimal_arithmetic(campaign: CampaignTerms, impressions: int) -> None:
    places = minor_digits(campaign.currency)
    assert places is not None
    with localcontext() as context:
        context.prec = 100
        major = Decimal(campaign.rate_text) * impressions / 1000
        expected = major.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP).scaleb(places)

    assert earnings(campaign, impressions, PAY).gross_minor == expected


@given(st.integers(1, 10**10), st.integers(1, 10**6))
def test_one_at_its_derived_target_never_earns_more_than_the_budget(budget_minor: int, rate_major: int) -> None:
    budget = f"{budget_minor // 100}.{budget_minor % 100:02}"
    if budget_minor * 10 < rate_major:
        return  # buys not one impression: malformed, and tested as that
    campaign = terms(budget=budget, payment_rate=rate_major)

    assert earnings(campaign, campaign.target_impressions, CAP).gross_minor <= budget_minor
