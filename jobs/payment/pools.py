"""Settling whole campaigns: freeze who shares what from one snapshot, then pay the lines like everybody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from reconciler.clock import Clock
from reconciler.deciding import Deciding
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.decision import Reason
from reconciler.domain.ids import DocumentId
from reconciler.domain.settlement import PoolDue, PoolFacts, PoolNotDue, decide_pool
from reconciler.ports.facts import FactsPage
from reconciler.ports.journal import BatchStamp, Poster

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Frozen:
    """How many settlements were frozen now, and which campaigns wait, for a reason that a person should see."""

    count: int = 0
    waiting: list[tuple[CampaignTerms, PoolNotDue]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFreezer:
    """Freezes what is due as a whole. Raises Outage, Halted or InvariantBroken."""

    deciding: Deciding
    poster: Poster
    clock: Clock

    def freeze_due(self, campaigns: Sequence[CampaignTerms], stamp: BatchStamp) -> Frozen:
        """Freeze the settlements that some campaigns are due."""
        frozen = Frozen()
        if not self.deciding.policy.has_pools or not campaigns:
            return frozen
        for terms in self.deciding.facts.pool_candidates(campaigns, self.deciding.policy, self.clock()):
            page = self.deciding.facts.read_campaign(terms.campaign_id)
            decision = self.decide(page, terms.campaign_id)
            if isinstance(decision, PoolDue):
                frozen.count += self._freeze(decision, page, stamp)
            elif decision is not None and decision.reason is not Reason.BELOW_TARGET:
                frozen.waiting.append((terms, decision))
                log.warning(
                    "a campaign cannot be settled",
                    action="pool_waits",
                    campaign_id=str(terms.campaign_id),
                    reason=decision.reason.value,
                    detail=decision.detail,
                )
        return frozen

    def _freeze(self, due: PoolDue, page: FactsPage, stamp: BatchStamp) -> bool:
        is_new = self.poster.freeze(due, page.facts_at, stamp)
        if is_new:
            log.info(
                "froze a campaign's settlement",
                action="settlement_frozen",
                campaign_id=str(due.terms.campaign_id),
                rule=due.rule.value,
                members=len(due.lines),
                pool_minor=due.pool_minor,
                currency=due.terms.currency,
            )
        return is_new

    def decide(self, page: FactsPage, campaign_id: DocumentId) -> PoolDue | PoolNotDue | None:
        """The decision about a campaign's pool; None where its terms cannot be read, or it is settled already."""
        terms = page.campaigns.get(campaign_id.tagged)
        if not isinstance(terms, CampaignTerms):
            return None
        gathered = self.deciding.members(page)
        if not gathered.facts or campaign_id.tagged in gathered.known.pool_campaigns:
            return None
        paid_minor = self.deciding.ledger.gross_paid_minor(campaign_id)
        pool = PoolFacts(terms=terms, members=gathered.facts, paid_minor=paid_minor, now=page.facts_at)
        return decide_pool(pool, self.deciding.policy)
