"""Credited once, by evidence in MongoDB: also where the ledger never heard of it and the wallet was saved anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from bson.objectid import ObjectId

from app.parts import Parts
from reconciler.config.mapping import MappingSettings
from reconciler.devstack.mongod import MongodOptions
from reconciler.domain.effects import Obstacle, WalletPosition
from reconciler.mongo.connection import Connection, connect
from reconciler.mongo.indexes import create_missing, wallets_advice
from reconciler.mongo.wallets import Credited, Wallets
from tests.support.platform import Platform
from tests.support.projecting import position
from tests.support.servers import ReplicaSet

Document = dict[str, Any]

USER = "64b000000000000000000001"
BEFORE = 150.25


@pytest.fixture
def wallets(mongo_connection: Connection) -> Wallets:
    return Wallets(mongo_connection, MappingSettings(), default_currency="INR")


class Killed(Exception):
    """The process ends here."""


def killing(monkeypatch: pytest.MonkeyPatch, parts: Parts, method: str, *, after: bool) -> Callable[[], None]:
    """Let the projection die before or after one of its writes; what is answered brings it back to life."""
    original = getattr(parts.projection, method)

    def dies(*given: Any) -> Any:
        if after:
            original(*given)
        raise Killed

    monkeypatch.setattr(parts.projection, method, dies)
    return monkeypatch.undo


def save_without_record(platform: Platform) -> None:
    """As a program does that saves whole documents, by a model that does not know the field."""
    for wallet in platform.database["wallets"].find():
        wallet.pop("ledger", None)
        platform.database["wallets"].replace_one({"_id": wallet["_id"]}, wallet)


def balance(platform: Platform, user_id: str = USER) -> float:
    [wallet] = platform.database["wallets"].find({"userId": user_id})
    return float(wallet["balance"])


@pytest.mark.parametrize("method", ["write_statement_lines", "give_receipts", "complete_campaigns"])
@pytest.mark.parametrize("keeps_lines", [True, False])
def test_a_credit_that_the_ledger_never_heard_of_is_not_repeated(
    parts: Parts, platform: Platform, monkeypatch: pytest.MonkeyPatch, method: str, keeps_lines: bool
) -> None:
    participation = platform.participation(platform.campaign(), 2000)
    streamer = str(platform.read("campaignparticipations", participation)["streamerId"])
    revive = killing(monkeypatch, parts, method, after=False)
    with pytest.raises(Killed):
        parts.sweep.step("test")
    revive()
    assert balance(platform, streamer) == BEFORE + 3300
    save_without_record(platform)
    if not keeps_lines:
        platform.database["transactions"].delete_many({})

    parts.sweep.step("test")

    assert balance(platform, streamer) == BEFORE + 3300
    [blocked] = parts.outbox.blocked()
    assert blocked.blocked.obstacle is Obstacle.BASELINE_LOST


@pytest.mark.parametrize(
    "given",
    [position(USER, 5000), position(USER, 0, held_minor=5000), position(USER, 0), position(USER, -5000, 7)],
    ids=["available", "held", "zero", "negative"],
)
def test_no_position_is_added_again_to_a_wallet_that_lost_its_record(
    wallets: Wallets, platform: Platform, given: WalletPosition
) -> None:
    """Positions that no statement line tells of, as after an adjustment, among them."""
    platform.wallet(USER)
    assert isinstance(wallets.project([given])[USER, "INR"], Credited)
    after = balance(platform)
    save_without_record(platform)

    assert wallets.project([given])[USER, "INR"] is Obstacle.BASELINE_LOST

    assert balance(platform) == after


def test_another_currency_begins_a_record_of_its_own(wallets: Wallets, platform: Platform) -> None:
    platform.wallet(USER)
    wallets.project([position(USER, 5000)])
    platform.wallet(USER, currency="USD")
    dollars = position(USER, 700, currency="USD")
    assert isinstance(wallets.project([dollars])[USER, "USD"], Credited)
    assert balance(platform) == BEFORE + 50 + 7
    save_without_record(platform)

    both = wallets.project([dollars, position(USER, 5000)])

    assert both == {(USER, "USD"): Obstacle.BASELINE_LOST, (USER, "INR"): Obstacle.WALLET_CURRENCY}
    assert balance(platform) == BEFORE + 50 + 7


@pytest.mark.parametrize("fields", [{"isActive": False}, {"walletType": "brand"}, {"balance": "150.25"}], ids=repr)
def test_a_wallet_that_could_not_take_a_record_is_credited_once_it_can(
    wallets: Wallets, platform: Platform, fields: Document
) -> None:
    """Nothing may be remembered of it: else it would count as lost, and a person would be asked for nothing."""
    platform.wallet(USER, **fields)
    given = position(USER, 5000)
    assert isinstance(wallets.project([given])[USER, "INR"], Obstacle)
    platform.wallet(USER, isActive=True, walletType="streamer", balance=BEFORE)

    assert isinstance(wallets.project([given])[USER, "INR"], Credited)
    assert balance(platform) == BEFORE + 50


def test_a_wallet_that_comes_later_is_credited(wallets: Wallets, platform: Platform) -> None:
    given = position(USER, 5000)
    assert wallets.project([given])[USER, "INR"] is Obstacle.WALLET_MISSING
    platform.wallet(USER)

    assert isinstance(wallets.project([given])[USER, "INR"], Credited)


def test_a_record_that_was_begun_and_not_remembered_is_remembered_before_anything_is_added(
    wallets: Wallets, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.wallet(USER)
    given = position(USER, 5000)
    records = vars(wallets)["_records"]

    def dies(_positions: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(records, "remember", dies)
        with pytest.raises(Killed):
            wallets.project([given])
    assert balance(platform) == BEFORE
    wallets.project([given])
    save_without_record(platform)

    assert wallets.project([given])[USER, "INR"] is Obstacle.BASELINE_LOST
    assert balance(platform) == BEFORE + 50


def test_two_wallets_of_one_user_are_both_left_alone(wallets: Wallets, platform: Platform) -> None:
    """Which of them a process that died had credited, nobody could tell."""
    platform.wallet(USER)
    second = platform.database["wallets"].find_one({"userId": USER}) or {}
    platform.database["wallets"].insert_one({**second, "_id": ObjectId()})
    other = position("64b000000000000000000002", 5000)
    platform.wallet(other.streamer_id)

    outcomes = wallets.project([position(USER, 5000), other])

    assert outcomes[USER, "INR"] is Obstacle.WALLET_AMBIGUOUS
    assert isinstance(outcomes[other.streamer_id, "INR"], Credited)
    assert [one["balance"] for one in platform.database["wallets"].find({"userId": USER})] == [BEFORE, BEFORE]


def test_a_unique_index_on_wallets_is_asked_for_and_duplicates_are_named(
    mongo_connection: Connection, platform: Platform
) -> None:
    mapping = MappingSettings()
    platform.wallet(USER)
    create_missing(mongo_connection, mapping)
    [asked] = wallets_advice(mongo_connection, mapping)
    assert 'createIndex({userId: 1}, {unique: true, partialFilterExpression: {walletType: "streamer"}})' in asked

    second = platform.database["wallets"].find_one({"userId": USER}) or {}
    platform.database["wallets"].insert_one({**second, "_id": ObjectId()})
    named, _ = wallets_advice(mongo_connection, mapping)
    assert USER in named

    platform.database["wallets"].delete_many({})
    only_streamers = {"walletType": "streamer"}
    platform.database["wallets"].create_index(
        "userId", name="theirs", unique=True, partialFilterExpression=only_streamers
    )
    assert wallets_advice(mongo_connection, mapping) == []


def test_a_wallet_of_another_type_beside_it_is_in_nobodys_way(wallets: Wallets, platform: Platform) -> None:
    platform.wallet(USER)
    second = platform.database["wallets"].find_one({"userId": USER}) or {}
    platform.database["wallets"].insert_one({**second, "_id": ObjectId(), "walletType": "brand"})

    assert isinstance(wallets.project([position(USER, 5000)])[USER, "INR"], Credited)


def test_a_later_position_is_added_to_the_record_and_not_to_nothing(wallets: Wallets, platform: Platform) -> None:
    platform.wallet(USER)
    first = position(USER, 5000)
    wallets.project([first])

    wallets.project([replace(first, available_minor=7000, version=2)])

    assert balance(platform) == BEFORE + 70


def test_a_standalone_server_keeps_the_same_promise(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ReplicaSet(tmp_path_factory.mktemp("alone"), MongodOptions(standalone=True)) as server:
        connection = connect(server.uri, "test", wait_max_s=10)
        platform = Platform(connection.database)
        platform.wallet(USER)
        alone = Wallets(connection, MappingSettings(), default_currency="INR")
        assert isinstance(alone.project([position(USER, 5000)])[USER, "INR"], Credited)
        save_without_record(platform)
        assert alone.project([position(USER, 5000)])[USER, "INR"] is Obstacle.BASELINE_LOST
        assert balance(platform) == BEFORE + 50
        connection.close()
