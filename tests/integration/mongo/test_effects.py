"""The effects of a payment: each in its place, each once, and a blocked one stops nobody else."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from pymongo.database import Database

from reconciler.config.mapping import MappingSettings
from reconciler.domain.effects import BlockedEffect, Effect, Obstacle
from reconciler.domain.ids import DocumentId, IdKind, statement_line_id
from reconciler.errors import Outage
from reconciler.mongo.connection import Connection, connect
from reconciler.mongo.projection import MongoProjection
from tests.support.listening import listening_to
from tests.support.platform import ABSENT, Platform
from tests.support.projecting import PAID_AT, all_documents, document_id, payout_task, position

Document = dict[str, Any]

BRAND = ObjectId("b" * 24)


@pytest.fixture
def projection(mongo_connection: Connection) -> MongoProjection:
    return _projection(mongo_connection)


def _projection(connection: Connection) -> MongoProjection:
    return MongoProjection(connection, MappingSettings(), default_currency="INR")


def _lines(database: Database[Document]) -> list[Document]:
    return list(database["transactions"].find())


def test_everything_is_told_in_so_many_words(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    campaign_id = platform.campaign(brandId=BRAND)
    participation_id = platform.participation(campaign_id, 2500)
    before = platform.read("campaignparticipations", participation_id)
    task = payout_task(mongo_database, participation_id)

    result = projection.apply([task])

    assert (list(result.done), result.blocked) == ([1], {})
    assert result.wallets == {(task.streamer_id, "INR"): 1}
    assert platform.read("campaignparticipations", participation_id) == before | {
        "status": "completed",
        "completionReason": "impressions_target_reached",
        "completedAt": PAID_AT,
        "finalEarnings": 3300.0,
        "earningsTransferredAt": PAID_AT,
        "finalEarningsTransferred": True,
    }
    wallet = platform.wallet_of(participation_id)
    assert _lines(mongo_database) == [
        {
            "_id": ObjectId(statement_line_id(f"payout:oid:{participation_id}:1")),
            "walletId": wallet["_id"],
            "userId": task.streamer_id,
            "transactionType": "earnings_credit",
            "amount": 3300.0,
            "currency": "INR",
            "status": "completed",
            "campaignId": campaign_id,
            "description": "Earnings of a campaign that was completed",
            "metadata": {"payoutKey": f"payout:oid:{participation_id}:1", "participationId": participation_id},
            "processedAt": PAID_AT,
            "createdBy": "payout-reconciler",
        }
    ]
    assert wallet["balance"] == 3450.25
    [key] = mongo_database["gkeys"].find()
    assert (key["status"], key["cooloffEndsAt"]) == ("cooloff", PAID_AT + timedelta(hours=720))


def test_in_their_order_and_the_receipt_last_all_by_majority(
    mongo_connection: Connection, mongo_uri: str, platform: Platform, mongo_database: Database[Document]
) -> None:
    task = payout_task(mongo_database, platform.participation(platform.campaign(), 2000))

    with listening_to(mongo_connection, mongo_uri) as (connection, commands):
        _projection(connection).apply([task])
        _projection(connection).complete_campaigns({task.campaign_id: (330_000, "INR")})

    assert commands.writes == [
        "campaignparticipations", "wallets", "reconciler_state", "wallets", "transactions", "gkeys",
        "campaignparticipations", "campaigns",
    ]  # fmt: skip
    written = [command["writeConcern"]["w"] for command in commands.sent if "update" in command]
    assert written == ["majority"] * 8
    last = commands.named("update", "campaignparticipations")[-1]["updates"]
    assert last[0]["u"] == {"$set": {"finalEarningsTransferred": True, "earningsTransferredAt": PAID_AT}}


def test_the_line_hangs_on_the_key_of_the_entry(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    task = payout_task(mongo_database, platform.participation(platform.campaign(), 2000), payout_key="payout:str:p:2")

    projection.apply([task])

    # The first twelve bytes of SHA-256, as `printf payout:str:p:2 | sha256sum` tells them.
    assert [str(line["_id"]) for line in _lines(mongo_database)] == ["ef3db6548b522d98b0982f3a"]


def test_a_line_that_is_there_is_not_written_again(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    task = payout_task(mongo_database, platform.participation(platform.campaign(), 2000))
    projection.apply([task])
    mongo_database["transactions"].update_one({}, {"$set": {"status": "withdrawn", "note": "by the platform"}})
    before = all_documents(mongo_database)

    projection.apply([task])

    assert all_documents(mongo_database) == before


def test_a_payout_of_zero_completes_and_makes_no_line(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    participation_id = platform.participation(platform.campaign(), 2000)

    result = projection.apply([payout_task(mongo_database, participation_id, amount_minor=0)])

    assert list(result.done) == [1]
    assert _lines(mongo_database) == []
    participation = platform.read("campaignparticipations", participation_id)
    assert (participation["finalEarnings"], participation["finalEarningsTransferred"]) == (0.0, True)
    assert platform.wallet_of(participation_id)["balance"] == 150.25


def test_twice_changes_nothing(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    campaign_id = platform.campaign()
    tasks = [
        payout_task(mongo_database, platform.participation(campaign_id, 2000), sequence=sequence)
        for sequence in range(5)
    ]
    totals = {document_id(campaign_id): (5 * 330_000, "INR")}
    first = projection.apply(tasks)
    projection.complete_campaigns(totals)
    before = all_documents(mongo_database)

    assert projection.apply(tasks) == first
    assert projection.apply(tasks[2:4]).done == [2, 3]
    assert projection.complete_campaigns(totals) == [document_id(campaign_id)]

    assert all_documents(mongo_database) == before


def test_two_payouts_of_one_streamer_credit_both(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    streamer = ObjectId()
    ids = [platform.participation(platform.campaign(), 2000, streamerId=streamer) for _ in range(2)]
    both = position(streamer, 660_000, 2)

    result = projection.apply(
        [payout_task(mongo_database, one, sequence=n, position=both) for n, one in enumerate(ids, 1)]
    )

    assert sorted(result.done) == [1, 2]
    assert result.wallets == {(str(streamer), "INR"): 2}
    assert platform.wallet_of(ids[0])["balance"] == 6750.25
    assert len(_lines(mongo_database)) == 2


def test_a_deleted_participation_leaves_the_streamer_credited(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    campaign_id = platform.campaign()
    gone, other = (platform.participation(campaign_id, 2000) for _ in range(2))
    tasks = [payout_task(mongo_database, one, sequence=n) for n, one in enumerate((gone, other), 1)]
    mongo_database["campaignparticipations"].delete_one({"_id": gone})

    result = projection.apply(tasks)

    assert list(result.done) == [2]
    assert result.blocked == {1: BlockedEffect(effect=Effect.PARTICIPATION, obstacle=Obstacle.PARTICIPATION_MISSING)}
    wallet = mongo_database["wallets"].find_one({"userId": tasks[0].streamer_id})
    assert wallet is not None
    assert wallet["balance"] == 3450.25
    assert len(_lines(mongo_database)) == 2
    assert mongo_database["gkeys"].count_documents({"status": "cooloff"}) == 2
    assert mongo_database["campaignparticipations"].count_documents({}) == 1


def test_a_blocked_wallet_stops_there_and_holds_up_nobody(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    campaign_id = platform.campaign()
    ill, well = (platform.participation(campaign_id, 2000) for _ in range(2))
    tasks = [payout_task(mongo_database, one, sequence=n) for n, one in enumerate((ill, well), 1)]
    platform.wallet(tasks[0].streamer_id, heldBalance=None)

    result = projection.apply(tasks)

    assert list(result.done) == [2]
    assert result.blocked == {1: BlockedEffect(effect=Effect.WALLET, obstacle=Obstacle.WALLET_MALFORMED)}
    assert result.wallets == {(tasks[1].streamer_id, "INR"): 1}
    participation = platform.read("campaignparticipations", ill)
    assert (participation["status"], participation["finalEarnings"]) == ("completed", 3300.0)
    assert "finalEarningsTransferred" not in participation
    assert [line["userId"] for line in _lines(mongo_database)] == [tasks[1].streamer_id]
    assert [key["userId"] for key in mongo_database["gkeys"].find({"status": "locked"})] == [tasks[0].streamer_id]
    # It is not settled for its campaign either.
    assert projection.complete_campaigns({document_id(campaign_id): (330_000, "INR")}) == []

    platform.wallet(tasks[0].streamer_id, heldBalance=0)
    repaired = projection.apply([tasks[0]])

    assert (list(repaired.done), repaired.blocked) == ([1], {})
    assert platform.wallet_of(ill)["balance"] == 3450.25
    assert platform.wallet_of(well)["balance"] == 3450.25
    assert len(_lines(mongo_database)) == 2
    assert mongo_database["gkeys"].count_documents({"status": "locked"}) == 0
    assert platform.read("campaignparticipations", ill)["finalEarningsTransferred"] is True
    assert projection.complete_campaigns({document_id(campaign_id): (660_000, "INR")}) == [document_id(campaign_id)]


def test_an_unreadable_key_leaves_no_receipt(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    participation_id = platform.participation(platform.campaign(), 2000)
    mongo_database["gkeys"].update_one({}, {"$unset": {"lockedAt": ""}})

    result = projection.apply([payout_task(mongo_database, participation_id)])

    assert result.blocked == {1: BlockedEffect(effect=Effect.GKEYS, obstacle=Obstacle.GKEY_MALFORMED)}
    assert list(result.done) == []
    assert result.wallets != {}
    assert "finalEarningsTransferred" not in platform.read("campaignparticipations", participation_id)


def test_an_amount_beyond_a_double_stays_exact(
    projection: MongoProjection, platform: Platform, mongo_database: Database[Document]
) -> None:
    amount_minor = 2**53 - 1
    participation_id = platform.participation(platform.campaign(), 2000)

    projection.apply([payout_task(mongo_database, participation_id, amount_minor=amount_minor)])

    [line] = _lines(mongo_database)
    final = platform.read("campaignparticipations", participation_id)["finalEarnings"]
    for shown in (line["amount"], final):
        exact = shown.to_decimal() if isinstance(shown, Decimal128) else Decimal(repr(shown))
        assert exact == Decimal("90071992547409.91")


def test_nothing_to_tell_is_nothing_told(projection: MongoProjection, mongo_database: Database[Document]) -> None:
    result = projection.apply([])

    assert (list(result.done), result.blocked) == ([], {})
    assert projection.complete_campaigns({}) == []
    assert mongo_database.list_collection_names() == []


@pytest.mark.parametrize(
    ("fields", "completes"),
    [
        ({"status": "active"}, False),
        ({"status": "paused"}, False),
        ({"status": "participation_paused"}, False),
        ({"status": "completed"}, False),
        ({"status": ABSENT}, False),
        ({"status": "completed", "finalEarningsTransferred": True}, True),
        ({"status": "active", "finalEarningsTransferred": True}, True),
        ({"status": "active", "finalEarningsTransferred": "yes"}, False),
        ({"status": "active", "earningsForfeited": True}, True),
        ({"status": "active", "earningsForfeited": "yes"}, False),
        ({"status": "rejected"}, True),
        ({"status": "left_early"}, True),
        ({"status": "removed"}, True),
    ],
    ids=repr,
)
def test_a_campaign_is_complete_when_all_of_it_is_settled(
    projection: MongoProjection,
    platform: Platform,
    mongo_database: Database[Document],
    fields: Document,
    completes: bool,
) -> None:
    campaign_id = platform.campaign()
    projection.apply([payout_task(mongo_database, platform.participation(campaign_id, 2000))])
    platform.participation(campaign_id, 10, **fields)
    before = platform.read("campaigns", campaign_id)

    completed = projection.complete_campaigns({document_id(campaign_id): (330_000, "INR")})

    assert completed == ([document_id(campaign_id)] if completes else [])
    after = platform.read("campaigns", campaign_id)
    if completes:
        assert after.pop("completedAt") is not None
        assert after == before | {
            "status": "completed",
            "completionReason": "all_participations_settled",
            "finalEarningsTransferred": 3300.0,
        }
    else:
        assert after == before


@pytest.mark.parametrize("status", ["paused", "cancelled", "rejected", "draft"])
def test_a_campaign_that_somebody_stopped_stays_as_it_is(
    projection: MongoProjection, platform: Platform, status: str
) -> None:
    campaign_id = platform.campaign(status=status)
    before = platform.read("campaigns", campaign_id)

    projection.complete_campaigns({document_id(campaign_id): (330_000, "INR")})

    assert platform.read("campaigns", campaign_id) == before


def test_what_a_completed_campaign_said_first_stays_and_the_total_grows(
    projection: MongoProjection, platform: Platform
) -> None:
    campaign_id = platform.campaign(status="completed", completedAt=PAID_AT, completionReason="by hand")

    projection.complete_campaigns({document_id(campaign_id): (990_000, "INR")})

    campaign = platform.read("campaigns", campaign_id)
    assert (campaign["completedAt"], campaign["completionReason"]) == (PAID_AT, "by hand")
    assert campaign["finalEarningsTransferred"] == 9900.0


def test_only_settled_campaigns_of_many_are_completed(projection: MongoProjection, platform: Platform) -> None:
    settled: list[Any] = [platform.campaign(), platform.campaign(_id="text")]
    open_ = platform.campaign()
    # The same hex as text is another campaign: its participation is none of the first one's.
    platform.participation(str(settled[0]), 5)
    platform.participation(open_, 5)
    totals = {document_id(one): (100, "INR") for one in [*settled, open_]}
    totals[DocumentId(IdKind.STRING, "nowhere")] = (100, "INR")

    assert set(projection.complete_campaigns(totals)) == {document_id(one) for one in settled}


def test_an_unreachable_server_is_an_outage(platform: Platform, mongo_database: Database[Document]) -> None:
    task = payout_task(mongo_database, platform.participation(platform.campaign(), 2000))
    connection = connect("mongodb://127.0.0.1:1/", mongo_database.name, wait_max_s=0.1)
    projection = _projection(connection)

    with pytest.raises(Outage):
        projection.apply([task])
    with pytest.raises(Outage):
        projection.complete_campaigns({task.campaign_id: (1, "INR")})
    with pytest.raises(Outage):
        projection.find_stale([task])

    connection.close()
