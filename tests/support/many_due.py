"""Many participations at once: what a platform looks like to a sweep that takes more than a moment."""

from __future__ import annotations

from typing import Any

from bson.objectid import ObjectId

from tests.support.platform import LOCKED_AT, Platform

PAID_MINOR = 330_000
"""What each is paid: 2,000 impressions at 1650 a thousand."""


def many_due(platform: Platform, count: int, impressions: int = 2000) -> dict[str, int]:
    """One campaign with room for all; answers participation → what it is due, or would be once past target."""
    campaign_id = platform.campaign(targetImpressions=2000, budget=3300 * count)
    streamers = [ObjectId() for _ in range(count)]
    participations: list[dict[str, Any]] = [
        {
            "_id": ObjectId(),
            "campaignId": campaign_id,
            "streamerId": streamer,
            "status": "active",
            "impressions": impressions,
            "clicks": 3,
            "estimatedEarnings": 12.5,
            "browserSourceToken": str(ObjectId()),
        }
        for streamer in streamers
    ]
    platform.database["campaignparticipations"].insert_many(participations)
    platform.database["wallets"].insert_many(
        {
            "userId": str(streamer),
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
        for streamer in streamers
    )
    platform.database["gkeys"].insert_many(
        {
            "userId": str(streamer),
            "category": category,
            "status": "locked",
            "lockedWith": str(campaign_id),
            "lockedAt": LOCKED_AT,
            "usageCount": 4,
        }
        for streamer in streamers
        for category in ("energy drinks", "chatting")
    )
    return {str(document["_id"]): PAID_MINOR for document in participations}
