"""How much a participation earned, in whole minor units, and the formula in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.money import minor_per_major, round_half_up


class Overdelivery(StrEnum):
    """What impressions beyond the target earn under cpm."""

    CAP_AT_TARGET = "cap_at_target"
    """Nothing: the brand ordered no more."""
    PAY = "pay"
    """The same as those before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Earnings:
    """A gross amount and what it was computed from."""

    gross_minor: int
    impressions_paid: int
    """The impressions that the amount was computed on; for fixed payments those counted."""
    rounding: str


def platform_fee(gross_minor: int, fee_bps: int) -> int:
    """The platform's part of a gross amount: basis points (1/100 of a percent), rounded half-up to the minor unit."""
    return round_half_up(Fraction(gross_minor * fee_bps, 10_000))


def earnings(terms: CampaignTerms, impressions: int, overdelivery: Overdelivery) -> Earnings:
    """Gross earnings of one participation that reached its target.

    cpm: impressions · rate / 1000 in major units, rounded half-up to the minor unit once, at the end; fixed: the rate.
    """
    if terms.payment_type is PaymentType.FIXED:
        gross_minor = round_half_up(exact_gross_minor(terms.payment_type, terms.rate, terms.currency, 1))
        return Earnings(gross_minor=gross_minor, impressions_paid=impressions, rounding="none")
    paid = min(impressions, terms.target_impressions) if overdelivery is Overdelivery.CAP_AT_TARGET else impressions
    exact = exact_gross_minor(terms.payment_type, terms.rate, terms.currency, paid)
    return Earnings(gross_minor=round_half_up(exact), impressions_paid=paid, rounding="half_up")


def exact_gross_minor(payment_type: str, rate: Fraction, currency: str, impressions: int) -> Fraction:
    """The formula of the gross, in minor units before rounding: cpm rate · impressions / 1000; fixed the rate."""
    scale = minor_per_major(currency)
    return rate * scale if payment_type == PaymentType.FIXED else rate * impressions * scale / 1000
