"""G-keys: what a campaign locked rests after the payment, once, and nothing else does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.objectid import ObjectId
from pymongo.database import Database

from reconciler.config.mapping import GKeyFields
from reconciler.domain.effects import ProjectionTask
from reconciler.mongo.connection import Connection
from reconciler.mongo.gkeys import LOCK_TOLERANCE, GKeys
from tests.support.platform import ABSENT, LOCKED_AT, Platform
from tests.support.projecting import PAID_AT, all_documents, payout_task

Document = dict[str, Any]

BRAND = ObjectId("b" * 24)
MS = timedelta(milliseconds=1)


@pytest.fixture
def gkeys(mongo_connection: Connection) -> GKeys:
    return GKeys(mongo_connection.database["gkeys"], GKeyFields())


@pytest.fixture
def streamer() -> ObjectId:
    return ObjectId()


@pytest.fixture
def campaign(platform: Platform) -> Any:
    return platform.campaign(brandId=BRAND)


@pytest.fixture
def task(platform: Platform, campaign: Any, streamer: ObjectId) -> ProjectionTask:
    """A payout whose streamer has no key yet."""
    participation_id = platform.participation(campaign, 2000, streamerId=streamer)
    platform.database["gkeys"].delete_many({})
    return payout_task(platform.database, participation_id, cooloff_hours=100)


def test_every_key_that_the_campaign_locked_rests(
    gkeys: GKeys, platform: Platform, task: ProjectionTask, campaign: Any, streamer: ObjectId
) -> None:
    keys = [platform.gkey(streamer, campaign, category=category) for category in ("drinks", "shoes", "cars")]

    assert gkeys.rest([task]) == set()

    for key in keys:
        rested = platform.read("gkeys", key)
        del rested["_id"], rested["category"]
        assert rested == {
            "userId": str(streamer),
            "status": "cooloff",
            "lockedWith": str(campaign),
            "lockedAt": LOCKED_AT,
            "cooloffEndsAt": PAID_AT + timedelta(hours=100),
            "usageCount": 5,
            "lastUsed": PAID_AT,
            "lastBrandId": BRAND,
            "lastBrandCooloffHours": 100,
        }


@pytest.mark.parametrize(
    "fields",
    [
        {"lockedAt": PAID_AT + LOCK_TOLERANCE + MS},
        {"lockedWith": "d" * 24},
        {"userId": "d" * 24},
        {"status": "available"},
        {"status": "cooloff", "cooloffEndsAt": PAID_AT + timedelta(hours=1)},
    ],
    ids=repr,
)
def test_other_keys_stay_as_they_are(
    gkeys: GKeys, platform: Platform, task: ProjectionTask, campaign: Any, streamer: ObjectId, fields: Document
) -> None:
    platform.gkey(streamer, campaign, **fields)
    before = all_documents(platform.database)

    assert gkeys.rest([task]) == set()

    assert all_documents(platform.database) == before


def test_a_key_that_a_clock_ahead_of_ours_locked_rests(
    gkeys: GKeys, platform: Platform, task: ProjectionTask, campaign: Any, streamer: ObjectId
) -> None:
    """It was locked before the payment, whatever the platform's clock said; nothing else would ever release it."""
    key = platform.gkey(streamer, campaign, lockedAt=PAID_AT + LOCK_TOLERANCE)

    assert gkeys.rest([task]) == set()

    shown = platform.read("gkeys", key)
    assert (shown["status"], shown["cooloffEndsAt"]) == ("cooloff", PAID_AT + timedelta(hours=task.cooloff_hours))


def test_a_key_locked_at_the_very_time_of_the_payment_rests(
    gkeys: GKeys, platform: Platform, task: ProjectionTask, campaign: Any, streamer: ObjectId
) -> None:
    key = platform.gkey(streamer, campaign, lockedAt=PAID_AT)

    gkeys.rest([task])

    assert platform.read("gkeys", key)["status"] == "cooloff"


@pytest.mark.parametrize(
    ("last_brand", "last_hours", "expected"),
    [
        (BRAND, 300, 300),
        (BRAND, 99, 100),
        (BRAND, 100, 100),
        (str(BRAND), 300, 300),
        (ObjectId("c" * 24), 300, 100),
        (None, 300, 100),
        (ABSENT, 300, 100),
        (["a"], 300, 100),
        ({"a": 1}, 300, 100),
        (BRAND, ABSENT, 100),
        (BRAND, None, 100),
        (BRAND, "300", 100),
        (BRAND, [300], 100),
        (BRAND, float("nan"), 100),
        (BRAND, float("inf"), 100),
        (BRAND, 8760, 8760),
        (BRAND, 8761, 100),
        (BRAND, -5, 100),
    ],
    ids=repr,
)
def test_the_same_brand_cannot_shorten_its_rest(
    gkeys: GKeys,
    platform: Platform,
    task: ProjectionTask,
    campaign: Any,
    streamer: ObjectId,
    last_brand: Any,
    last_hours: Any,
    expected: int,
) -> None:
    key = platform.gkey(streamer, campaign, lastBrandId=last_brand, lastBrandCooloffHours=last_hours)

    assert gkeys.rest([task]) == set()

    rested = platform.read("gkeys", key)
    assert rested["lastBrandCooloffHours"] == expected
    assert rested["cooloffEndsAt"] == PAID_AT + timedelta(hours=expected)


def test_a_brand_named_like_a_field_is_taken_literally(
    gkeys: GKeys, platform: Platform, streamer: ObjectId, mongo_database: Database[Document]
) -> None:
    campaign = platform.campaign(brandId="$status")
    participation_id = platform.participation(campaign, 2000, streamerId=streamer)

    gkeys.rest([payout_task(mongo_database, participation_id)])

    [key] = mongo_database["gkeys"].find()
    assert (key["status"], key["lastBrandId"]) == ("cooloff", "$status")


@pytest.mark.parametrize("locked_at", [ABSENT, None, "2026-01-05", 1_767_571_200_000, {}, []], ids=repr)
def test_a_key_locked_at_no_readable_time_is_named_and_stays_locked(
    gkeys: GKeys, platform: Platform, task: ProjectionTask, campaign: Any, streamer: ObjectId, locked_at: Any
) -> None:
    odd = platform.gkey(streamer, campaign, lockedAt=locked_at)
    good = platform.gkey(streamer, campaign)
    before = platform.read("gkeys", odd)

    assert gkeys.rest([task]) == {task.sequence}

    assert platform.read("gkeys", odd) == before
    assert platform.read("gkeys", good)["status"] == "cooloff"


def test_only_the_payout_whose_key_is_unreadable_is_named(
    gkeys: GKeys, platform: Platform, campaign: Any, mongo_database: Database[Document]
) -> None:
    ids = [platform.participation(campaign, 2000) for _ in range(3)]
    tasks = [payout_task(mongo_database, one, sequence=number) for number, one in enumerate(ids)]
    mongo_database["gkeys"].update_one({"userId": tasks[1].streamer_id}, {"$unset": {"lockedAt": ""}})

    assert gkeys.rest(tasks) == {1}

    assert mongo_database["gkeys"].count_documents({"status": "cooloff"}) == 2


def test_a_key_locked_in_the_far_future_is_neither_ours_nor_an_error(
    gkeys: GKeys, platform: Platform, task: ProjectionTask, campaign: Any, streamer: ObjectId
) -> None:
    platform.gkey(streamer, campaign, lockedAt=DatetimeMS(2**60))

    assert gkeys.rest([task]) == set()

    assert platform.database["gkeys"].count_documents({"status": "locked"}) == 1


@pytest.mark.parametrize("field", ["userId", "lockedWith"])
def test_a_key_of_a_list_of_owners_stops_nobody(
    gkeys: GKeys, platform: Platform, task: ProjectionTask, campaign: Any, streamer: ObjectId, field: str
) -> None:
    odd = platform.gkey(streamer, campaign, lockedAt=None)
    whole = platform.read("gkeys", odd)[field]
    platform.database["gkeys"].update_one({"_id": odd}, {"$set": {field: [whole, "another"]}})
    good = platform.gkey(streamer, campaign)

    gkeys.rest([task])

    assert platform.read("gkeys", good)["status"] == "cooloff"


@pytest.mark.parametrize(
    ("before", "after"), [(ABSENT, 1), (None, 1), ("4", 1), ([4], 1), (0, 1), (4.0, 5), (Int64(4), 5)], ids=repr
)
def test_uses_are_counted_from_whatever_is_there(
    gkeys: GKeys,
    platform: Platform,
    task: ProjectionTask,
    campaign: Any,
    streamer: ObjectId,
    before: Any,
    after: int,
) -> None:
    key = platform.gkey(streamer, campaign, usageCount=before)

    gkeys.rest([task])

    assert platform.read("gkeys", key)["usageCount"] == after


def test_a_count_at_the_end_of_its_type_is_no_error(
    gkeys: GKeys, platform: Platform, task: ProjectionTask, campaign: Any, streamer: ObjectId
) -> None:
    key = platform.gkey(streamer, campaign, usageCount=Int64(2**63 - 1))

    gkeys.rest([task])

    assert platform.read("gkeys", key)["status"] == "cooloff"


def test_a_second_time_changes_nothing(
    gkeys: GKeys, platform: Platform, task: ProjectionTask, campaign: Any, streamer: ObjectId
) -> None:
    platform.gkey(streamer, campaign, lastBrandId=BRAND, lastBrandCooloffHours=10)
    gkeys.rest([task])
    before = all_documents(platform.database)

    assert gkeys.rest([task]) == set()

    assert all_documents(platform.database) == before


def test_rested_keys_become_available_and_only_those(gkeys: GKeys, platform: Platform, streamer: ObjectId) -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    rested = [platform.gkey(streamer, "c", status="cooloff", cooloffEndsAt=now - ago) for ago in (0 * MS, MS)]
    others = [
        platform.gkey(streamer, "c", status="cooloff", cooloffEndsAt=now + MS),
        platform.gkey(streamer, "c", status="cooloff", cooloffEndsAt="2026-01-01"),
        platform.gkey(streamer, "c", status="cooloff", cooloffEndsAt=None),
        platform.gkey(streamer, "c", status="locked", cooloffEndsAt=now - MS),
        platform.gkey(streamer, "c", status="cooloff"),
    ]
    before = [platform.read("gkeys", one) for one in others]

    assert gkeys.release_rested(now) == 2
    assert gkeys.release_rested(now) == 0

    for key in rested:
        assert platform.read("gkeys", key)["status"] == "available"
        assert "cooloffEndsAt" not in platform.read("gkeys", key)
        assert platform.read("gkeys", key)["usageCount"] == 4
    assert [platform.read("gkeys", one) for one in others] == before


def test_no_payouts_are_no_work(gkeys: GKeys) -> None:
    assert gkeys.rest([]) == set()
