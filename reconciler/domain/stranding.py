"""Stranded money: it accrued, and no rule that is switched on will ever pay it."""

from __future__ import annotations

from datetime import datetime

from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.decision import Policy, Rule
from reconciler.domain.money import format_minor


def stranded(
    terms: CampaignTerms, *, accrued_minor: int, paid_minor: int, policy: Policy, now: datetime
) -> Break | None:
    """The break for a campaign whose unpaid earnings nothing will pay, naming the switch that would.

    ``accrued_minor``: what unpaid participations earned by their impressions; ``paid_minor``: gross, paid already.
    """
    if accrued_minor <= 0:
        return None
    has_ended = terms.end_date is not None and terms.end_date < now
    is_used_up = (paid_minor + accrued_minor) * 100 >= terms.budget_minor * policy.budget_used_percent
    candidates = ((Rule.BUDGET_EXHAUSTED, is_used_up), (Rule.CAMPAIGN_ENDED, has_ended))
    holding = [rule for rule, holds in candidates if holds]
    if not holding or any(rule in policy.rules for rule in holding):
        return None
    switches = " or ".join(f"completion.{rule.value}" for rule in holding)
    return Break(
        kind=BreakKind.STRANDED,
        reason=holding[0].value,
        campaign_id=str(terms.campaign_id),
        currency=terms.currency,
        expected_minor=accrued_minor,
        actual_minor=0,
        detail=f"{format_minor(accrued_minor, terms.currency)} {terms.currency} accrued; {switches} would pay it",
    )
