"""A small platform: campaigns, participations, wallets and G-keys as the real one writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bson.objectid import ObjectId
from pymongo.database import Database

Document = dict[str, Any]
LOCKED_AT = datetime(2026, 1, 5, tzinfo=UTC)


class Platform:
    """Writes documents into a test database; every method answers the identity of what it wrote."""

    def __init__(self, database: Database[Document]) -> None:
        self.database = database

    def campaign(self, **fields: Any) -> Any:
        """An active cpm campaign of the reference case: rate 1650, budget 3300, so a target of 2000."""
        document = {
            "title": "Reference",
            "brandId": ObjectId(),
            "status": "active",
            "paymentType": "cpm",
            "paymentRate": 1650,
            "budget": 3300,
            "remainingBudget": fields.get("budget", 3300),
        } | fields
        return self.database["campaigns"].insert_one(_without_absent(document)).inserted_id

    def participation(self, campaign_id: Any, impressions: Any = 2000, **fields: Any) -> Any:
        """An active participation; its streamer has a wallet and a key locked by the campaign."""
        streamer_id = fields.pop("streamerId", None) or ObjectId()
        document = {
            "campaignId": campaign_id,
            "streamerId": streamer_id,
            "status": "active",
            "impressions": impressions,
            "clicks": 3,
            "estimatedEarnings": 12.5,
            "browserSourceToken": str(ObjectId()),
        } | fields
        participation_id = self.database["campaignparticipations"].insert_one(_without_absent(document)).inserted_id
        self.wallet(streamer_id)
        self.gkey(streamer_id, campaign_id)
        return participation_id

    def wallet(self, streamer_id: Any, **fields: Any) -> None:
        """A streamer's wallet in use, unless there is one; fields given replace what is there."""
        wallet = {
            "walletType": "streamer",
            "balance": 150.25,
            "reservedBalance": 0,
            "withdrawableBalance": 100.25,
            "heldBalance": 50.0,
            "totalEarnings": 900.5,
            "totalSpent": 0,
            "currency": "INR",
            "isActive": True,
        }
        update: Document = {"$setOnInsert": {key: wallet[key] for key in wallet.keys() - fields.keys()}}
        if fields:
            update["$set"] = fields
        self.database["wallets"].update_one({"userId": str(streamer_id)}, update, upsert=True)

    def gkey(self, streamer_id: Any, campaign_id: Any, **fields: Any) -> Any:
        """A category slot locked by the campaign."""
        document = {
            "userId": str(streamer_id),
            "category": "energy drinks",
            "status": "locked",
            "lockedWith": str(campaign_id),
            "lockedAt": LOCKED_AT,
            "usageCount": 4,
        } | fields
        return self.database["gkeys"].insert_one(_without_absent(document)).inserted_id

    def read(self, collection: str, document_id: Any) -> Document:
        """A document as it is now."""
        found = self.database[collection].find_one({"_id": document_id})
        assert found is not None
        return found

    def wallet_of(self, participation_id: Any) -> Document:
        """The wallet of a participation's streamer."""
        streamer_id = self.read("campaignparticipations", participation_id)["streamerId"]
        found = self.database["wallets"].find_one({"userId": str(streamer_id)})
        assert found is not None
        return found


class Absent:
    """The value of a field that the document is to lack; written the same in every process, as names of tests are."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


def _without_absent(document: Document) -> Document:
    return {key: value for key, value in document.items() if value is not ABSENT}
