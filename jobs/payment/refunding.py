"""Refunds: what a campaign's escrow still holds goes back to who funded it, once nothing of it can be owed any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from reconciler.clock import Clock
from reconciler.deciding import Deciding
from reconciler.domain.campaign import Campaign, CampaignTerms
from reconciler.domain.decision import NotDue, Reason
from reconciler.domain.ids import DocumentId
from reconciler.domain.participation import Participation
from reconciler.errors import UsageError
from reconciler.ports.facts import FactsPage
from reconciler.ports.journal import BatchStamp
from reconciler.ports.refunds import Escrow, Refund, RefundOutcome

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

    def refund(self, wanted: Refund, stamp: BatchStamp) -> RefundOutcome:
        """Give back what an escrow holds, unless under the lock something of the campaign is open."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Refunds:
    """One round over every escrow that holds something. Raises Outage, Halted or InvariantBroken."""

    deciding: Deciding
    refunder: Refunder
    clock: Clock
    grace: timedelta

    def step(self, stamp: BatchStamp) -> int:
        """Refund what can be; returns how many campaigns."""
        escrows = self.refunder.escrows()
        campaigns = self.deciding.facts.campaigns([escrow.campaign_id for escrow in escrows])
        return sum(self._refund(escrow, campaigns.get(escrow.campaign_id.tagged), stamp) for escrow in escrows)

    def _refund(self, escrow: Escrow, terms: Campaign | None, stamp: BatchStamp) -> bool:
        if not isinstance(terms, CampaignTerms) or terms.status not in STATUSES_OVER:
            return False
        if self.clock() < self.refunder.first_seen_over(escrow.campaign_id) + self.grace:
            return False
        # Only now, once a week or so, the campaign is read whole, and again with its terms: they may have changed.
        page = self.deciding.facts.read_campaign(escrow.campaign_id)
        terms = page.campaigns.get(escrow.campaign_id.tagged, terms)
        if not isinstance(terms, CampaignTerms) or terms.status not in STATUSES_OVER or self._may_owe(page):
            return False
        wanted = Refund(escrow=escrow, brand_id=terms.brand_id, facts_at=page.facts_at)
        outcome = self.refunder.refund(wanted, stamp)
        if outcome is RefundOutcome.REFUNDED:
            log.info(
                "gave a campaign's rest back to its brand",
                action="campaign_refunded",
                campaign_id=str(escrow.campaign_id),
                amount_minor=escrow.balance_minor,
                currency=escrow.currency,
            )
        return outcome is RefundOutcome.REFUNDED

    def by_person(self, campaign: str, by: str, reason: str, stamp: BatchStamp) -> list[Escrow]:
        """Give back the escrows of a campaign (its plain or tagged identity), also one that is gone or was rejected.

        Raises UsageError with what stands in the way.
        """
        escrows = [one for one in self.refunder.escrows() if campaign in (str(one.campaign_id), one.campaign_id.tagged)]
        if not escrows:
            raise UsageError(f"no escrow of a campaign {campaign} holds anything")
        for escrow in escrows:
            page = self.deciding.facts.read_campaign(escrow.campaign_id)
            terms = self.deciding.facts.campaigns([escrow.campaign_id]).get(escrow.campaign_id.tagged)
            if terms is not None and terms.status == "active":
                raise UsageError(f"campaign {campaign} is active: what it holds is there to be paid")
            if terms is not None and self._may_owe(page):
                raise UsageError(f"somebody of campaign {campaign} is due, or cannot be read: run the full check")
            brand_id = terms.brand_id if isinstance(terms, CampaignTerms) else None
            wanted = Refund(escrow=escrow, brand_id=brand_id, facts_at=page.facts_at, by=by, reason=reason)
            outcome = self.refunder.refund(wanted, stamp)
            if outcome is not RefundOutcome.REFUNDED:
                raise UsageError(f"the escrow of campaign {campaign} is not refunded: {outcome.value}")
        return escrows

    def _may_owe(self, page: FactsPage) -> bool:
        """Whether anything of a campaign is due, malformed or unresolved. What is held, the ledger itself knows."""
        if not all(isinstance(one, Participation) for one in page.participations):
            return True
        decided = self.deciding.decide(page)
        return any(not isinstance(one, NotDue) or one.reason not in _NOTHING_OWED for one in decided.decisions)
