"""The sample's documents, field by field, as the platform writes them.

A `Forge` makes documents that are in order; what is wrong on purpose is said by the caller in so many words, as a
field given to it. Ids and tokens come from the seed and a running number alone, so any document can be made again
without the ones before it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

Document = dict[str, Any]

NUMBER_MAX = 0xFFFFFF  # the counter of an ObjectId has three bytes
PLATFORM_AGE = timedelta(days=90)
CATEGORIES = (
    "action", "adventure", "battle-royale", "board", "cards", "chatting", "cooking", "cricket", "driving", "fighting",
    "fitness", "football", "horror", "moba", "music", "party", "platformer", "puzzle", "racing", "retro", "shooter",
    "simulation", "strategy", "travel",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Forge:
    """`now` is the platform's present: aware UTC; what happened before lies before it."""

    seed: int
    now: datetime

    def __post_init__(self) -> None:
        if self.now.utcoffset() != timedelta(0):
            raise ValueError("now must be an aware datetime in UTC")
        if self.now.microsecond % 1000:
            raise ValueError("now must be in whole milliseconds: BSON dates have no more, and would not compare equal")

    def object_id(self, kind: str, number: int) -> ObjectId:
        """The id of the number-th document of a kind: a time, five bytes of seed and kind, the number.

        As drivers do
        """
        if not 0 <= number <= NUMBER_MAX:
            raise ValueError(f"number must lie between 0 and {NUMBER_MAX}, not {number}")
        made_at_s = int((self.now - PLATFORM_AGE).timestamp())
        return ObjectId(made_at_s.to_bytes(4, "big") + self._digest(kind, 5) + number.to_bytes(3, "big"))

    def token(self, kind: str, number: int) -> str:
        """The secret of an overlay's URL."""
        return self._digest(f"{kind}:{number}", 16).hex()

    def campaign(self, campaign_id: ObjectId, **fields: Any) -> Document:
        """An active cpm campaign; give at least `title, brandId, paymentRate, budget`."""
        return {
            "_id": campaign_id,
            "status": "active",
            "paymentType": "cpm",
            "targetImpressions": None,
            "currency": "INR",
            "startDate": self.now - timedelta(days=30),
            "endDate": self.now + timedelta(days=30),
            "gKeyCooloffHours": 720,
            "createdAt": self.now - timedelta(days=35),
            "remainingBudget": fields.get("budget"),
        } | fields

    def participation(self, participation_id: ObjectId, **fields: Any) -> Document:
        """An active participation; give at least `campaignId, streamerId, impressions, browserSourceToken`."""
        return {
            "_id": participation_id,
            "status": "active",
            "clicks": 0,
            "estimatedEarnings": 0.0,
            "uniqueViewers": 0,
            "chatClicks": 0,
            "qrScans": 0,
            "linkClicks": 0,
            "lastStreamDate": self.now - timedelta(hours=5),
            "earningsForfeited": False,
            "joinedAt": self.now - timedelta(days=28),
        } | fields

    def wallet(self, wallet_id: ObjectId, user_id: ObjectId, **fields: Any) -> Document:
        """A streamer's wallet with nothing in it."""
        return {
            "_id": wallet_id,
            "userId": str(user_id),
            "walletType": "streamer",
            "balance": 0.0,
            "reservedBalance": 0.0,
            "withdrawableBalance": 0.0,
            "heldBalance": 0.0,
            "totalEarnings": 0.0,
            "totalSpent": 0.0,
            "currency": "INR",
            "isActive": True,
            "createdAt": self.now - PLATFORM_AGE,
        } | fields

    def transaction(self, transaction_id: ObjectId, wallet_id: ObjectId, user_id: ObjectId, **fields: Any) -> Document:
        """A statement line the platform wrote, not we; give at least `transactionType, amount`."""
        return {
            "_id": transaction_id,
            "walletId": wallet_id,
            "userId": str(user_id),
            "currency": "INR",
            "status": "completed",
            "campaignId": None,
            "metadata": {},
            "processedAt": self.now - timedelta(days=10),
            "createdBy": "platform",
        } | fields

    def gkey(self, gkey_id: ObjectId, user_id: ObjectId, **fields: Any) -> Document:
        """A streamer's category slot that is free; give at least `category`."""
        return {
            "_id": gkey_id,
            "userId": str(user_id),
            "status": "available",
            "lockedWith": None,
            "lockedAt": None,
            "cooloffEndsAt": None,
            "usageCount": 0,
            "lastUsed": None,
            "lastBrandId": None,
            "lastBrandCooloffHours": None,
        } | fields

    def locked_by(self, campaign_id: ObjectId) -> Document:
        """The fields of a G-key that this campaign locked ten days ago."""
        locked_at = self.now - timedelta(days=10)
        return {"status": "locked", "lockedWith": str(campaign_id), "lockedAt": locked_at, "lastUsed": locked_at}

    def _digest(self, text: str, size: int) -> bytes:
        return hashlib.blake2b(f"{self.seed}:{text}".encode(), digest_size=size).digest()
