"""Amounts for many rows at once, equal to the exact functions of the domain to the minor unit.

A row is computed in int64 where no step can leave it, and by the exact function where one might: int64 wraps silently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.money import minor_per_major

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PRODUCT_MAX = 2**62
"""Twice the numerator and a denominator have to fit below it, with room for the half that is added."""

INT64_MAX = 2**63 - 1

_BASIS_POINTS = 10_000


class Ratios:
    """Minor units an impression, exactly, as numerator and denominator a row of a small table.

    ``is_wide``: the ratio itself does not fit, and each of its rows takes the exact function.
    """

    def __init__(self, ratios: Sequence[Fraction]) -> None:
        wide = [max(one.numerator, one.denominator) >= PRODUCT_MAX // 4 for one in ratios]
        self.is_wide: Bools = np.array(wide, dtype=bool)
        self.numerator: Ints = np.array([0 if w else r.numerator for r, w in zip(ratios, wide, strict=True)], np.int64)
        self.denominator: Ints = np.array(
            [1 if w else r.denominator for r, w in zip(ratios, wide, strict=True)], np.int64
        )


def minor_an_impression(payment_type: str, rate: Fraction, currency: str) -> Fraction:
    """The ratio of a cpm rate; of a fixed payment the whole of it, which is then taken once."""
    scale = minor_per_major(currency)
    return rate * scale if payment_type == PaymentType.FIXED else rate * scale / 1000


def ratio_of(terms: CampaignTerms) -> Fraction:
    """:func:`minor_an_impression` of a campaign."""
    return minor_an_impression(terms.payment_type.value, terms.rate, terms.currency)


def paid_impressions(impressions: Ints, target: Ints, is_fixed: Bools, *, overdelivery: Bools) -> Ints:
    """What the ratio is multiplied by: 1 for a fixed payment; ``overdelivery``: whether all impressions count."""
    capped = np.where(overdelivery, impressions, np.minimum(impressions, target))
    return np.where(is_fixed, np.int64(1), capped)


def half_up(ratios: Ratios, rows: Ints, times: Ints, exact: Callable[[int], int]) -> Ints:
    """``ratio · times`` rounded half-up. ``rows``: the ratio of each; ``exact``: the amount of one row by its place.

    What is beyond an int64 becomes the largest of them: too much, whatever it is, and left to the exact path.
    """
    numerator, denominator = ratios.numerator[rows], ratios.denominator[rows]
    # In floats a product is right to one part in 10^15, which the distance between 2^62 and 2^63 covers.
    product = 2.0 * numerator.astype(np.float64) * times.astype(np.float64) + denominator.astype(np.float64)
    is_wide = ratios.is_wide[rows] | (product >= PRODUCT_MAX) | (times < 0)
    safe = np.where(is_wide, 0, times)
    amounts: Ints = (2 * numerator * safe + denominator) // (2 * denominator)
    for place in np.flatnonzero(is_wide):
        amounts[place] = min(exact(int(place)), INT64_MAX)
    return amounts


def fees(gross_minor: Ints, fee_bps: Ints, exact: Callable[[int], int]) -> Ints:
    """The platform's part of gross amounts, rounded half-up."""
    product = 2.0 * gross_minor.astype(np.float64) * fee_bps.astype(np.float64) + _BASIS_POINTS
    is_wide = (product >= PRODUCT_MAX) | (gross_minor < 0) | (fee_bps < 0)
    safe = np.where(is_wide, 0, gross_minor)
    amounts: Ints = (2 * safe * fee_bps + _BASIS_POINTS) // (2 * _BASIS_POINTS)
    for place in np.flatnonzero(is_wide):
        amounts[place] = exact(int(place))
    return amounts
