"""The effects of payments without the product: one row after another, and as bare bulk writes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import sqlalchemy as sa
from bson.int64 import Int64
from bson.objectid import ObjectId
from pymongo import UpdateMany, UpdateOne
from pymongo.database import Database

from benchmarks.support.platform import CURRENCY, PAYMENT_MINOR, Place, Slice
from reconciler.ledger.engine import open_engine
from reconciler.mongo.connection import connect

PAYMENT = PAYMENT_MINOR / 100
COOLOFF = timedelta(hours=720)
WAIT_MAX_S = 15.0

Document = dict[str, Any]


def one_by_one(mongodb_uri: str, database: str, ledger_url: str, part: Slice) -> float:
    """The naive job: find, find, insert, commit, and four updates, for one participation after another; seconds."""
    connection, engine = connect(mongodb_uri, database, wait_max_s=WAIT_MAX_S), open_engine(ledger_url)
    table = sa.Table(
        "naive_payouts",
        sa.MetaData(),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("campaign_id", sa.Text),
        sa.Column("streamer_id", sa.Text),
        sa.Column("amount_minor", sa.BigInteger),
    )
    table.create(engine)
    places = list(part.places())
    try:
        started = time.perf_counter()
        for place in places:
            participation = connection.database["campaignparticipations"].find_one({"_id": place.participation_id})
            assert participation is not None
            campaign = connection.database["campaigns"].find_one({"_id": participation["campaignId"]})
            assert campaign is not None
            with engine.begin() as ledger:
                row = {"campaign_id": str(place.campaign_id), "streamer_id": str(place.streamer_id)}
                key = f"payout:{place.participation_id}"
                ledger.execute(sa.insert(table), row | {"key": key, "amount_minor": PAYMENT_MINOR})
            _tell_one(connection.database, place, datetime.now(UTC))
        return time.perf_counter() - started
    finally:
        engine.dispose()
        connection.close()


def _tell_one(database: Database[Document], place: Place, now: datetime) -> None:
    database["wallets"].update_one(_wallet(place), _credited(1))
    database["campaignparticipations"].update_one(
        {"_id": place.participation_id}, {"$set": _settled(now) | _receipt(now)}
    )
    database["transactions"].insert_one({"_id": ObjectId()} | _line(place, now))
    database["gkeys"].update_many(_locked(place), _rested(now))


def in_bulk(mongodb_uri: str, database: str, part: Slice, chunk_size: int, threads_count: int) -> float:
    """The same writes as the product, in its order and its chunks, and nothing else: no read, no care; seconds."""
    connection = connect(mongodb_uri, database, wait_max_s=WAIT_MAX_S)
    places = part.places()
    chunks = []
    while chunk := list(islice(places, chunk_size)):
        chunks.append(chunk)
    try:
        with ThreadPoolExecutor(max_workers=threads_count) as threads:
            started = time.perf_counter()
            list(threads.map(lambda chunk: _tell_many(connection.database, chunk, datetime.now(UTC)), chunks))
            return time.perf_counter() - started
    finally:
        connection.close()


def _tell_many(database: Database[Document], places: Sequence[Place], now: datetime) -> None:
    participations = database["campaignparticipations"]
    participations.bulk_write(
        [UpdateOne({"_id": place.participation_id}, {"$set": _settled(now)}) for place in places], ordered=False
    )
    database["wallets"].bulk_write([UpdateOne(_wallet(place), _credited(1)) for place in places], ordered=False)
    database["transactions"].bulk_write(
        [
            UpdateOne({"_id": place.participation_id}, {"$setOnInsert": _line(place, now)}, upsert=True)
            for place in places
        ],
        ordered=False,
    )
    database["gkeys"].bulk_write([UpdateMany(_locked(place), _rested(now)) for place in places], ordered=False)
    participations.bulk_write(
        [UpdateOne({"_id": place.participation_id}, {"$set": _receipt(now)}) for place in places], ordered=False
    )


def _settled(now: datetime) -> Document:
    return {
        "status": "completed",
        "completionReason": "impressions_target_reached",
        "completedAt": now,
        "finalEarnings": PAYMENT,
    }


def _receipt(now: datetime) -> Document:
    return {"finalEarningsTransferred": True, "earningsTransferredAt": now}


def _wallet(place: Place) -> Document:
    return {"userId": str(place.streamer_id)}


def _credited(version: int) -> Document:
    stored = {"availableMinor": Int64(PAYMENT_MINOR), "heldMinor": Int64(0), "version": Int64(version)}
    return {
        "$inc": {"withdrawableBalance": PAYMENT, "balance": PAYMENT, "totalEarnings": PAYMENT},
        "$set": {f"ledger.{CURRENCY}": stored},
    }


def _line(place: Place, now: datetime) -> Document:
    return {
        "walletId": place.wallet_id,
        "userId": str(place.streamer_id),
        "transactionType": "earnings_credit",
        "amount": PAYMENT,
        "currency": CURRENCY,
        "status": "completed",
        "campaignId": place.campaign_id,
        "description": "Earnings of a campaign that was completed",
        "metadata": {
            "payoutKey": f"payout:oid:{place.participation_id}:1",
            "participationId": place.participation_id,
        },
        "processedAt": now,
        "createdBy": "payout-reconciler",
    }


def _locked(place: Place) -> Document:
    return {"userId": str(place.streamer_id), "status": "locked", "lockedWith": str(place.campaign_id)}


def _rested(now: datetime) -> Document:
    rested = {"status": "cooloff", "cooloffEndsAt": now + COOLOFF, "lastUsed": now, "lastBrandCooloffHours": 720}
    return {"$set": rested, "$inc": {"usageCount": 1}}
