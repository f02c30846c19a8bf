"""Every amount once more from its stored facts, in whole numbers only: a second path beside :mod:`earnings`.

It shares no formula with :mod:`earnings` on purpose, so that one mistake is not made twice: do not merge them. The
proof of the ledger compares the two. Made for millions of rows: no Fraction and no object a row but the result.
``rate`` is the decimal text that was kept with the row, read to nine decimals.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from reconciler.domain.ids import tie_break
from reconciler.domain.money import RATE_DECIMALS, minor_per_major

_RATE_SCALE = 10**RATE_DECIMALS
_BASIS_POINTS = 10_000


class AmountFacts(NamedTuple):
    """What an amount was decided on, as stored. ``share_minor``: for a payout out of a pool, its frozen line."""

    payment_type: str
    rate: str
    impressions: int
    target: int
    overdelivery: str
    currency: str
    fee_bps: int = 0
    share_minor: int | None = None


class PayoutRow(NamedTuple):
    """A row of the ledger table as the check reads it, with the state of its effects and its share of a pool."""

    payout_key: str
    sequence: int
    kind: str
    n: int
    participation_id: str
    campaign_id: str
    streamer_id: str
    impressions: int
    target: int
    payment_type: str
    rate: str
    overdelivery: str
    gross_minor: int
    fee_minor: int
    amount_minor: int
    fee_bps: int
    currency: str
    rule: str
    settlement_key: str | None
    share_minor: int | None
    outbox_status: str | None


class Amounts(NamedTuple):
    """What the facts give: gross = fee + net, in minor units."""

    gross_minor: int
    fee_minor: int
    net_minor: int
    impressions_paid: int
    rounding: str


def amounts_of(facts: AmountFacts) -> Amounts:
    """The amounts of a payout. Raises ValueError on facts that no payout can have."""
    if facts.share_minor is not None:
        gross_minor, impressions_paid, rounding = facts.share_minor, facts.impressions, "largest_remainder"
    else:
        gross_minor, impressions_paid, rounding = _earned(facts)
    fee_minor = _half_up(gross_minor * facts.fee_bps, _BASIS_POINTS)
    return Amounts(gross_minor, fee_minor, gross_minor - fee_minor, impressions_paid, rounding)


def exact_amounts(row: PayoutRow) -> tuple[int, int, int] | None:
    """Gross, fee and net that a row's facts give; None for facts that no payout can have."""
    share = row.share_minor if row.settlement_key is not None else None
    if row.settlement_key is not None and not isinstance(share, int):
        return None
    try:
        amounts = amounts_of(
            AmountFacts(
                payment_type=row.payment_type,
                rate=row.rate,
                impressions=int(row.impressions),
                target=int(row.target),
                overdelivery=row.overdelivery,
                currency=row.currency,
                fee_bps=int(row.fee_bps),
                share_minor=share,
            )
        )
    except (TypeError, ValueError):
        return None
    return amounts.gross_minor, amounts.fee_minor, amounts.net_minor


def pool_of(facts: AmountFacts) -> int:
    """What the members of a settlement share, in minor units; ``impressions`` are all of theirs. Raises ValueError."""
    return _earned(facts)[0]


def shares_of(pool_minor: int, members: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Tagged identity → share of a pool, by largest remainder in proportion to impressions, ties by identity.

    With no impressions at all everybody has the same weight.
    """
    weights = dict(members) if any(weight for _, weight in members) else {member: 1 for member, _ in members}
    total = sum(weights.values())
    shares = {member: pool_minor * weight // total for member, weight in weights.items()}
    left = pool_minor - sum(shares.values())
    by_remainder = sorted(weights, key=lambda member: (-(pool_minor * weights[member] % total), tie_break(member)))
    for member in by_remainder[:left]:
        shares[member] += 1
    return shares


def _earned(facts: AmountFacts) -> tuple[int, int, str]:
    """Gross minor units, the impressions they are for, and how they were rounded."""
    rate, scale = _rate(facts.rate), minor_per_major(facts.currency)
    if facts.payment_type == "fixed":
        return _half_up(rate * scale, _RATE_SCALE), facts.impressions, "none"
    if facts.payment_type != "cpm" or facts.overdelivery not in ("cap_at_target", "pay"):
        raise ValueError(f"{facts.payment_type} with {facts.overdelivery} is no way to be paid")
    capped = facts.overdelivery == "cap_at_target" and facts.impressions > facts.target
    paid = facts.target if capped else facts.impressions
    return _half_up(rate * paid * scale, _RATE_SCALE * 1000), paid, "half_up"


@lru_cache(maxsize=4096)
def _rate(text: str) -> int:
    """A rate in billionths of a major unit."""
    scaled = Fraction(text) * _RATE_SCALE
    if scaled.denominator != 1 or scaled <= 0:
        raise ValueError(f"{text} is no rate above zero of at most {RATE_DECIMALS} decimals")
    return int(scaled.numerator)


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
