"""Frozen settlements: who shares a campaign's pool, and how it is divided to the last minor unit.

A settlement is decided on one snapshot of all participations of a campaign, and then stands: who counts on, joins or
leaves later changes nothing. No order of arrival matters; ties go by identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.decision import ParticipationFacts, Policy, Reason, Rule, Scope, not_payable
from reconciler.domain.earnings import Overdelivery, earnings, exact_gross_minor
from reconciler.domain.ids import tie_break
from reconciler.domain.money import AMOUNT_MINOR_MAX
from reconciler.domain.participation import Participation

INACTIVE_AFTER = timedelta(days=7)
CHEAPEST_VIEW_IMPRESSIONS = 100
"""A budget that cannot buy this many impressions more is used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One member's share of a pool, in minor units."""

    participation: Participation
    impressions: int
    share_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDue:
    """A settlement that is to be frozen. The shares of ``lines`` sum to ``pool_minor``. ``paid_minor``: what the ledger
    had paid of the campaign, gross, when this was decided."""

    terms: CampaignTerms
    rule: Rule
    overdelivery: Overdelivery
    impressions: int
    pool_minor: int
    lines: tuple[Line, ...]
    paid_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolNotDue:
    """Why a campaign's pool is not settled now."""

    reason: Reason
    detail: str


PoolDecision = PoolDue | PoolNotDue


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """A campaign and all of its participations, of one snapshot. ``paid_minor``: what the ledger paid of it, gross."""

    terms: CampaignTerms
    members: Sequence[ParticipationFacts]
    paid_minor: int
    now: datetime


def decide_pool(facts: PoolFacts, policy: Policy) -> PoolDecision:
    """Whether a campaign's pool is settled now, by which rule and with which shares. Total: nothing raises."""
    members: dict[str, Participation] = {}
    malformed: list[str] = []
    unknown: list[str] = []
    for one in sorted(facts.members, key=lambda member: tie_break(member.participation.participation_id.tagged)):
        if one.credited_elsewhere or one.streamer_paid_for is not None or one.pool is not None:
            # Settled by another way, also by a share of a campaign that it left. Malformed or not it is no member, and
            # a pool must not wait for it.
            continue
        obstacle = not_payable(one)
        if obstacle is None:
            # Of two participations of one streamer the first takes part; the other is a duplicate.
            members.setdefault(one.participation.streamer_id, one.participation)
        elif obstacle.reason is Reason.MALFORMED:
            malformed.append(str(one.participation.participation_id))
        elif obstacle.reason is Reason.STATUS_UNKNOWN:
            # Left out now, it would be left out for good: shares are frozen once.
            unknown.append(str(one.participation.participation_id))
    counted = [(one, one.impressions) for one in members.values() if isinstance(one.impressions, int)]
    impressions = sum(count for _, count in counted)
    rule = _rule_that_holds(facts, [one for one, _ in counted], impressions, policy)
    if rule is None or not (counted or malformed or unknown):
        return PoolNotDue(
            reason=Reason.BELOW_TARGET,
            detail=f"{impressions} of {facts.terms.target_impressions} impressions together, and no other rule holds",
        )
    for members_out, what in ((malformed, "malformed members"), (unknown, "members of an unknown status")):
        if members_out:
            return PoolNotDue(reason=Reason.POOL_INCOMPLETE, detail=f"{what}: {', '.join(members_out[:10])}")
    changed = sorted({one.pinned_currency for one in facts.members if one.pinned_currency} - {facts.terms.currency})
    if changed:
        # Frozen now, the shares would be minor units of a currency that the campaign was not funded in, for good.
        detail = f"funded in {', '.join(changed)}, now {facts.terms.currency}"
        return PoolNotDue(reason=Reason.CURRENCY_CHANGED, detail=detail)
    # What the members share: the earnings of one participation with all of their impressions.
    pool_minor = earnings(facts.terms, impressions, policy.overdelivery).gross_minor
    if pool_minor > AMOUNT_MINOR_MAX:
        return PoolNotDue(reason=Reason.MALFORMED, detail="the impressions together earn more than 2^53 minor units")
    return PoolDue(
        terms=facts.terms,
        rule=rule,
        overdelivery=policy.overdelivery,
        impressions=impressions,
        pool_minor=pool_minor,
        lines=_lines(counted, pool_minor),
        paid_minor=facts.paid_minor,
    )


def largest_remainder(pool_minor: int, weights: Sequence[int]) -> list[int]:
    """Divide a pool in proportion to weights, exactly: each its floor, the rest to the largest remainders.

    Ties go to the earlier one, so callers sort. With no weight at all everybody weighs the same. Source: Hamilton's
    method of apportionment.
    """
    total = sum(weights)
    if total == 0:
        weights, total = [1] * len(weights), len(weights)
    shares = [pool_minor * weight // total for weight in weights]
    remainders = [pool_minor * weight % total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: (-remainders[index], index))
    for index in by_remainder[: pool_minor - sum(shares)]:
        shares[index] += 1
    return shares


def _lines(counted: Sequence[tuple[Participation, int]], pool_minor: int) -> tuple[Line, ...]:
    in_order = sorted(counted, key=lambda one: tie_break(one[0].participation_id.tagged))
    shares = largest_remainder(pool_minor, [count for _, count in in_order])
    return tuple(
        Line(participation=participation, impressions=count, share_minor=share)
        for (participation, count), share in zip(in_order, shares, strict=True)
    )


def _rule_that_holds(
    facts: PoolFacts, members: Sequence[Participation], impressions: int, policy: Policy
) -> Rule | None:
    """The first rule, in order of precedence, that is switched on and holds."""
    holds = {
        Rule.IMPRESSIONS_TARGET_REACHED: policy.scope is Scope.CAMPAIGN
        and impressions >= facts.terms.target_impressions,
        Rule.BUDGET_EXHAUSTED: _is_exhausted(facts, impressions, policy),
        Rule.CAMPAIGN_ENDED: facts.terms.end_date is not None and facts.terms.end_date < facts.now,
        Rule.CAMPAIGN_INACTIVE: _is_inactive(members, facts.now),
    }
    return next((rule for rule in Rule if rule in policy.rules and holds[rule]), None)


def _is_exhausted(facts: PoolFacts, impressions: int, policy: Policy) -> bool:
    """Used: what was paid, and under cpm what the unpaid impressions cost; fixed ones cost nothing an impression."""
    terms = facts.terms
    a_view = Fraction(0)
    if terms.payment_type is PaymentType.CPM:
        a_view = exact_gross_minor(terms.payment_type, terms.rate, terms.currency, 1)
    used = facts.paid_minor + a_view * impressions
    left = terms.budget_minor - used
    return used * 100 >= terms.budget_minor * policy.budget_used_percent or left < a_view * CHEAPEST_VIEW_IMPRESSIONS


def _is_inactive(members: Sequence[Participation], now: datetime) -> bool:
    """Nobody streamed for seven days. Without any known stream nothing can be said, and the rule does not hold."""
    streams = [one.last_stream_at for one in members if one.last_stream_at is not None]
    return bool(streams) and max(streams) < now - INACTIVE_AFTER
