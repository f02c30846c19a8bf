"""Campaigns that are settled as a whole, short to write down. The reference terms: 1.65 an impression, target 2,000."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.decision import ParticipationFacts, Policy, PoolShare, Rule, Scope
from reconciler.domain.earnings import Overdelivery
from reconciler.domain.settlement import PoolDecision, PoolDue, PoolFacts, PoolNotDue, decide_pool
from tests.support import decisions
from tests.support.decisions import NOW, oid, participation, terms

TARGET_ONLY = frozenset({Rule.IMPRESSIONS_TARGET_REACHED})
POOLED = Policy(overdelivery=Overdelivery.CAP_AT_TARGET, rules=TARGET_ONLY, scope=Scope.CAMPAIGN)
SETTLEMENT_KEY = "settlement:oid:ca:1"


def member(
    number: int,
    impressions: object,
    /,
    *,
    streamer: int | None = None,
    known: dict[str, object] | None = None,
    **of: object,
) -> ParticipationFacts:
    """Participation ``number``; its streamer has the same number unless given. ``known``: what else the facts say."""
    streamer_id = oid(number if streamer is None else streamer)
    one = participation(**({"id": oid(number), "streamer_id": streamer_id, "impressions": impressions} | of))
    return replace(decisions.facts(one, terms()), **(known or {}))  # type: ignore[arg-type]


def pool_of(
    members: Sequence[ParticipationFacts], campaign: CampaignTerms | None = None, **changes: object
) -> PoolFacts:
    """These members' campaign, of which nothing was paid yet."""
    whole = PoolFacts(terms=campaign or terms(), members=members, paid_minor=0, now=NOW)
    return replace(whole, **changes)  # type: ignore[arg-type]


def frozen(decision: PoolDecision) -> PoolDue:
    assert isinstance(decision, PoolDue), decision
    return decision


def shares(decision: PoolDecision) -> dict[int, int]:
    """By number of the participation, in the order of the lines."""
    return {int(line.participation.participation_id.value, 16): line.share_minor for line in frozen(decision).lines}


def refused(decision: PoolDecision) -> PoolNotDue:
    assert isinstance(decision, PoolNotDue), decision
    return decision


def rule_of(facts: PoolFacts, policy: Policy) -> Rule | None:
    """By which rule a pool is settled, if it is."""
    decision = decide_pool(facts, policy)
    return decision.rule if isinstance(decision, PoolDue) else None


def pool_share(share_minor: int | None, **changes: object) -> PoolShare:
    """The place of a participation in a settlement that its campaign's end brought about."""
    one = PoolShare(settlement_key=SETTLEMENT_KEY, rule=Rule.CAMPAIGN_ENDED, share_minor=share_minor, impressions=1_200)
    return replace(one, **changes)  # type: ignore[arg-type]
