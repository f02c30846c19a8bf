"""An effect that MongoDB refuses: named with MongoDB's own words, tried again slowly, and in nobody else's way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import MongoClient

from app.parts import Parts, parts_of
from jobs.check.options import CheckOptions
from reconciler.config import load
from reconciler.config.mapping import MappingSettings
from reconciler.devstack.mongod import MongodOptions
from reconciler.domain.effects import Effect, Obstacle
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.connection import Connection, connect
from reconciler.mongo.indexes import create_missing
from tests.support.platform import Platform
from tests.support.servers import ReplicaSet

Document = dict[str, Any]

EVERYTHING: Document = {"validator": {}}
DRY = CheckOptions(trigger="test", dry_run=True)


def validator(schema: Document) -> Document:
    return {"validator": {"$jsonSchema": schema}}


@pytest.fixture
def two(platform: Platform) -> Iterator[list[Any]]:
    """Two participations of two campaigns, both due; the first one's streamer, campaign and documents are marked."""
    campaigns = [platform.campaign(mark=1), platform.campaign()]
    yield [platform.participation(campaigns[0], 2000, mark=1), platform.participation(campaigns[1], 2000)]


def _streamer(platform: Platform, participation: Any) -> str:
    return str(platform.read("campaignparticipations", participation)["streamerId"])


def _refuse(platform: Platform, collection: str, schema: Document) -> None:
    if collection not in platform.database.list_collection_names():
        platform.database.create_collection(collection)
    platform.database.command("collMod", collection, **validator(schema))


def _validators(platform: Platform, marked: Any) -> dict[str, tuple[str, Document]]:
    """Effect → the collection, and a schema that only the first one's document breaks."""
    user = _streamer(platform, marked)
    others = {"not": {"enum": [user]}}
    is_marked = {"required": ["mark"]}
    told = {"properties": {"finalEarningsTransferred": {"not": {"enum": [True]}}}}
    return {
        "participation": ("campaignparticipations", {"not": {**is_marked, "required": ["mark", "finalEarnings"]}}),
        "wallet": ("wallets", {"anyOf": [{"properties": {"userId": others}}, {"not": {"required": ["ledger"]}}]}),
        "transaction": ("transactions", {"properties": {"userId": others}}),
        "gkeys": (
            "gkeys",
            {"anyOf": [{"properties": {"userId": others}}, {"properties": {"status": {"enum": ["locked"]}}}]},
        ),
        "receipt": ("campaignparticipations", {"anyOf": [{"not": is_marked}, told]}),
        "campaign": (
            "campaigns",
            {"anyOf": [{"not": is_marked}, {"properties": {"status": {"enum": ["active"]}}}]},
        ),
    }


@pytest.mark.parametrize("effect", ["participation", "wallet", "transaction", "gkeys", "receipt", "campaign"])
def test_a_validator_that_refuses_one_effect_blocks_that_payout_alone(
    parts: Parts, platform: Platform, two: list[Any], effect: str
) -> None:
    collection, schema = _validators(platform, two[0])[effect]
    _refuse(platform, collection, schema)

    result = parts.sweep.step("test")

    assert result.settled.paid == 2
    [blocked] = parts.outbox.blocked()
    assert blocked.task.participation_id.value == str(two[0])
    assert (blocked.blocked.effect, blocked.blocked.obstacle) == (Effect(effect), Obstacle.REFUSED)
    assert blocked.blocked.words == "Document failed validation (code 121)"
    assert parts.outbox.counts().pending == 0
    assert platform.read("campaignparticipations", two[1])["finalEarningsTransferred"] is True
    assert platform.wallet_of(two[1])["balance"] == 3450.25
    report, _ = parts.full_check.step(DRY)
    [found] = [one.found for one in report.sightings if one.found.kind.value == "effect_blocked"]
    assert (found.participation_id, found.reason) == (str(two[0]), "refused_by_mongodb")
    assert found.detail == f"{effect}: refused_by_mongodb, Document failed validation (code 121)"

    platform.database.command("collMod", collection, **EVERYTHING)
    parts.projector.project([blocked.task.sequence])

    assert (parts.outbox.counts().pending, parts.outbox.counts().blocked) == (0, 0)
    assert platform.wallet_of(two[0])["balance"] == 3450.25
    assert platform.read("campaignparticipations", two[0])["finalEarningsTransferred"] is True
    assert parts.full_check.step(DRY)[0].breaks_by_kind() == {}


def test_a_refused_participation_does_not_keep_its_streamer_from_being_credited(
    parts: Parts, platform: Platform, two: list[Any]
) -> None:
    _refuse(platform, "campaignparticipations", _validators(platform, two[0])["participation"][1])

    parts.sweep.step("test")

    assert platform.wallet_of(two[0])["balance"] == 3450.25
    assert "finalEarnings" not in platform.read("campaignparticipations", two[0])


def test_what_remembers_the_ledger_being_refused_is_said_of_everybody_and_stops_no_payment(
    parts: Parts, platform: Platform, two: list[Any]
) -> None:
    _refuse(platform, "reconciler_state", {"not": {"required": ["ledger_id"]}})

    result = parts.sweep.step("test")

    assert result.settled.paid == 2
    blocked = [one.blocked for one in parts.outbox.blocked()]
    assert [(one.effect, one.obstacle) for one in blocked] == [(Effect.LEDGER_STATE, Obstacle.REFUSED)] * 2
    assert all("Document failed validation" in one.words for one in blocked)
    assert platform.wallet_of(two[0])["balance"] == 150.25

    platform.database.command("collMod", "reconciler_state", **EVERYTHING)
    parts.projector.project([one.task.sequence for one in parts.outbox.blocked()])
    assert platform.wallet_of(two[0])["balance"] == 3450.25


def test_what_remembers_wallets_being_refused_leaves_them_as_they_are(
    parts: Parts, platform: Platform, two: list[Any]
) -> None:
    _refuse(platform, "reconciler_state", {"not": {"required": ["userId"]}})

    parts.sweep.step("test")

    assert {(one.blocked.effect, one.blocked.obstacle) for one in parts.outbox.blocked()} == {
        (Effect.WALLET, Obstacle.REFUSED)
    }
    assert platform.wallet_of(two[0])["balance"] == 150.25


def test_a_line_that_a_unique_index_refuses_is_named(parts: Parts, platform: Platform, two: list[Any]) -> None:
    platform.database["transactions"].create_index("description", unique=True)

    parts.sweep.step("test")

    [blocked] = parts.outbox.blocked()
    assert (blocked.blocked.effect, blocked.blocked.obstacle) == (Effect.TRANSACTION, Obstacle.REFUSED)
    assert blocked.blocked.words.startswith("E11000 duplicate key error")
    assert blocked.blocked.words.endswith("(code 11000)")


def test_words_are_bounded_and_hold_no_secret(parts: Parts, platform: Platform, two: list[Any]) -> None:
    long = "mongodb://app:geheim@host/" + "y" * 1000
    platform.database["transactions"].create_index("metadata.payoutKey")
    platform.database["transactions"].create_index("createdBy", unique=True, name="u" * 100)
    platform.database["transactions"].insert_one({"_id": long, "createdBy": "payout-reconciler"})

    parts.sweep.step("test")

    words = {one.blocked.words for one in parts.outbox.blocked()}
    assert words
    assert all(len(one) < 330 and "geheim" not in one for one in words)


COLLECTIONS = ("campaigns", "campaignparticipations", "wallets", "transactions", "gkeys", "reconciler_state")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("guarded"), MongodOptions(access_control=True)) as server:
        yield server


@pytest.mark.parametrize("collection", ["wallets", "transactions", "gkeys", "reconciler_state"])
def test_a_missing_right_to_one_collection_is_named_and_stops_no_payment(
    guarded: ReplicaSet, sqlite_url: str, collection: str
) -> None:
    """The platform's other collections may be written; this one may be read."""
    name = f"of_{collection}"
    with MongoClient[Document](guarded.uri) as owner:
        platform = Platform(owner[name])
        participation = platform.participation(platform.campaign(), 2000)
        writes = ["find", "insert", "update", "createIndex", "listIndexes"]
        rights = [
            {
                "resource": {"db": name, "collection": one},
                "actions": ["find", "listIndexes"] if one == collection else writes,
            }
            for one in COLLECTIONS
        ]
        owner.admin.command("createRole", f"pays_{name}", privileges=rights, roles=[])
        owner.admin.command("createUser", name, pwd="geheim", roles=[f"pays_{name}"])
        given = {"mongodb.uri": guarded.uri_as(name, "geheim"), "mongodb.database": name, "ledger.url": sqlite_url}
        with connected(guarded.uri, name) as connection:
            create_missing(connection, MappingSettings())
        with parts_of(load(None, {}, given)) as parts:
            upgrade(parts.engine)
            result = parts.sweep.step("test")

            assert result.settled.paid == 1
            [blocked] = parts.outbox.blocked()
            assert blocked.blocked.obstacle is Obstacle.REFUSED
            assert "not authorized" in blocked.blocked.words
            assert blocked.blocked.words.endswith("(code 13)")

            owner.admin.command({"grantRolesToUser": name, "roles": [{"role": "readWrite", "db": name}]})
            parts.projector.project([blocked.task.sequence])
            assert platform.read("campaignparticipations", participation)["finalEarningsTransferred"] is True


@contextmanager
def connected(uri: str, database: str) -> Iterator[Connection]:
    connection = connect(uri, database, wait_max_s=10)
    yield connection
    connection.close()
