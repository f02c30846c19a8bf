"""How far a campaign is, by MongoDB's documents and the ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from reconciler.clock import utc_text
from reconciler.deciding import Deciding
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.decision import Due
from reconciler.domain.ids import DocumentId
from reconciler.domain.money import format_minor
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from reconciler.mongo.facts import FactsReader
from reconciler.ports.facts import FactsPage
from reconciler.queries import Document
from reconciler.queries.identities import UnknownName, identities_of

_IS_SETTLED = frozenset({"already_paid", "reversed", "rejected_by_person", "settled_before_us", "forfeited"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignQueries:
    """Reads campaigns; decides about their participations by the rules of a sweep, and pays nobody."""

    facts: FactsReader
    ledger: SqlLedgerReads
    deciding: Deciding

    def find(self, text: str) -> DocumentId | None:
        """The campaign that a text names; None where MongoDB has none."""
        try:
            identities = identities_of(text)
        except UnknownName:
            return None
        found = self.facts.campaigns(identities)
        return next((one for one in identities if one.tagged in found), None)

    def completion(self, text: str) -> Document | None:
        """How far the campaign is that a text names, by one snapshot of its participations; None for no campaign."""
        identity = self.find(text)
        if identity is None:
            return None
        page = self.facts.read_campaign(identity)
        campaign = self.facts.campaigns([identity])[identity.tagged]
        shown: Document = {
            "campaignId": identity.value,
            "status": campaign.status,
            "asOf": utc_text(page.facts_at),
            "participations": len(page.participations),
            **self._decided(page),
        }
        if isinstance(campaign, CampaignTerms):
            paid_minor = self.ledger.gross_paid_minor(identity)
            shown |= {
                "paymentType": campaign.payment_type.value,
                "currency": campaign.currency,
                "targetImpressions": campaign.target_impressions,
                "budgetMinor": campaign.budget_minor,
                "paidMinor": paid_minor,
                "paid": format_minor(paid_minor, campaign.currency),
            }
        else:
            shown["problems"] = [str(problem) for problem in campaign.problems]
        return shown

    def _decided(self, page: FactsPage) -> Document:
        decisions = self.deciding.decide(page).decisions
        due_count, impressions, reasons = 0, 0, Counter[str]()
        for decision in decisions:
            counted = decision.participation.impressions
            impressions += counted if isinstance(counted, int) else 0
            if isinstance(decision, Due):
                due_count += 1
            else:
                reasons[decision.reason.value] += 1
        reasons["malformed"] += len(page.participations) - len(decisions)
        return {
            "impressions": impressions,
            "due": due_count,
            "notDue": {reason: count for reason, count in sorted(reasons.items()) if count},
            "isComplete": bool(decisions) and due_count == 0 and not (+reasons).keys() - _IS_SETTLED,
        }
