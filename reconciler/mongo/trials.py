"""What the test page shows: a participation, its campaign and its streamer's wallet, read as they are this moment.

For people who try things out, never for a payment: the three documents are read one after another.
"""

from __future__ import annotations

from typing import Any

from reconciler.config.mapping import MappingSettings
from reconciler.domain.campaign import CampaignDefaults, CampaignTerms, parse_campaign
from reconciler.domain.ids import DocumentId
from reconciler.mongo.connection import Connection, Document
from reconciler.mongo.driver_errors import translated
from reconciler.mongo.names import CAMPAIGN_FACTS
from reconciler.mongo.values import amount_of, date_of, identity_of, text_of, to_bson_id, to_record, whole_number

_PARTICIPATION = (
    "campaign_id",
    "streamer_id",
    "status",
    "impressions",
    "clicks",
    "completed_at",
    "completion_reason",
    "final_earnings",
    "final_earnings_transferred",
)
_NO_TERMS = dict.fromkeys(("status", "currency", "target", "budget_minor", "remaining_minor"))
_WALLET_AMOUNTS = ("balance", "withdrawable_balance", "held_balance", "total_earnings")


class TrialReader:
    """Reads for the test page. Every method raises Outage when MongoDB does not answer."""

    def __init__(self, connection: Connection, mapping: MappingSettings, defaults: CampaignDefaults) -> None:
        self._database = connection.database
        self._mapping = mapping
        self._defaults = defaults

    def find(self, token: str) -> DocumentId | None:
        """The participation that a recording token belongs to."""
        query = {self._mapping.participations.browser_source_token: token}
        with translated():
            found = self._database[self._mapping.collections.participations].find_one(query, {"_id": 1})
        return None if found is None else identity_of(found)

    def look(self, participation_id: DocumentId) -> dict[str, Any] | None:
        """The three documents in plain values; ``campaign`` and ``wallet`` are None where there is none."""
        mapping, collections = self._mapping, self._mapping.collections
        names = {name: getattr(mapping.participations, name) for name in _PARTICIPATION}
        with translated():
            document = self._one(collections.participations, {"_id": to_bson_id(participation_id)}, names)
            if document is None:
                return None
            # As the domain reads them: a field may hold an operator or a pattern, which a query would obey.
            campaign_id, streamer_id = (identity_of(document, names[one]) for one in ("campaign_id", "streamer_id"))
            title = mapping.campaigns.title
            fields = {name: getattr(mapping.campaigns, name) for name in (*CAMPAIGN_FACTS, "remaining_budget", "title")}
            campaign = None
            if campaign_id is not None:
                campaign = self._one(collections.campaigns, {"_id": to_bson_id(campaign_id)}, fields)
            owner = "" if streamer_id is None else streamer_id.value
            wallet = self._one(collections.wallets, {mapping.wallets.user_id: owner}, None)
        terms = None if campaign is None else self._terms(campaign)
        currency = terms["currency"] if terms and terms["currency"] else self._defaults.currency
        return {
            "participation": self._participation(document, names, currency),
            "campaign": None if terms is None or campaign is None else {**terms, "title": text_of(campaign.get(title))},
            "wallet": None if wallet is None else self._wallet(wallet, currency),
            "streamer_id": owner,
        }

    def _one(self, collection: str, query: Document, names: dict[str, str] | None) -> Document | None:
        projection = None if names is None else {"_id": 1} | dict.fromkeys(names.values(), 1)
        return self._database[collection].find_one(query, projection)

    def _participation(self, document: Document, names: dict[str, str], currency: str) -> dict[str, Any]:
        return {
            "status": text_of(document.get(names["status"])),
            "impressions": whole_number(document.get(names["impressions"])),
            "clicks": whole_number(document.get(names["clicks"])),
            "completed_at": date_of(document.get(names["completed_at"])),
            "completion_reason": text_of(document.get(names["completion_reason"])),
            "earned_minor": amount_of(document.get(names["final_earnings"]), currency),
            "is_paid": document.get(names["final_earnings_transferred"]) is True,
            "currency": currency,
        }

    def _terms(self, document: Document) -> dict[str, Any]:
        names = self._mapping.campaigns
        campaign_id = identity_of(document)
        assert campaign_id is not None  # it was asked for by that very identity
        record = to_record(document, {name: getattr(names, name) for name in CAMPAIGN_FACTS})
        parsed = parse_campaign(campaign_id, record, self._defaults)
        shown: dict[str, Any] = {
            "campaign_id": campaign_id.value,
            **_NO_TERMS,
            "status": text_of(document.get(names.status)),
        }
        if isinstance(parsed, CampaignTerms):
            shown |= {
                "currency": parsed.currency,
                "target": parsed.target_impressions,
                "budget_minor": parsed.budget_minor,
                "remaining_minor": amount_of(document.get(names.remaining_budget), parsed.currency),
            }
        return shown

    def _wallet(self, wallet: Document, currency: str) -> dict[str, Any]:
        names = self._mapping.wallets
        amounts = {f"{name}_minor": amount_of(wallet.get(getattr(names, name)), currency) for name in _WALLET_AMOUNTS}
        ledgers = wallet.get(names.ledger)
        ours = ledgers.get(currency) if isinstance(ledgers, dict) else None
        known = ours if isinstance(ours, dict) else {}
        return {
            **amounts,
            "currency": currency,
            "from_ledger_minor": (whole_number(known.get("availableMinor")) or 0)
            + (whole_number(known.get("heldMinor")) or 0),
        }
