"""Refunds: what a campaign's escrow still holds goes back to its brand, once nothing of it can be owed any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from reconciler.clock import Clock
from reconciler.deciding import Deciding
from reconciler.domain.campaign import Campaign, CampaignTerms
from reconciler.domain.decision import NotDue, Policy, Reason
from reconciler.domain.ids import DocumentId
from reconciler.domain.participation import Participation
from reconciler.ports import BatchStamp, Escrow, Facts, FactsPage, LedgerReads, RefundOutcome

log = structlog.get_logger(__name__)

STATUSES_OVER = frozenset({"completed", "cancelled"})

_NOTHING_OWED = frozenset(
    {
        Reason.ALREADY_PAID,
        Reason.REVERSED,
        Reason.REJECTED_BY_PERSON,
        Reason.SETTLED_BEFORE_US,
        Reason.FORFEITED,
        Reason.BELOW_TARGET,
        Reason.POOL_SETTLED,
        Reason.PARTICIPATION_NOT_ACTIVE,
        Reason.CAMPAIGN_NOT_ACTIVE,
    }
)
"""Every other reason is something unresolved, and keeps the money where it is."""


class Refunder(Protocol):
    """Escrows of the ledger, and what gives them back."""

    def escrows(self) -> Sequence[Escrow]:
        """Escrows that hold something."""
        ...

    def first_seen_over(self, campaign_id: DocumentId) -> datetime:
        """When the campaign was first seen to be over; remembered from the first call on."""
        ...

    def refund(self, escrow: Escrow, brand_id: DocumentId, stamp: BatchStamp) -> RefundOutcome:
        """Give back what an escrow holds, unless under the lock something of the campaign is open."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunds:
    """One round over every escrow that holds something. Raises Outage, Halted or InvariantBroken."""

    facts: Facts
    ledger: LedgerReads
    refunder: Refunder
    policy: Policy
    clock: Clock
    grace: timedelta

    def step(self, stamp: BatchStamp) -> int:
        """Refund what can be; answers how many campaigns."""
        escrows = self.refunder.escrows()
        campaigns = self.facts.campaigns([escrow.campaign_id for escrow in escrows])
        return sum(self._refund(escrow, campaigns.get(escrow.campaign_id.tagged), stamp) for escrow in escrows)

    def _refund(self, escrow: Escrow, terms: Campaign | None, stamp: BatchStamp) -> bool:
        if not isinstance(terms, CampaignTerms) or terms.status not in STATUSES_OVER:
            return False
        if self.clock() < self.refunder.first_seen_over(escrow.campaign_id) + self.grace:
            return False
        # Only now, once a week or so, the campaign is read whole.
        if self._may_owe(self.facts.read_campaign(escrow.campaign_id)):
            return False
        outcome = self.refunder.refund(escrow, terms.brand_id, stamp)
        if outcome is RefundOutcome.REFUNDED:
            log.info(
                "gave a campaign's rest back to its brand",
                action="campaign_refunded",
                campaign_id=str(escrow.campaign_id),
                amount_minor=escrow.balance_minor,
                currency=escrow.currency,
            )
        return outcome is RefundOutcome.REFUNDED

    def _may_owe(self, page: FactsPage) -> bool:
        """Whether anything of a campaign is due, malformed or unresolved. What is held, the ledger itself knows."""
        if not all(isinstance(one, Participation) for one in page.participations):
            return True
        decided = Deciding(facts=self.facts, ledger=self.ledger, policy=self.policy).decide(page)
        return any(not isinstance(one, NotDue) or one.reason not in _NOTHING_OWED for one in decided.decisions)
