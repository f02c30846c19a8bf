"""The sweep on real servers: who is paid and who is not, in what order, and that nobody stands in another's way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from pymongo.database import Database
from pymongo.errors import WriteError

from app.parts import Parts, parts_of
from jobs.payment.sweep import SweepResult
from reconciler.config import load
from reconciler.errors import InvariantBroken
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from tests.support.ledger_rows import facts_of_business, holds, paid_minor
from tests.support.platform import ABSENT, LOCKED_AT, Platform
from tests.support.projecting import all_documents, all_rows

Document = dict[str, Any]

CANNOT_INDEX_PARALLEL_ARRAYS = 171
HALF_A_BUDGET = {"targetImpressions": 1000}
"""With the reference's rate of 1650 and budget of 3300: 1650.00 each, so the budget is enough for two."""


@pytest.fixture
def wired(mongo_uri: str, mongo_database: Database[Document], sqlite_url: str) -> Callable[..., Any]:
    """``with wired({"sweep.page_size": 1}) as parts``: on SQLite, with other settings than the default."""

    @contextmanager
    def wire(overrides: Mapping[str, object] | None = None) -> Iterator[Parts]:
        servers = {"mongodb.uri": mongo_uri, "mongodb.database": mongo_database.name, "ledger.url": sqlite_url}
        with parts_of(load(None, {}, servers | dict(overrides or {}))) as parts:
            upgrade(parts.engine)
            create_missing(parts.connection, parts.settings.mapping)
            yield parts

    return wire


@pytest.fixture
def sqlite_parts(wired: Callable[..., Any]) -> Iterator[Parts]:
    """On SQLite only, for what MongoDB alone decides."""
    with wired() as parts:
        yield parts


def _skipped(result: SweepResult) -> dict[str, int]:
    return {reason: count for reason, count in result.settled.skipped.items() if count}


def _insert_unless_unindexable(database: Database[Document], collection: str, document: Document) -> None:
    """MongoDB itself refuses two arrays in fields of one index; such a document cannot come to be."""
    try:
        database[collection].insert_one(document)
    except WriteError as error:
        if error.code != CANNOT_INDEX_PARALLEL_ARRAYS:
            raise


def _set(platform: Platform, collection: str, document_id: Any, fields: Document) -> None:
    assert platform.database[collection].update_one({"_id": document_id}, {"$set": fields}).matched_count == 1


def test_over_budget_is_held_and_paid_in_order_when_the_budget_grows(platform: Platform, parts: Parts) -> None:
    campaign_id = platform.campaign(**HALF_A_BUDGET)
    first = [platform.participation(campaign_id, 1000) for _ in range(3)]

    result = parts.sweep.step("test")

    assert (result.settled.paid, result.settled.held) == (2, 1)
    assert list(paid_minor(parts.engine)) == [str(one) for one in first[:2]]
    assert holds(parts.engine) == [(str(first[2]), "opened", "over_budget")]
    held = platform.read("campaignparticipations", first[2])
    assert (held["status"], platform.wallet_of(first[2])["balance"]) == ("active", 150.25)
    assert platform.read("campaigns", campaign_id)["status"] == "active"

    # Who comes later is behind, though an identity of text comes first in the order of identities.
    later = [platform.participation(campaign_id, 5000, _id=f"late {number}") for number in range(2)]
    again = parts.sweep.step("test")
    assert (again.settled.paid, again.settled.held) == (0, 3)

    _set(platform, "campaigns", campaign_id, {"budget": 3300 + 1650 + 1649.99})
    grown = parts.sweep.step("test")
    assert (grown.settled.paid, grown.settled.held) == (1, 2)
    assert list(paid_minor(parts.engine))[2:] == [str(first[2])]

    _set(platform, "campaigns", campaign_id, {"budget": 5 * 1650})
    rest = parts.sweep.step("test")
    assert (rest.settled.paid, rest.settled.held) == (2, 0)
    assert list(paid_minor(parts.engine)) == [str(one) for one in [*first, *later]]
    assert set(paid_minor(parts.engine).values()) == {165_000}
    assert platform.wallet_of(first[2])["balance"] == 1800.25
    assert platform.read("campaigns", campaign_id)["status"] == "completed"
    assert parts.sweep.step("test").settled.paid == 0


@pytest.mark.parametrize(("budgets", "paid_counts"), [((3300, 4950, 6600), [1, 2, 3]), ((3300, 6600), [1, 3])])
def test_who_is_held_comes_before_a_later_one_whose_smaller_payout_would_fit(
    platform: Platform, wired: Callable[..., Any], budgets: tuple[int, ...], paid_counts: list[int]
) -> None:
    campaign_id = platform.campaign(**HALF_A_BUDGET)
    first, large = (platform.participation(campaign_id, impressions) for impressions in (1000, 2000))
    with wired({"payout.overdelivery": "pay"}) as parts:
        parts.sweep.step("test")
        # It fits what is left, and text comes first in the order of identities; but it came later.
        small = platform.participation(campaign_id, 1000, _id="a small one")
        paid = []
        for budget in budgets:
            _set(platform, "campaigns", campaign_id, {"budget": budget})
            parts.sweep.step("test")
            paid.append(list(paid_minor(parts.engine)))

    ids = [str(one) for one in (first, large, small)]
    assert paid == [ids[:count] for count in paid_counts]


def test_a_hold_of_one_who_is_no_longer_due_stands_before_nobody(platform: Platform, parts: Parts) -> None:
    campaign_id = platform.campaign(budget=1700, **HALF_A_BUDGET)
    paid, forfeited, deleted, waiting = (platform.participation(campaign_id, 1000) for _ in range(4))
    assert parts.sweep.step("test").settled.held == 3

    _set(platform, "campaignparticipations", forfeited, {"earningsForfeited": True})
    platform.database["campaignparticipations"].delete_one({"_id": deleted})
    _set(platform, "campaigns", campaign_id, {"budget": 3300})
    parts.sweep.step("test")

    assert list(paid_minor(parts.engine)) == [str(paid), str(waiting)]
    closed = {(one, reason) for one, event, reason in holds(parts.engine) if event == "closed"}
    assert closed == {
        (str(forfeited), "forfeited"),
        (str(deleted), "participation_missing"),
        (str(waiting), "paid"),
    }


def test_of_two_participations_of_one_streamer_one_is_paid(platform: Platform, parts: Parts) -> None:
    streamer, campaign_id = ObjectId(), platform.campaign(**HALF_A_BUDGET)
    first = platform.participation(campaign_id, 1000, streamerId=streamer)
    # The same person, named in text; before the other in the order of identities only had it been text itself.
    second = platform.participation(campaign_id, 2500, streamerId=str(streamer))

    result = parts.sweep.step("test")

    assert paid_minor(parts.engine) == {str(first): 165_000}
    assert _skipped(result) == {"duplicate_participation": 1}
    assert _skipped(parts.sweep.step("test")) == {"duplicate_participation": 1}
    assert platform.wallet_of(first)["balance"] == 1800.25
    assert platform.read("campaignparticipations", second)["status"] == "active"
    assert platform.read("campaigns", campaign_id)["status"] == "active"


@pytest.mark.parametrize(
    ("campaign", "participation", "skipped"),
    [
        ({}, {"earningsForfeited": True}, {"forfeited": 1}),
        ({}, {"earningsForfeited": "yes"}, {"malformed": 1}),
        ({}, {"status": "removed"}, {}),
        ({}, {"status": "paused"}, {}),
        ({}, {"status": "participation_paused"}, {}),
        ({}, {"status": "left_early"}, {}),
        ({}, {"finalEarningsTransferred": True}, {}),
        ({}, {"finalEarningsTransferred": 1}, {"malformed": 1}),
        ({}, {"impressions": float("nan")}, {"malformed": 1}),
        ({}, {"impressions": 1999}, {}),
        ({}, {"impressions": "1999"}, {"below_target": 1}),
        ({}, {"impressions": -1}, {"malformed": 1}),
        ({}, {"impressions": 10**12 + 1}, {"malformed": 1}),
        ({"status": "paused"}, {}, {}),
        ({"status": "draft"}, {}, {}),
        ({"status": "cancelled"}, {}, {}),
        ({"budget": float("nan")}, {}, {}),
    ],
    ids=repr,
)
def test_who_is_not_to_be_paid_is_not_and_stays_as_they_are(
    platform: Platform, sqlite_parts: Parts, campaign: Document, participation: Document, skipped: dict[str, int]
) -> None:
    # The index leaves out what cannot be due without naming it; the full check names those.
    fields = {"impressions": 2000} | participation
    platform.participation(platform.campaign(**campaign), fields.pop("impressions"), **fields)
    before = all_documents(platform.database)

    result = sqlite_parts.sweep.step("test")

    assert (result.settled.paid, _skipped(result)) == (0, skipped)
    assert result.malformed_campaigns == (1 if "budget" in campaign else 0)
    assert all_documents(platform.database) == before
    assert paid_minor(sqlite_parts.engine) == {}


@pytest.mark.parametrize(
    ("participation", "expected"),
    [
        ({"status": "completed"}, 330_000),
        ({"impressions": "2000"}, 330_000),
        ({"impressions": Decimal128("2500")}, 330_000),
        ({"impressions": 2000.0}, 330_000),
        ({"finalEarningsTransferred": None}, 330_000),
        ({"clicks": "many", "estimatedEarnings": float("nan"), "lastStreamDate": DatetimeMS(2**60)}, 330_000),
    ],
    ids=repr,
)
def test_what_is_no_reason_not_to_pay(
    platform: Platform, sqlite_parts: Parts, participation: Document, expected: int
) -> None:
    fields = {"impressions": 2000} | participation
    participation_id = platform.participation(platform.campaign(), fields.pop("impressions"), **fields)

    sqlite_parts.sweep.step("test")

    assert paid_minor(sqlite_parts.engine) == {str(participation_id): expected}


@pytest.mark.parametrize("as_text", [False, True])
def test_a_credit_line_of_somebody_else_means_paid_elsewhere(
    platform: Platform, sqlite_parts: Parts, as_text: bool
) -> None:
    campaign_id = platform.campaign(**HALF_A_BUDGET)
    credited, other = (platform.participation(campaign_id, 1000) for _ in range(2))
    streamer = platform.read("campaignparticipations", credited)["streamerId"]
    platform.database["transactions"].insert_one(
        {
            "transactionType": "earnings_credit",
            "campaignId": str(campaign_id) if as_text else campaign_id,
            "userId": str(streamer) if as_text else streamer,
            "amount": 1650,
        }
    )

    result = sqlite_parts.sweep.step("test")

    assert list(paid_minor(sqlite_parts.engine)) == [str(other)]
    assert _skipped(result) == {"marked_paid_elsewhere": 1}
    assert platform.wallet_of(credited)["balance"] == 150.25
    # Our own line of the other one is no stranger's: nothing else happens the next time.
    assert _skipped(sqlite_parts.sweep.step("test")) == {"marked_paid_elsewhere": 1}


def test_a_dry_run_says_what_a_real_sweep_pays_and_changes_nothing(platform: Platform, parts: Parts) -> None:
    campaigns = [platform.campaign(**HALF_A_BUDGET), platform.campaign(**HALF_A_BUDGET), platform.campaign()]
    for number in range(12):
        platform.participation(campaigns[number % 3], 900 + 100 * number)
    platform.participation(campaigns[2], None)
    before = all_documents(platform.database), all_rows(parts.engine)

    rehearsed = parts.sweep.step("test", dry_run=True)

    assert (all_documents(platform.database), all_rows(parts.engine)) == before
    real = parts.sweep.step("test")
    assert rehearsed.dry_run
    assert rehearsed.settled.paid > 3
    assert rehearsed.settled.held > 0
    assert rehearsed.settled.paid_minor == real.settled.paid_minor
    told = ("due", "paid", "paid_minor", "held", "skipped", "malformed_campaigns")
    assert [rehearsed.as_json()[key] for key in told] == [real.as_json()[key] for key in told]
    assert (rehearsed.settled.projected, real.settled.projected) == (0, real.settled.paid)

    # And after it, with the holds of the real one open.
    before = all_documents(platform.database), all_rows(parts.engine)
    again = parts.sweep.step("test", dry_run=True)
    assert (again.settled.paid, again.settled.held) == (0, real.settled.held)
    assert (all_documents(platform.database), all_rows(parts.engine)) == before


def test_two_sweeps_at_once_pay_everyone_once(platform: Platform, parts: Parts) -> None:
    campaigns = [platform.campaign(budget=1650 * 30, **HALF_A_BUDGET) for _ in range(4)]
    ids = [platform.participation(campaigns[number % 4], 1000) for number in range(100)]
    results: list[SweepResult] = []
    errors: list[BaseException] = []

    def sweep() -> None:
        try:
            results.append(parts.sweep.step("test"))
        except BaseException as error:  # noqa: BLE001 - told below, in the thread that can fail the test
            errors.append(error)

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert sum(result.settled.paid for result in results) == 100
    assert paid_minor(parts.engine).keys() == {str(one) for one in ids}
    parts.sweep.step("test")
    assert {platform.wallet_of(one)["balance"] for one in ids} == {1800.25}
    assert platform.database["transactions"].count_documents({}) == 100
    assert parts.outbox.counts().pending == parts.outbox.counts().blocked == 0


def test_impressions_that_grow_while_sweeping_pay_nobody_twice(
    platform: Platform, wired: Callable[..., Any], mongo_database: Database[Document]
) -> None:
    campaigns = [platform.campaign(budget=10**9, **HALF_A_BUDGET) for _ in range(3)]
    ids = [platform.participation(campaigns[number % 3], 900 + number) for number in range(120)]
    finished = threading.Event()

    def view() -> None:
        while not finished.is_set():
            mongo_database["campaignparticipations"].update_many({}, {"$inc": {"impressions": 1}})

    viewers = threading.Thread(target=view)
    with wired({"sweep.page_size": 7, "payout.overdelivery": "pay"}) as parts:
        viewers.start()
        try:
            results = [parts.sweep.step("test") for _ in range(4)]
        finally:
            finished.set()
            viewers.join()
        results.append(parts.sweep.step("test"))
        mongo_database["campaignparticipations"].update_many({}, {"$set": {"impressions": 10**6}})
        results.append(parts.sweep.step("test"))
        assert parts.sweep.step("test").settled.paid == 0

        assert sum(result.settled.paid for result in results) == 120
        paid = paid_minor(parts.engine)
    for one in ids:
        participation = platform.read("campaignparticipations", one)
        # What the streamer sees is what was posted, whatever was counted since.
        assert round(participation["finalEarnings"] * 100) == paid[str(one)] >= 165_000
        assert round((platform.wallet_of(one)["balance"] - 150.25) * 100) == paid[str(one)]


JUNK: tuple[Any, ...] = (
    None, "", "x", "NaN", float("nan"), float("-inf"), Decimal128("1E+6000"), -1, 2**62, True, [], [1], [None], {},
    {"a": [1]}, {"$a": 1}, DatetimeMS(2**60), MinKey(), MaxKey(), b"\x00\xff", "n\x00l",
)  # fmt: skip


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_documents_full_of_junk_stop_nobody(platform: Platform, sqlite_parts: Parts, junk: Any) -> None:
    campaign_id = platform.campaign(budget=330_000, targetImpressions=2000)
    good = platform.participation(campaign_id, 2000)
    streamer = str(platform.read("campaignparticipations", good)["streamerId"])
    database = platform.database
    participations, wallets = database["campaignparticipations"], database["wallets"]
    # Each document is junk but for one field, so that every query which could meet it does.
    campaign_fields = database["campaigns"].find_one({}, {"_id": 0})
    participation_fields = participations.find_one({}, {"_id": 0})
    wallet_fields = wallets.find_one({}, {"_id": 0})
    key_fields = database["gkeys"].find_one({}, {"_id": 0})
    assert campaign_fields and participation_fields and wallet_fields and key_fields
    line = {"userId": streamer, "campaignId": campaign_id, "transactionType": "earnings_credit"}
    junk_campaign = ObjectId()
    due = {"campaignId": campaign_id, "status": "active", "impressions": 2000}
    planted = [
        ("campaigns", dict.fromkeys(campaign_fields, junk) | {"_id": junk_campaign}),
        ("campaigns", dict.fromkeys(campaign_fields, junk) | {"status": "active"}),
        ("campaignparticipations", dict.fromkeys(participation_fields, junk) | {"campaignId": junk_campaign}),
        ("campaignparticipations", dict.fromkeys(participation_fields, junk) | due),
        ("wallets", dict.fromkeys(wallet_fields, junk)),
        ("wallets", dict.fromkeys(wallet_fields, junk) | {"userId": [streamer]}),
        ("gkeys", dict.fromkeys(key_fields, junk)),
        ("gkeys", key_fields | {"userId": [streamer]}),
        ("gkeys", key_fields | {"lockedWith": [str(campaign_id)], "lockedAt": junk}),
        ("transactions", dict.fromkeys(line, junk)),
        ("transactions", line | {"userId": [streamer], "campaignId": junk}),
        ("transactions", line | {"campaignId": [campaign_id], "userId": junk}),
    ]
    planted += [
        ("campaignparticipations", participation_fields | {"streamerId": ObjectId(), field: junk})
        for field in participation_fields.keys() - {"campaignId"}
    ]
    planted += [
        ("gkeys", key_fields | {"lockedWith": "another", field: junk}) for field in key_fields.keys() - {"lockedAt"}
    ]
    for collection, document in planted:
        _insert_unless_unindexable(database, collection, document)
    # And a streamer who is due but whose wallet is junk, each field in turn.
    for field in wallet_fields.keys() - {"userId"} | {"ledger"}:
        one = platform.participation(campaign_id, 2000)
        of_one = platform.read("campaignparticipations", one)["streamerId"]
        wallets.update_one({"userId": str(of_one)}, {"$set": {field: junk}})

    sqlite_parts.sweep.step("test")
    result = sqlite_parts.sweep.step("test")

    assert result.complete
    assert str(good) in paid_minor(sqlite_parts.engine)
    assert platform.read("campaignparticipations", good)["finalEarningsTransferred"] is True
    assert platform.wallet_of(good)["balance"] == 3450.25
    told = sqlite_parts.outbox.projected([f"oid:{good}"])
    assert sqlite_parts.projection.find_stale(told) == {}
    assert [len(page.participations) > 0 for page in sqlite_parts.facts.pages(1000)] == [True]


def test_a_blocked_wallet_is_told_and_paid_out_once_repaired(platform: Platform, wired: Callable[..., Any]) -> None:
    campaign_id = platform.campaign(**HALF_A_BUDGET)
    ill, well = (platform.participation(campaign_id, 1000) for _ in range(2))
    streamer = platform.read("campaignparticipations", ill)["streamerId"]
    platform.wallet(streamer, balance="150.25")
    with wired({"projection.blocked_retry_s": 0.001}) as parts:
        first = parts.sweep.step("test")
        [blocked] = parts.outbox.blocked()
        platform.wallet(streamer, balance=150.25)
        before = all_documents(platform.database)
        parts.sweep.step("test", dry_run=True)
        assert all_documents(platform.database) == before
        second = parts.sweep.step("test")

    assert (first.settled.paid, first.settled.projected, first.blocked) == (2, 1, 1)
    assert blocked.blocked.obstacle.value == "wallet_malformed"
    assert (second.settled.paid, second.settled.projected, second.blocked) == (0, 1, 0)
    assert [platform.wallet_of(one)["balance"] for one in (ill, well)] == [1800.25, 1800.25]
    assert platform.read("campaigns", campaign_id)["status"] == "completed"


def _populate(platform: Platform) -> None:
    """The same documents each time: budgets that are enough and not, duplicates, both types of identity."""
    for number in range(6):
        budget = (3300, 4950, 1649.99, 8250, 3300.5, 1650)[number]
        campaign_id: Any = ObjectId(f"{number + 1:024x}") if number % 2 else f"campaign {number}"
        platform.campaign(_id=campaign_id, brandId=f"brand {number}", budget=budget, **HALF_A_BUDGET)
        for place in range(5):
            serial = place * 10 + number
            platform.participation(
                campaign_id,
                (1000, 1500, "1200", 999, None)[(place + number) % 5],
                _id=ObjectId(f"{serial + 1:024x}") if serial % 3 else f"participation {serial}",
                streamerId=f"streamer {serial % 7}",
            )


def test_one_participation_a_page_gives_the_same_ledger(
    mongo_uri: str, mongo_database: Database[Document], platform: Platform, wired: Callable[..., Any], tmp_path: Any
) -> None:
    ledgers = []
    for page_size in (1, 3, 1000):
        mongo_database.client.drop_database(mongo_database.name)
        _populate(platform)
        url = f"sqlite:///{tmp_path / f'pages-of-{page_size}.db'}"
        with wired({"sweep.page_size": page_size, "ledger.url": url}) as parts:
            parts.sweep.step("test")
            for campaign in mongo_database["campaigns"].find():
                grown = campaign["budget"] + 1650
                mongo_database["campaigns"].update_one({"_id": campaign["_id"]}, {"$set": {"budget": grown}})
            parts.sweep.step("test")
            ledgers.append(facts_of_business(parts.engine))

    assert len(ledgers[0]) > 20
    assert ledgers[0] == ledgers[1] == ledgers[2]


def test_a_sweep_that_is_stopped_ends_between_two_pages_and_says_so(
    platform: Platform, wired: Callable[..., Any]
) -> None:
    campaign_id = platform.campaign(budget=330_000, targetImpressions=2000)
    for _ in range(3):
        platform.participation(campaign_id, 2000)
    with wired({"sweep.page_size": 1}) as parts:
        parts.stopping.set()
        stopped = parts.sweep.step("test")
        parts.stopping.clear()
        assert (stopped.complete, stopped.settled.paid) == (False, 0)
        finished = parts.sweep.step("test")

    assert (finished.complete, finished.settled.paid) == (True, 3)


def test_a_wallet_that_saw_a_later_version_than_this_ledger_gave_is_not_hidden(
    platform: Platform, sqlite_parts: Parts
) -> None:
    participation_id = platform.participation(platform.campaign(), 2000)
    streamer = platform.read("campaignparticipations", participation_id)["streamerId"]
    platform.wallet(streamer, ledger={"INR": {"version": 7, "availableMinor": 900_000, "heldMinor": 0}})

    with pytest.raises(InvariantBroken, match="version 7"):
        sqlite_parts.sweep.step("test")

    assert platform.wallet_of(participation_id)["balance"] == 150.25


def test_a_key_that_another_campaign_locked_stays_locked(platform: Platform, sqlite_parts: Parts) -> None:
    campaign_id = platform.campaign(**HALF_A_BUDGET)
    participation_id = platform.participation(campaign_id, 1000)
    streamer = platform.read("campaignparticipations", participation_id)["streamerId"]
    others = platform.gkey(streamer, ObjectId(), category="shoes", lockedAt=LOCKED_AT, usageCount=ABSENT)

    sqlite_parts.sweep.step("test")

    assert platform.read("gkeys", others)["status"] == "locked"
    assert platform.database["gkeys"].count_documents({"status": "cooloff"}) == 1
