"""A payout computed again from the facts that are stored with it, and nothing else.

It was right if it was right on those facts: what the documents say today is another question. People read the result
(``explain``); the proof of the ledger has a formula of its own, :mod:`reconciler.domain.rederivation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from reconciler.domain.campaign import PaymentType
from reconciler.domain.earnings import Overdelivery, exact_gross_minor, platform_fee
from reconciler.domain.ids import tie_break
from reconciler.domain.money import amount_text, minor_per_major, round_half_up
from reconciler.domain.posted import PostedPayout
from reconciler.domain.settlement import largest_remainder


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenPool:
    """A frozen settlement with the impressions (``weights``) and shares of all its members, by tagged identity."""

    settlement_key: str
    rule: str
    payment_type: str
    rate: str
    overdelivery: str
    target: int
    impressions: int
    pool_minor: int
    currency: str
    facts_at: datetime
    weights: Mapping[str, int]
    shares_minor: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """An amount with how it came about: the exact value in minor units before it was rounded, and the words."""

    amount_minor: int
    exact_minor: Fraction
    formula: str
    rounding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """What a payout's stored facts give. ``differences`` name the stored amounts that do not follow from them."""

    gross: Computation
    fee: Computation
    net_minor: int
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What an amount is computed from: a payout's stored facts, a pool's, or today's documents'."""

    payment_type: str
    rate: Fraction
    target: int
    overdelivery: str
    currency: str


def compute_gross(basis: Basis, impressions: int) -> Computation:
    """The gross earnings of so many impressions, in words.

    cpm: impressions · rate / 1000, rounded half-up to the minor unit once, at the end; fixed: the rate.
    """
    rate = decimal_text(basis.rate)
    if basis.payment_type == PaymentType.FIXED:
        exact = exact_gross_minor(basis.payment_type, basis.rate, basis.currency, 1)
        return _rounded(exact, f"the fixed rate, {rate} {basis.currency}", basis.currency)
    capped = basis.overdelivery == Overdelivery.CAP_AT_TARGET
    paid = min(impressions, basis.target) if capped else impressions
    exact = exact_gross_minor(basis.payment_type, basis.rate, basis.currency, paid)
    counted = f"min({impressions}, {basis.target})" if capped else str(impressions)
    return _rounded(exact, f"{counted} impressions × {rate} {basis.currency} / 1000", basis.currency)


def compute_fee(gross_minor: int, fee_bps: int, currency: str) -> Computation:
    """The platform's part: basis points of the gross, rounded half-up."""
    exact = Fraction(gross_minor * fee_bps, 10_000)
    computed = _rounded(exact, f"{fee_bps} basis points of {amount_text(gross_minor, currency)}", currency)
    assert computed.amount_minor == platform_fee(gross_minor, fee_bps)
    return computed


def compute_share(pool: FrozenPool, participation_id: str) -> Computation:
    """A member's share: the pool in proportion to impressions, by largest remainder, ties by identity."""
    members = sorted(pool.weights, key=tie_break)
    shares = dict(zip(members, largest_remainder(pool.pool_minor, [pool.weights[one] for one in members]), strict=True))
    total, weight = sum(pool.weights.values()), pool.weights[participation_id]
    exact = Fraction(pool.pool_minor * weight, total) if total else Fraction(pool.pool_minor, len(members))
    return Computation(
        amount_minor=shares[participation_id],
        exact_minor=exact,
        formula=f"{amount_text(pool.pool_minor, pool.currency)} × {weight} / {total} impressions",
        rounding=f"largest remainder of {len(members)}: {decimal_text(exact)} minor units → {shares[participation_id]}",
    )


def compute_pool(pool: FrozenPool) -> Computation:
    """What the members of a settlement share."""
    return compute_gross(_basis_of(pool), pool.impressions)


def recompute(stored: PostedPayout, pool: FrozenPool | None = None) -> Recomputed:
    """Compute a payout again. ``pool`` is the settlement whose line it pays, when it pays one.

    Raises ValueError on facts that no payout can have been posted with.
    """
    differences: list[str] = []
    if stored.settlement_key is not None and (pool is None or stored.participation_id not in pool.weights):
        raise ValueError(f"{stored.settlement_key} has no line for it")
    if pool is not None:
        gross = compute_share(pool, stored.participation_id)
        frozen_minor = pool.shares_minor[stored.participation_id]
        if frozen_minor != gross.amount_minor:
            differences.append(f"the frozen share is {frozen_minor}, and the pool gives {gross.amount_minor}")
        pool_minor = compute_pool(pool).amount_minor
        if pool_minor != pool.pool_minor:
            differences.append(f"the frozen pool is {pool.pool_minor}, and its facts give {pool_minor}")
    else:
        gross = compute_gross(_basis_of(stored), stored.impressions)
    fee = compute_fee(gross.amount_minor, stored.fee_bps, stored.currency)
    net_minor = gross.amount_minor - fee.amount_minor
    sign = -1 if stored.kind == "reversal" else 1
    for name, kept, given in (
        ("gross", stored.gross_minor, gross.amount_minor),
        ("fee", stored.fee_minor, fee.amount_minor),
        ("net", stored.amount_minor, net_minor),
    ):
        if kept != sign * given:
            differences.append(f"the stored {name} is {kept} minor units, and the stored facts give {sign * given}")
    return Recomputed(gross=gross, fee=fee, net_minor=net_minor, differences=tuple(differences))


def _basis_of(stored: PostedPayout | FrozenPool) -> Basis:
    return Basis(
        payment_type=stored.payment_type,
        rate=Fraction(stored.rate),
        target=stored.target,
        overdelivery=stored.overdelivery,
        currency=stored.currency,
    )


def _rounded(exact_minor: Fraction, formula: str, currency: str) -> Computation:
    amount_minor = round_half_up(exact_minor)
    exact = decimal_text(exact_minor / minor_per_major(currency))
    how = "exact, nothing to round" if exact_minor.denominator == 1 else "rounded half-up to the minor unit, once"
    return Computation(
        amount_minor=amount_minor,
        exact_minor=exact_minor,
        formula=f"{formula} = {exact} {currency}",
        rounding=f"{how}: {amount_text(amount_minor, currency)}",
    )


def decimal_text(value: Fraction) -> str:
    """Exact decimal text where there is one, else the fraction itself: ``2/3``."""
    digits, rest = 0, value.denominator
    while rest % 10 == 0:
        rest //= 10
        digits += 1
    # Every denominator of only twos and fives divides a power of ten no longer than its own binary length.
    scale = 10 ** (digits + rest.bit_length())
    if scale % value.denominator:
        return str(value)
    whole = value.numerator * (scale // value.denominator)
    sign, (units, part) = ("-" if whole < 0 else ""), divmod(abs(whole), scale)
    return f"{sign}{units}.{part:0{len(str(scale)) - 1}d}".rstrip("0").rstrip(".")
