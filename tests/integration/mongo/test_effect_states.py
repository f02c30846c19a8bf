"""What many payouts show at once: every hand edit makes a row remarkable, and nothing in order does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from pymongo.database import Database

from reconciler.config.mapping import MappingSettings
from reconciler.domain.effects import ProjectionTask, WalletPosition
from reconciler.domain.ids import statement_line_id
from reconciler.mongo.connection import Connection
from reconciler.mongo.effect_states import MongoEffectStates
from reconciler.mongo.projection import MongoProjection
from tests.support.platform import Platform
from tests.support.projecting import PAID_AT, payout_task

Document = dict[str, Any]


@pytest.fixture
def states(mongo_connection: Connection) -> MongoEffectStates:
    return MongoEffectStates(mongo_connection, MappingSettings(), default_currency="INR")


@pytest.fixture
def told(mongo_connection: Connection, platform: Platform, mongo_database: Database[Document]) -> list[ProjectionTask]:
    """Two payouts of one campaign of which MongoDB was told everything."""
    campaign_id = platform.campaign()
    tasks = [
        payout_task(mongo_database, platform.participation(campaign_id, 2000), sequence=sequence) for sequence in (1, 2)
    ]
    MongoProjection(mongo_connection, MappingSettings(), default_currency="INR").apply(tasks)
    return tasks


def account(task: ProjectionTask, **changes: Any) -> WalletPosition:
    fields: dict[str, Any] = {
        "streamer_id": task.streamer_id,
        "currency": "INR",
        "version": 1,
        "available_minor": 330_000,
        "held_minor": 0,
        "acknowledged_version": 1,
    }
    return WalletPosition(**fields | changes)


def lines(told: list[ProjectionTask]) -> list[tuple[str, int, str]]:
    return [(task.key, task.amount_minor, task.currency) for task in told]


def locks(told: list[ProjectionTask]) -> list[tuple[str, str]]:
    return [(task.streamer_id, task.campaign_id.value) for task in told]


def test_what_nobody_touched_is_in_order(states: MongoEffectStates, told: list[ProjectionTask]) -> None:
    assert states.odd_lines(lines(told)) == set()
    assert states.locked(locks(told)) == set()
    assert states.wallet_faults([account(task) for task in told]) == []


@pytest.mark.parametrize(
    "update", [{"$set": {"amount": 3299.99}}, {"$unset": {"amount": ""}}, {"$set": {"amount": "3300.00"}}], ids=repr
)
def test_a_line_that_says_anything_else_is_odd(
    states: MongoEffectStates, told: list[ProjectionTask], mongo_database: Database[Document], update: Document
) -> None:
    line_id = ObjectId(statement_line_id(told[0].key))
    mongo_database["transactions"].update_one({"_id": line_id}, update)
    assert states.odd_lines(lines(told)) == {told[0].key}
    mongo_database["transactions"].delete_one({"_id": line_id})
    assert states.odd_lines(lines(told)) == {told[0].key}


def test_a_key_that_the_campaign_still_locks_is_remarkable_whenever_it_was_locked(
    states: MongoEffectStates, told: list[ProjectionTask], mongo_database: Database[Document]
) -> None:
    of_first = {"userId": told[0].streamer_id}
    later = {"status": "locked", "lockedAt": PAID_AT + timedelta(hours=1)}
    mongo_database["gkeys"].update_one(of_first, {"$set": later})
    assert states.locked(locks(told)) == {locks(told)[0]}
    mongo_database["gkeys"].update_one(of_first, {"$set": {"lockedWith": "another"}})
    assert states.locked(locks(told)) == set()


@pytest.mark.parametrize(
    "update",
    [
        {"$unset": {"ledger": ""}},
        {"$set": {"ledger": []}},
        {"$set": {"ledger.INR": 5}},
        {"$set": {"ledger.INR.version": 0}},
        {"$set": {"ledger.INR.availableMinor": 5}},
        {"$set": {"ledger.INR.heldMinor": 5}},
        {"$unset": {"ledger.INR.heldMinor": ""}},
    ],
    ids=repr,
)
def test_a_wallet_edited_by_hand_is_a_fault(
    states: MongoEffectStates, told: list[ProjectionTask], mongo_database: Database[Document], update: Document
) -> None:
    mongo_database["wallets"].update_one({"userId": told[0].streamer_id}, update)

    [fault] = states.wallet_faults([account(task) for task in told])

    assert (fault.streamer_id, fault.currency, fault.expected_minor) == (told[0].streamer_id, "INR", 330_000)


def test_a_wallet_that_is_gone_is_a_fault(
    states: MongoEffectStates, told: list[ProjectionTask], mongo_database: Database[Document]
) -> None:
    mongo_database["wallets"].delete_one({"userId": told[0].streamer_id})
    [fault] = states.wallet_faults([account(task) for task in told])
    assert fault.detail.startswith("the wallet is gone")


@pytest.mark.parametrize(
    "update",
    [
        {"$inc": {"balance": -500.0, "withdrawableBalance": -500.0}},
        {"$set": {"ledger.INR": {"version": 1.0, "availableMinor": Decimal128("330000"), "heldMinor": 0.0}}},
        {"$set": {"ledger.USD": {"version": "x"}}},
    ],
    ids=repr,
)
def test_what_others_may_do_is_no_fault(
    states: MongoEffectStates, told: list[ProjectionTask], mongo_database: Database[Document], update: Document
) -> None:
    mongo_database["wallets"].update_one({"userId": told[0].streamer_id}, update)
    assert states.wallet_faults([account(task) for task in told]) == []


def test_what_is_on_its_way_is_no_fault_and_what_was_lost_on_the_way_is(
    states: MongoEffectStates, told: list[ProjectionTask], mongo_database: Database[Document]
) -> None:
    on_its_way = account(told[0], version=2, available_minor=660_000)
    assert states.wallet_faults([on_its_way]) == []
    mongo_database["wallets"].update_one({"userId": told[0].streamer_id}, {"$unset": {"ledger": ""}})
    assert len(states.wallet_faults([on_its_way])) == 1
    assert states.wallet_faults([account(told[0], version=0, acknowledged_version=0, available_minor=0)]) == []


def test_a_wallet_that_moved_on_since_is_left_alone(states: MongoEffectStates, told: list[ProjectionTask]) -> None:
    assert states.wallet_faults([account(told[0], version=0, acknowledged_version=0, available_minor=0)]) == []


def test_a_users_brand_wallet_is_not_taken_for_the_streamers(
    states: MongoEffectStates, told: list[ProjectionTask], mongo_database: Database[Document]
) -> None:
    # MongoDB answers in the order of insertion: one brand's wallet before the streamer's, and one after it.
    wallets, user = mongo_database["wallets"], {"userId": told[0].streamer_id}
    streamers = wallets.find_one_and_delete(user)
    assert streamers is not None
    for wallet in (user | {"walletType": "brand"}, streamers, user | {"walletType": "brand"}):
        wallets.insert_one(wallet)
    assert states.wallet_faults([account(told[0])]) == []
