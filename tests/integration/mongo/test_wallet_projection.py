"""The wallet: shared with the rest of the platform, so only ever added to, once a version, and never on a guess."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from pymongo.database import Database

from reconciler.config.mapping import MappingSettings
from reconciler.domain.effects import Obstacle, WalletPosition
from reconciler.mongo.connection import Connection
from reconciler.mongo.indexes import create_missing
from reconciler.mongo.wallets import Credited, Outcome, Wallets
from tests.support.platform import ABSENT, Platform
from tests.support.projecting import position

Document = dict[str, Any]

SHARED = ("balance", "withdrawableBalance", "heldBalance", "totalEarnings")
USER = "64b000000000000000000001"


@pytest.fixture
def wallets(mongo_connection: Connection) -> Wallets:
    return Wallets(mongo_connection, MappingSettings(), default_currency="INR")


def _wallet(database: Database[Document], user_id: Any = USER) -> Document:
    found = database["wallets"].find_one({"userId": user_id})
    assert found is not None
    return found


def _plant(platform: Platform, **fields: Any) -> Document:
    """A wallet with these fields; ABSENT ones are lacking."""
    platform.wallet(USER, **{key: value for key, value in fields.items() if value is not ABSENT})
    lacking = {key: "" for key, value in fields.items() if value is ABSENT}
    if lacking:
        platform.database["wallets"].update_one({"userId": USER}, {"$unset": lacking})
    return _wallet(platform.database)


def _only(wallets: Wallets, one: WalletPosition) -> Outcome:
    outcomes = wallets.project([one])
    assert list(outcomes) == [(one.streamer_id, one.currency)]
    return outcomes[one.streamer_id, one.currency]


def test_each_version_arrives_once_in_whatever_order(wallets: Wallets, platform: Platform) -> None:
    before = _plant(platform)
    first = position(USER, 1_000_00)
    second = position(USER, 1_500_00, 2, acknowledged_version=1)
    third = position(USER, 2_000_00, 3, held_minor=250_50, acknowledged_version=1)

    steps = [
        (first, 1, 1000, 0),
        (first, 1, 1000, 0),
        (third, 3, 2000, 250.5),
        (second, 3, 2000, 250.5),
        (first, 3, 2000, 250.5),
    ]
    for given, version, available, held in steps:
        assert _only(wallets, given) == Credited(wallet_id=before["_id"], version=version)
        wallet = _wallet(platform.database)
        assert wallet["withdrawableBalance"] == 100.25 + available
        assert wallet["heldBalance"] == 50 + held
        assert wallet["balance"] == 150.25 + available + held
        assert wallet["totalEarnings"] == 900.5 + available + held
    assert _wallet(platform.database)["ledger"] == {
        "INR": {"availableMinor": 200_000, "heldMinor": 25_050, "version": 3, "totalEarnings": 900.5 + 2250.5}
    }
    untouched = before.keys() - {*SHARED, "ledger"}
    assert {key: _wallet(platform.database)[key] for key in untouched} == {key: before[key] for key in untouched}


def test_a_version_is_taken_once_whatever_it_is_said_to_hold(wallets: Wallets, platform: Platform) -> None:
    _plant(platform)
    _only(wallets, position(USER, 1_000_00))
    before = _wallet(platform.database)

    assert isinstance(_only(wallets, position(USER, 2_000_00)), Credited)

    assert _wallet(platform.database) == before


def test_a_release_moves_from_held_to_available_and_earns_nothing(wallets: Wallets, platform: Platform) -> None:
    _plant(platform)
    _only(wallets, position(USER, 0, 1, held_minor=5000))

    _only(wallets, position(USER, 5000, 2, acknowledged_version=1))

    wallet = _wallet(platform.database)
    assert [wallet[field] for field in SHARED] == [200.25, 150.25, 50.0, 950.5]


def test_a_reversal_takes_away(wallets: Wallets, platform: Platform) -> None:
    before = _plant(platform)
    _only(wallets, position(USER, 5000))

    _only(wallets, position(USER, 0, 2, acknowledged_version=1))

    wallet = _wallet(platform.database)
    assert [wallet[field] for field in SHARED] == [before[field] for field in SHARED]


def test_what_others_took_meanwhile_stays_taken(wallets: Wallets, platform: Platform) -> None:
    _plant(platform)
    _only(wallets, position(USER, 1_000_00))
    withdrawn = {"$set": {"withdrawableBalance": 0, "balance": 50.0}}
    platform.database["wallets"].update_one({"userId": USER}, withdrawn)

    _only(wallets, position(USER, 1_500_00, 2, acknowledged_version=1))

    wallet = _wallet(platform.database)
    assert (wallet["withdrawableBalance"], wallet["balance"]) == (500, 550)


@pytest.mark.parametrize("field", SHARED)
@pytest.mark.parametrize(
    "value",
    [
        None,
        ABSENT,
        float("nan"),
        float("inf"),
        float("-inf"),
        Decimal128("NaN"),
        Decimal128("Infinity"),
        "150.25",
        "",
        True,
        {},
        [],
        [150.25],
        datetime(2026, 1, 1, tzinfo=UTC),
        1e40,
        Decimal128("1E+6000"),
        -1e40,
    ],
    ids=repr,
)
def test_a_field_that_is_no_number_blocks_and_nothing_changes(
    wallets: Wallets, platform: Platform, field: str, value: Any
) -> None:
    before = _plant(platform, **{field: value})

    assert _only(wallets, position(USER, 1000)) is Obstacle.WALLET_MALFORMED

    assert repr(_wallet(platform.database)) == repr(before)


@pytest.mark.parametrize(
    ("value", "expected", "of_type"),
    [
        (100, 133.33, float),
        (Int64(100), 133.33, float),
        (100.0, 133.33, float),
        (100.5, 133.83, float),
        (Decimal128("100.10"), Decimal("133.43"), Decimal128),
        (-5, 28.33, float),
        (0, 33.33, float),
        (0.1 + 0.2, 33.63, float),
        (3299.9999999999995, 3333.33, float),
    ],
    ids=repr,
)
def test_sums_are_exact_and_keep_a_sensible_type(
    wallets: Wallets, platform: Platform, value: Any, expected: Any, of_type: type
) -> None:
    _plant(platform, balance=value)

    _only(wallets, position(USER, 3333))

    balance = _wallet(platform.database)["balance"]
    assert type(balance) is of_type
    assert (balance.to_decimal() if isinstance(balance, Decimal128) else balance) == expected


def test_a_thousand_small_credits_leave_no_dust(wallets: Wallets, platform: Platform) -> None:
    _plant(platform, balance=0.1)
    for version in range(1, 1001):
        _only(wallets, position(USER, 10 * version, version, acknowledged_version=version - 1))

    assert _wallet(platform.database)["balance"] == 100.1


@pytest.mark.parametrize(
    ("currency", "amount_minor", "expected"),
    [("JPY", 12_345, 12_495.0), ("KWD", 12_345, 162.345), ("USD", 12_345, 273.45)],
)
def test_amounts_are_in_the_minor_units_of_the_currency(
    wallets: Wallets, platform: Platform, currency: str, amount_minor: int, expected: float
) -> None:
    _plant(platform, currency=currency, balance=150.0)

    outcome = _only(wallets, position(USER, amount_minor, currency=currency))

    assert isinstance(outcome, Credited)
    assert _wallet(platform.database)["balance"] == expected


@pytest.mark.parametrize(
    "balance", [1e13 - 0.01, 9_007_199_254_740.93, Decimal128("9007199254740993.21"), Int64(2**43)], ids=repr
)
def test_a_wallet_of_trillions_gains_to_the_paisa_or_is_named(
    wallets: Wallets, platform: Platform, balance: Any
) -> None:
    before = _plant(platform, balance=balance)
    exact = balance.to_decimal() if isinstance(balance, Decimal128) else Decimal(repr(balance))

    outcome = _only(wallets, position(USER, 1))

    after = _wallet(platform.database)["balance"]
    if isinstance(outcome, Credited):
        shown = after.to_decimal() if isinstance(after, Decimal128) else Decimal(repr(after))
        assert shown == exact + Decimal("0.01")
    else:
        assert outcome is Obstacle.WALLET_MALFORMED
        assert repr(_wallet(platform.database)) == repr(before)


@pytest.mark.parametrize("balance", [90_071_992_547_409.91, 123_456_789_012_345.67], ids=repr)
def test_a_double_too_large_to_add_to_exactly_is_named(wallets: Wallets, platform: Platform, balance: float) -> None:
    # MongoDB takes 15 digits of a double into a decimal sum: such a balance would lose a paisa or more.
    before = _plant(platform, balance=balance)

    assert _only(wallets, position(USER, 1)) is Obstacle.WALLET_MALFORMED

    assert repr(_wallet(platform.database)) == repr(before)


def test_another_currency_of_the_streamer_does_not_touch_the_wallet(wallets: Wallets, platform: Platform) -> None:
    before = _plant(platform)
    in_rupees, in_dollars = position(USER, 1_000_00), position(USER, 7_00, currency="USD")

    outcomes = wallets.project([in_rupees, in_dollars])

    assert outcomes == {
        (USER, "INR"): Credited(wallet_id=before["_id"], version=1),
        (USER, "USD"): Obstacle.WALLET_CURRENCY,
    }
    assert _wallet(platform.database)["balance"] == 1150.25


def test_a_wallet_whose_currency_was_changed_keeps_each_ledger_apart(wallets: Wallets, platform: Platform) -> None:
    _plant(platform)
    _only(wallets, position(USER, 1_000_00))
    platform.wallet(USER, currency="USD", balance=10.0)

    assert isinstance(_only(wallets, position(USER, 7_00, currency="USD")), Credited)
    assert _only(wallets, position(USER, 2_000_00, 2, acknowledged_version=1)) is Obstacle.WALLET_CURRENCY

    wallet = _wallet(platform.database)
    assert wallet["balance"] == 17
    assert {currency: one["version"] for currency, one in wallet["ledger"].items()} == {"INR": 1, "USD": 1}


@pytest.mark.parametrize(
    ("fields", "currency", "expected"),
    [
        ({}, "INR", None),
        ({"currency": ABSENT}, "INR", None),
        ({"currency": None}, "INR", None),
        ({"currency": ABSENT}, "USD", Obstacle.WALLET_CURRENCY),
        ({"currency": None}, "USD", Obstacle.WALLET_CURRENCY),
        ({"currency": "USD"}, "INR", Obstacle.WALLET_CURRENCY),
        ({"currency": "inr"}, "INR", Obstacle.WALLET_CURRENCY),
        ({"currency": "USD"}, "USD", None),
        ({"walletType": "brand"}, "INR", Obstacle.WALLET_TYPE),
        ({"walletType": ABSENT}, "INR", Obstacle.WALLET_TYPE),
        ({"isActive": False}, "INR", Obstacle.WALLET_INACTIVE),
        ({"isActive": ABSENT}, "INR", Obstacle.WALLET_INACTIVE),
        ({"isActive": 1}, "INR", Obstacle.WALLET_INACTIVE),
        ({"isActive": "true"}, "INR", Obstacle.WALLET_INACTIVE),
        ({"ledger": None}, "INR", Obstacle.WALLET_MALFORMED),
        ({"ledger": "ours"}, "INR", Obstacle.WALLET_MALFORMED),
        ({"ledger": []}, "INR", Obstacle.WALLET_MALFORMED),
        ({"ledger": [{}]}, "INR", Obstacle.WALLET_MALFORMED),
        ({"ledger": {}}, "INR", None),
        ({"ledger": {"INR": None}}, "INR", Obstacle.WALLET_MALFORMED),
        ({"ledger": {"INR": {}}}, "INR", Obstacle.WALLET_MALFORMED),
        ({"ledger": {"INR": []}}, "INR", Obstacle.WALLET_MALFORMED),
        ({"ledger": {"USD": {"version": 9, "availableMinor": 1, "heldMinor": 0}}}, "INR", None),
    ],
    ids=repr,
)
def test_what_a_wallet_must_be(
    wallets: Wallets, platform: Platform, fields: Document, currency: str, expected: Obstacle | None
) -> None:
    before = _plant(platform, **fields)

    outcome = _only(wallets, position(USER, 1000, currency=currency))

    if expected is None:
        assert outcome == Credited(wallet_id=before["_id"], version=1)
        assert _wallet(platform.database)["balance"] == 160.25
    else:
        assert outcome is expected
        assert _wallet(platform.database) == before


_STORED = {"version": 1, "availableMinor": 500, "heldMinor": 0}


@pytest.mark.parametrize(
    "stored",
    [
        _STORED | {"availableMinor": "500"},
        _STORED | {"availableMinor": None},
        _STORED | {"availableMinor": float("nan")},
        _STORED | {"availableMinor": [500]},
        _STORED | {"heldMinor": {}},
        {"version": 1, "heldMinor": 0},
        {"version": 1, "availableMinor": 500},
        [_STORED],
        _STORED | {"version": [1]},
        _STORED | {"version": "1"},
        _STORED | {"version": -1},
        _STORED | {"version": None},
    ],
    ids=repr,
)
@pytest.mark.parametrize("acknowledged", [0, 1])
def test_what_we_stored_and_somebody_changed_is_named_and_nothing_is_guessed(
    wallets: Wallets, platform: Platform, stored: Any, acknowledged: int
) -> None:
    # Were a lost amount taken for 0, the streamer would be credited with everything a second time.
    before = _plant(platform, ledger={"INR": stored})
    other = ObjectId()
    platform.wallet(other)
    positions = [position(USER, 1000, 2, acknowledged_version=acknowledged), position(other, 1000)]

    outcomes = wallets.project(positions)

    assert outcomes[USER, "INR"] in (Obstacle.WALLET_MALFORMED, Obstacle.BASELINE_LOST)
    assert repr(_wallet(platform.database)) == repr(before)
    assert isinstance(outcomes[str(other), "INR"], Credited)


def test_a_version_rewritten_as_a_double_counts_as_the_number_it_is(wallets: Wallets, platform: Platform) -> None:
    # What JavaScript programs do to whole numbers when they save a document they had read.
    _plant(platform)
    _only(wallets, position(USER, 1_000_00))
    rewritten = {"INR": {"version": 1.0, "availableMinor": 100_000.0, "heldMinor": 0.0}}
    platform.wallet(USER, ledger=rewritten)

    again = _only(wallets, position(USER, 1_000_00, acknowledged_version=1))
    later = _only(wallets, position(USER, 1_500_00, 2, acknowledged_version=1))

    assert [one.version if isinstance(one, Credited) else one for one in (again, later)] == [1, 2]
    assert _wallet(platform.database)["balance"] == 1650.25


@pytest.mark.parametrize("lost", ["ledger", "ledger.INR"])
def test_a_wallet_that_forgot_what_it_acknowledged_is_not_credited_again(
    wallets: Wallets, platform: Platform, lost: str
) -> None:
    _plant(platform)
    _only(wallets, position(USER, 1_000_00))
    platform.database["wallets"].update_one({"userId": USER}, {"$unset": {lost: ""}})
    before = _wallet(platform.database)

    assert _only(wallets, position(USER, 1_500_00, 2, acknowledged_version=1)) is Obstacle.BASELINE_LOST

    assert _wallet(platform.database) == before


def test_a_wallet_is_never_made(wallets: Wallets, mongo_database: Database[Document]) -> None:
    assert _only(wallets, position(USER, 1000)) is Obstacle.WALLET_MISSING
    assert mongo_database["wallets"].count_documents({}) == 0


def test_a_users_brand_wallet_stands_in_nobodys_way(wallets: Wallets, platform: Platform) -> None:
    streamer_wallet = _plant(platform)
    brand: Document = {"userId": USER, "walletType": "brand", "balance": 5.0, "isActive": True}
    platform.database["wallets"].insert_one(brand)
    # MongoDB answers in the order of insertion: one brand's wallet before the streamer's, and one after it.
    platform.database["wallets"].delete_one({"_id": streamer_wallet["_id"]})
    platform.database["wallets"].insert_one(streamer_wallet)
    platform.database["wallets"].insert_one(brand | {"_id": ObjectId()})

    assert _only(wallets, position(USER, 1000)) == Credited(wallet_id=streamer_wallet["_id"], version=1)
    assert {one["balance"] for one in platform.database["wallets"].find({"walletType": "brand"})} == {5.0}


def test_a_wallet_of_a_list_of_users_is_nobodys(wallets: Wallets, platform: Platform) -> None:
    before = _plant(platform)
    platform.database["wallets"].update_one({"userId": USER}, {"$set": {"userId": [USER, "another"]}})

    assert _only(wallets, position(USER, 1000)) is Obstacle.WALLET_MISSING

    assert platform.database["wallets"].find_one({})["balance"] == before["balance"]  # type: ignore[index]


def test_nothing_that_others_add_meanwhile_is_lost(
    wallets: Wallets, platform: Platform, mongo_database: Database[Document]
) -> None:
    _plant(platform)
    increments, versions, threads_count = 100, 60, 5

    def others() -> None:
        for _ in range(increments):
            mongo_database["wallets"].update_one(
                {"userId": USER}, {"$inc": {"balance": 1.0, "withdrawableBalance": 1.0, "totalEarnings": 1.0}}
            )

    threads = [threading.Thread(target=others) for _ in range(threads_count)]
    for thread in threads:
        thread.start()
    for version in range(1, versions + 1):
        _only(wallets, position(USER, 33 * version, version, acknowledged_version=version - 1))
    for thread in threads:
        thread.join()

    wallet = _wallet(mongo_database)
    added = increments * threads_count + Decimal(33 * versions) / 100
    assert [Decimal(repr(round(wallet[field], 2))) for field in SHARED] == [
        Decimal("150.25") + added,
        Decimal("100.25") + added,
        Decimal("50.0"),
        Decimal("900.5") + added,
    ]


def test_many_wallets_in_one_go_and_the_bad_ones_among_them_are_named(
    wallets: Wallets, mongo_connection: Connection, mongo_database: Database[Document]
) -> None:
    create_missing(mongo_connection, MappingSettings())
    users = [f"user {number}" for number in range(2500)]
    ill: dict[str, Document] = {
        "user 7": {"balance": None},
        "user 77": {"isActive": False},
        "user 777": {"walletType": "brand"},
    }
    mongo_database["wallets"].insert_many(
        {
            "userId": user,
            "walletType": "streamer",
            "isActive": True,
            **dict.fromkeys(SHARED, 1),
        }
        | ill.get(user, {})
        for user in users[:-1]
    )

    outcomes = wallets.project([position(user, number + 1) for number, user in enumerate(users)])

    blocked = {key[0]: outcome for key, outcome in outcomes.items() if isinstance(outcome, Obstacle)}
    assert blocked == {
        "user 7": Obstacle.WALLET_MALFORMED,
        "user 77": Obstacle.WALLET_INACTIVE,
        "user 777": Obstacle.WALLET_TYPE,
        users[-1]: Obstacle.WALLET_MISSING,
    }
    assert len(outcomes) == 2500
    balances = {one["userId"]: one["balance"] for one in mongo_database["wallets"].find()}
    assert all(
        balances[user] == float(Decimal(number + 1) / 100 + 1)
        for number, user in enumerate(users)
        if user not in blocked
    )


def test_no_positions_are_no_work(wallets: Wallets) -> None:
    assert wallets.project([]) == {}
