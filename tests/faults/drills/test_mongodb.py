"""MongoDB's primary is frozen, steps down, is killed, or refuses an effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from reconciler.devstack.mongod import MongodOptions
from reconciler.devstack.process import wait_until
from tests.support.drills import FREEZE_S, Drill
from tests.support.servers import ReplicaSet


@pytest.fixture(scope="module")
def hurt_mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("hurt_mongodb"), MongodOptions(nodes=1)) as replica_set:
        yield replica_set


@pytest.fixture
def mongo_uri(hurt_mongodb: ReplicaSet) -> str:
    """The server that is hurt."""
    return hurt_mongodb.uri


@pytest.fixture
def mongo_database(mongo_uri: str) -> Iterator[Database[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        client.drop_database("drill")
        yield client["drill"]


def test_the_primary_is_frozen(drill: Drill, hurt_mongodb: ReplicaSet) -> None:
    """MongoDB's only node is frozen: its connections stay open, and nothing comes back."""
    drill.start()
    drill.pay_one()
    drill.begin_fault()
    participation_id = drill.due()
    hurt_mongodb.freeze(0)
    try:
        drill.last(FREEZE_S)
    finally:
        hurt_mongodb.thaw(0)
    drill.over()

    drill.paid_again(participation_id)
    drill.all_live()


def test_the_only_node_is_killed(drill: Drill, hurt_mongodb: ReplicaSet) -> None:
    """MongoDB's only node is killed, and started again."""
    drill.start()
    drill.pay_one()
    drill.begin_fault()
    hurt_mongodb.kill(0)
    drill.wait_until_said("outage")
    hurt_mongodb.restart(0)
    hurt_mongodb.wait_for_primary()
    drill.over()

    drill.paid_again(drill.due())
    drill.all_live()


def test_an_effect_is_refused(drill: Drill, mongo_database: Database[dict[str, Any]]) -> None:
    """A validator refuses the credit of one wallet, later it is taken away (seconds until credited)."""
    drill.start(RECONCILER__PROJECTION__BLOCKED_RETRY_S="2")
    drill.pay_one()
    drill.begin_fault()
    mongo_database.command("collMod", "wallets", validator={"ledger": {"$exists": False}}, validationLevel="strict")
    participation_id = drill.due()
    drill.wait_until_said("effect_blocked")
    assert wait_until(lambda: drill.ledger.is_paid(participation_id), timeout_s=60)
    drill.last(2.0)
    mongo_database.command("collMod", "wallets", validator={})
    drill.over()

    wallet = drill.platform.wallet_of(participation_id)["_id"]
    drill.comes_true(lambda: "ledger" in (mongo_database["wallets"].find_one({"_id": wallet}) or {}))
    drill.all_live()
