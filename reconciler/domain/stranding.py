"""Stranded money: it accrued, and no rule that is switched on will ever pay it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import STATUSES_THAT_PAY, CampaignTerms, PaymentType
from reconciler.domain.decision import Policy, Rule
from reconciler.domain.earnings import exact_gross_minor
from reconciler.domain.money import amount_text
from reconciler.domain.settlement import INACTIVE_AFTER

STATUSES_OVER = frozenset({"completed", "cancelled", "rejected"})
"""A campaign of such a status reaches no target any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accrued:
    """What unpaid participations of a campaign earned by their impressions, beside what is paid already.

    ``reached_count``: those of them that reached their target while the rule that would pay them is off.
    ``streamed_at``: the last stream of anybody who takes part; None where none is known.
    """

    minor: int
    impressions: int
    paid_minor: int
    reached_count: int = 0
    streamed_at: datetime | None = None


def stranded(terms: CampaignTerms, accrued: Accrued, policy: Policy, now: datetime) -> Break | None:
    """The break for a campaign whose unpaid earnings nothing will pay, naming the switch that would."""
    if accrued.minor <= 0:
        return None
    holds = {
        Rule.IMPRESSIONS_TARGET_REACHED: accrued.reached_count > 0,
        Rule.BUDGET_EXHAUSTED: _is_used_up(terms, accrued),
        Rule.CAMPAIGN_ENDED: terms.end_date is not None and terms.end_date < now,
        Rule.CAMPAIGN_INACTIVE: accrued.streamed_at is not None and accrued.streamed_at < now - INACTIVE_AFTER,
    }
    holding = [rule for rule in Rule if holds[rule]]
    pays = terms.status in STATUSES_THAT_PAY
    if not holding and terms.status not in STATUSES_OVER:
        return None
    if pays and any(rule in policy.rules and (rule in holding or rule in _to_come(terms, accrued)) for rule in Rule):
        return None
    would = " or ".join(f"completion.{rule.value}" for rule in holding)
    why = f"{would} would pay it" if pays and would else f"no rule pays a campaign that is {terms.status}"
    return Break(
        kind=BreakKind.STRANDED,
        reason=holding[0].value if pays and holding else f"campaign_{terms.status}",
        campaign_id=str(terms.campaign_id),
        currency=terms.currency,
        expected_minor=accrued.minor,
        actual_minor=0,
        detail=f"{amount_text(accrued.minor, terms.currency)} accrued; {why}",
    )


def _is_used_up(terms: CampaignTerms, accrued: Accrued) -> bool:
    """What is left does not cover one more impression of anybody, so nobody can reach the target within it."""
    if terms.payment_type is not PaymentType.CPM:
        return False
    a_view = exact_gross_minor(terms.payment_type, terms.rate, terms.currency, 1)
    return terms.budget_minor - accrued.paid_minor - a_view * accrued.impressions < a_view


def _to_come(terms: CampaignTerms, accrued: Accrued) -> frozenset[Rule]:
    """Rules that will hold one day if nothing happens: they wait for a date, or for seven quiet days."""
    dates = ((Rule.CAMPAIGN_ENDED, terms.end_date), (Rule.CAMPAIGN_INACTIVE, accrued.streamed_at))
    return frozenset(rule for rule, date in dates if date is not None)
