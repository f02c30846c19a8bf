"""What is withheld: somebody reached their target and is not paid, because a person decided so or set a state."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.decision import SETTLE_ALL_RULES, NotDue, ParticipationFacts, Policy, Reason, Rule, Scope
from reconciler.domain.earnings import earnings

RULE_OFF = "rule_off"
"""The rule that would pay it is switched off, and another one that is on will settle its campaign one day."""

BY_DECISION = frozenset(
    {
        Reason.REVERSED,
        Reason.REJECTED_BY_PERSON,
        Reason.CAMPAIGN_NOT_ACTIVE,
        Reason.PARTICIPATION_NOT_ACTIVE,
        Reason.FORFEITED,
        Reason.POOL_SETTLED,
    }
)
"""Reasons that somebody is behind: none of them is a defect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """One participation. ``status``: the word that keeps it, where one does; the gross amount is in minor units."""

    reason: str
    status: str
    currency: str
    gross_minor: int


def withheld(decision: NotDue, facts: ParticipationFacts, policy: Policy) -> Withheld | None:
    """What is withheld by a decision not to pay; None where its target is not reached, or nobody decided that."""
    gross_minor = reached_minor(facts, policy)
    if gross_minor is None or not isinstance(facts.campaign, CampaignTerms):
        return None
    is_off = Rule.IMPRESSIONS_TARGET_REACHED not in policy.rules
    if decision.reason is Reason.BELOW_TARGET and is_off and policy.rules & SETTLE_ALL_RULES:
        reason, status = RULE_OFF, ""
    elif decision.reason in BY_DECISION:
        statuses = {
            Reason.CAMPAIGN_NOT_ACTIVE: facts.campaign.status,
            Reason.PARTICIPATION_NOT_ACTIVE: facts.participation.status or "",
        }
        reason, status = decision.reason.value, statuses.get(decision.reason, "")
    else:
        return None
    return Withheld(reason=reason, status=status, currency=facts.campaign.currency, gross_minor=gross_minor)


def reached_minor(facts: ParticipationFacts, policy: Policy) -> int | None:
    """What a participation that reached its target would be paid, gross; None below it, and where nobody can say.

    A member of a frozen settlement reached it with all the others. In scope campaign nobody reaches it alone.
    """
    terms, impressions = facts.campaign, facts.participation.impressions
    if facts.pool is not None and facts.pool.share_minor is not None:
        return facts.pool.share_minor
    if policy.scope is Scope.CAMPAIGN or not isinstance(terms, CampaignTerms) or not isinstance(impressions, int):
        return None
    if impressions < terms.target_impressions:
        return None
    return earnings(terms, impressions, policy.overdelivery).gross_minor
