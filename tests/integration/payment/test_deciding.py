"""One participation, one answer: the sweep, the check, explain and the API say the same of everybody."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from bson.objectid import ObjectId

from app.queries import campaigns_of, explainer_of
from tests.support.platform import Platform
from tests.support.product import Product


@pytest.fixture
def campaign(platform: Platform) -> Any:
    """One of which each participation stands elsewhere; the last was credited by the platform itself."""
    campaign = platform.campaign(budget=33_000, targetImpressions=2_000)
    platform.participation(campaign, 10)
    platform.participation(campaign, "many")
    platform.participation(campaign, 2_000, status="paused")
    platform.participation(campaign, 2_000, finalEarningsTransferred=True)
    credited = platform.participation(campaign, 2_500)
    platform.database["transactions"].insert_one(
        {
            "userId": str(platform.read("campaignparticipations", credited)["streamerId"]),
            "campaignId": campaign,
            "transactionType": "earnings_credit",
            "amount": 3300.0,
            "createdBy": "support",
        }
    )
    return campaign


EXPECTED = {"below_target": 1, "malformed": 1, "participation_not_active": 1, "marked_paid_elsewhere": 2}


def test_the_api_the_sweep_and_explain_tell_the_same(product: Product, platform: Platform, campaign: ObjectId) -> None:
    with product.open() as parts:
        shown = campaigns_of(parts).completion(str(campaign))
        explained = Counter(
            explainer_of(parts).explain(str(one["_id"])).explanation.reason
            for one in platform.database["campaignparticipations"].find({"campaignId": campaign})
        )
        swept = parts.sweep.step("test").settled

    assert shown is not None
    assert (shown["due"], shown["notDue"]) == (0, EXPECTED)
    assert explained == EXPECTED
    assert swept.due == 0
    assert swept.skipped["marked_paid_elsewhere"] == 1
