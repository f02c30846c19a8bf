"""Whether MongoDB still shows what it was told: every kind of hand edit is found, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from pymongo.database import Database

from reconciler.config.mapping import MappingSettings
from reconciler.domain.effects import ProjectionTask
from reconciler.domain.ids import statement_line_id
from reconciler.mongo.connection import Connection
from reconciler.mongo.projection import MongoProjection
from tests.support.platform import LOCKED_AT, Platform
from tests.support.projecting import PAID_AT, payout_task

Document = dict[str, Any]

EDITED, OTHER = 1, 2


@pytest.fixture
def projection(mongo_connection: Connection) -> MongoProjection:
    return MongoProjection(mongo_connection, MappingSettings(), default_currency="INR")


@pytest.fixture
def told(projection: MongoProjection, platform: Platform, mongo_database: Database[Document]) -> list[ProjectionTask]:
    """Two payouts of one campaign of which MongoDB was told everything, as the ledger then has them."""
    campaign_id = platform.campaign()
    tasks = [
        payout_task(mongo_database, platform.participation(campaign_id, 2000), sequence=sequence)
        for sequence in (EDITED, OTHER)
    ]
    result = projection.apply(tasks)
    assert sorted(result.done) == [EDITED, OTHER]
    return [replace(task, position=replace(task.position, acknowledged_version=1)) for task in tasks]


def _edit(database: Database[Document], task: ProjectionTask, collection: str, update: Document) -> None:
    queries: dict[str, Document] = {
        "campaignparticipations": {"_id": ObjectId(task.participation_id.value)},
        "wallets": {"userId": task.streamer_id},
        "gkeys": {"userId": task.streamer_id},
        "transactions": {"_id": ObjectId(statement_line_id(task.payout_key))},
    }
    assert database[collection].update_one(queries[collection], update).matched_count == 1


def test_what_nobody_touched_is_in_order(projection: MongoProjection, told: list[ProjectionTask]) -> None:
    assert projection.find_stale(told) == {}
    assert projection.find_stale([]) == {}


@pytest.mark.parametrize(
    ("collection", "update", "what"),
    [
        ("campaignparticipations", {"$set": {"status": "active"}}, "participation: status"),
        ("campaignparticipations", {"$unset": {"status": ""}}, "participation: status"),
        ("campaignparticipations", {"$set": {"completionReason": "manual"}}, "participation: completionReason"),
        (
            "campaignparticipations",
            {"$set": {"finalEarningsTransferred": False}},
            "participation: finalEarningsTransferred",
        ),
        (
            "campaignparticipations",
            {"$unset": {"finalEarningsTransferred": ""}},
            "participation: finalEarningsTransferred",
        ),
        ("campaignparticipations", {"$set": {"finalEarnings": 3299.99}}, "participation: finalEarnings"),
        ("campaignparticipations", {"$set": {"finalEarnings": float("nan")}}, "participation: finalEarnings"),
        ("campaignparticipations", {"$unset": {"finalEarnings": ""}}, "participation: finalEarnings"),
        ("transactions", {"$set": {"amount": 3299.99}}, "transaction: amount"),
        ("transactions", {"$unset": {"amount": ""}}, "transaction: amount"),
        ("gkeys", {"$set": {"status": "locked"}}, "gkey: still locked"),
        ("gkeys", {"$set": {"status": "locked", "lockedAt": PAID_AT + timedelta(minutes=5)}}, "gkey: still locked"),
        (
            "gkeys",
            {"$set": {"status": "locked", "lockedAt": PAID_AT + timedelta(hours=1)}},
            "gkey: locked after the payment",
        ),
    ],
    ids=repr,
)
def test_an_edit_by_hand_is_found(
    projection: MongoProjection,
    told: list[ProjectionTask],
    mongo_database: Database[Document],
    collection: str,
    update: Document,
    what: str,
) -> None:
    _edit(mongo_database, told[0], collection, update)

    assert projection.find_stale(told) == {EDITED: what}


@pytest.mark.parametrize(
    ("collection", "what"),
    [
        ("campaignparticipations", "participation: gone"),
        ("transactions", "transaction: missing"),
    ],
)
def test_a_document_that_is_gone_is_found(
    projection: MongoProjection,
    told: list[ProjectionTask],
    mongo_database: Database[Document],
    collection: str,
    what: str,
) -> None:
    _edit(mongo_database, told[0], collection, {"$set": {"mark": 1}})
    mongo_database[collection].delete_one({"mark": 1})

    assert projection.find_stale(told) == {EDITED: what}


def test_several_edits_of_one_payout_are_all_told(
    projection: MongoProjection, told: list[ProjectionTask], mongo_database: Database[Document]
) -> None:
    _edit(mongo_database, told[0], "campaignparticipations", {"$set": {"status": "paused", "finalEarnings": 1}})
    mongo_database["transactions"].delete_many({})

    assert projection.find_stale(told) == {
        EDITED: "participation: status, participation: finalEarnings, transaction: missing",
        OTHER: "transaction: missing",
    }


@pytest.mark.parametrize(
    ("collection", "update"),
    [
        ("campaignparticipations", {"$set": {"finalEarnings": Decimal128("3300.00")}}),
        ("campaignparticipations", {"$set": {"finalEarnings": 3299.9999999999995}}),
        ("campaignparticipations", {"$inc": {"impressions": 5, "clicks": 1}}),
        ("wallets", {"$inc": {"balance": -500.0, "withdrawableBalance": -500.0}}),
        ("wallets", {"$set": {"ledger.INR": {"version": 1.0, "availableMinor": 330_000.0, "heldMinor": 0.0}}}),
        ("wallets", {"$set": {"ledger.USD": {"version": "x"}}}),
        ("gkeys", {"$set": {"status": "available"}}),
        ("gkeys", {"$set": {"status": "locked", "lockedWith": "another"}}),
    ],
    ids=repr,
)
def test_what_others_may_do_is_no_edit(
    projection: MongoProjection,
    told: list[ProjectionTask],
    mongo_database: Database[Document],
    collection: str,
    update: Document,
) -> None:
    _edit(mongo_database, told[0], collection, update)

    assert projection.find_stale(told) == {}


def test_a_zero_payout_has_no_line_to_miss(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    task = payout_task(mongo_database, platform.participation(platform.campaign(), 2000), amount_minor=0)
    projection.apply([task])

    assert projection.find_stale([task]) == {}


def test_lists_where_texts_should_be_stop_nobody(
    projection: MongoProjection, told: list[ProjectionTask], mongo_database: Database[Document], platform: Platform
) -> None:
    task = told[0]
    listed = {"status": "locked", "lockedAt": LOCKED_AT}
    platform.gkey("x", "y", **listed | {"userId": [task.streamer_id], "lockedWith": task.campaign_id.value})
    platform.gkey("x", "y", **listed | {"userId": task.streamer_id, "lockedWith": [task.campaign_id.value]})
    mongo_database["wallets"].insert_one({"userId": [task.streamer_id], "walletType": "streamer"})

    assert projection.find_stale(told) == {}


def test_a_users_brand_wallet_is_not_taken_for_the_streamers(
    projection: MongoProjection, told: list[ProjectionTask], mongo_database: Database[Document]
) -> None:
    # MongoDB answers in the order of insertion: one brand's wallet before the streamer's, and one after it.
    wallets, user = mongo_database["wallets"], {"userId": told[0].streamer_id}
    streamers = wallets.find_one_and_delete(user)
    assert streamers is not None
    for wallet in (user | {"walletType": "brand"}, streamers, user | {"walletType": "brand"}):
        wallets.insert_one(wallet)

    assert projection.find_stale(told) == {}
