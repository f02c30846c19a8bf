"""What a full check compares: a platform of which a fifth is paid, the bare reads of it, and other ways to compare."""

from __future__ import annotations

import csv
import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pymongo import MongoClient
from pymongo.database import Database

from benchmarks.support.platform import CAMPAIGNS_COUNT, RATE, TARGET, brand_id
from reconciler.clock import utc_now
from reconciler.comparison.partition import compare
from reconciler.config.mapping import MappingSettings
from reconciler.devstack.documents import Document, Forge
from reconciler.domain.campaign import CampaignDefaults
from reconciler.domain.decision import Policy, Rule
from reconciler.domain.earnings import Overdelivery
from reconciler.domain.ids import DocumentId
from reconciler.domain.rederivation import PayoutRow
from reconciler.ledger.engine import open_engine
from reconciler.ledger.reads.population import SqlPopulationReads
from reconciler.ledger.schema import payouts
from reconciler.mongo.connection import connect
from reconciler.mongo.facts import FactsReader
from reconciler.mongo.scanning import MongoFactScan

PAID_EVERY = 5
PARTITION_SIZE = 100_000
_INSERT_BATCH_SIZE = 5_000
_FORGE = Forge(seed=1, now=utc_now())
_PROJECTED = (
    "campaignId", "streamerId", "status", "impressions", "earningsForfeited", "finalEarningsTransferred",
    "completionReason", "finalEarnings",
)  # fmt: skip
_POLICY = Policy(overdelivery=Overdelivery.CAP_AT_TARGET, rules=frozenset({Rule.IMPRESSIONS_TARGET_REACHED}))


def load(uri: str, database: str, participations: int) -> None:
    """Insert the platform: every fifth participation is due, and its streamer has a wallet and two G-keys."""
    with MongoClient[Document](uri) as client:
        target = client[database]
        budget = RATE * TARGET / 1_000 * (participations // CAMPAIGNS_COUNT + 2)
        _insert(target, "campaigns", _campaigns(budget))
        _insert(target, "campaignparticipations", _participations(participations))
        due = participations // PAID_EVERY
        _insert(target, "wallets", (_wallet(number) for number in range(_streamers(due))))
        _insert(target, "gkeys", _gkeys(due))
        target["wallets"].create_index("userId", unique=True)


def raw_reads(uri: str, database: str, ledger_url: str) -> dict[str, float]:
    """Seconds of reading what a check compares, and doing nothing with it."""
    seconds: dict[str, float] = {}
    connection = connect(uri, database, wait_max_s=15)
    for name, collection, fields in (
        ("participations", "campaignparticipations", _PROJECTED),
        ("wallets", "wallets", ("userId", "walletType", "ledger", "withdrawableBalance")),
        ("transactions", "transactions", ("amount",)),
        ("gkeys", "gkeys", ("userId", "status", "lockedWith", "lockedAt")),
    ):
        began = time.perf_counter()
        with connection.database[collection].find({}, dict.fromkeys(fields, 1), sort=[("_id", 1)]) as cursor:
            for _ in cursor:
                pass
        seconds[name] = time.perf_counter() - began
    engine = open_engine(ledger_url)
    columns = [payouts.c[name] for name in PayoutRow._fields if name not in ("share_minor", "outbox_status")]
    began = time.perf_counter()
    with engine.connect() as ledger:
        result = ledger.execute(sa.select(*columns), execution_options={"stream_results": True})
        for _ in result.partitions(10_000):
            pass
    seconds["payouts"] = time.perf_counter() - began
    engine.dispose()
    connection.close()
    return seconds


def facts_against_payouts(uri: str, database: str, ledger_url: str) -> float:
    """Seconds of the product's comparison of all participations with all payouts, without effects and integrity."""
    connection, engine = connect(uri, database, wait_max_s=15), open_engine(ledger_url)
    mapping, matched = MappingSettings(), 0
    facts = FactsReader(
        connection, mapping, CampaignDefaults(currency="INR", fixed_impressions_per_unit=1000), clock=utc_now
    )
    reads = SqlPopulationReads(engine)
    began = time.perf_counter()
    scan = MongoFactScan(connection, mapping, clock=utc_now)
    with scan.partitions(PARTITION_SIZE, campaign_id=None, after=None) as partitions:
        for scanned in partitions:
            ledger = reads.partition(scanned, None)
            ids = sorted(set(scanned.columns.campaign_ids))
            terms = facts.campaigns([DocumentId.from_tagged(one) for one in ids])
            compared = compare(scanned.columns, ledger, terms, _POLICY, cut=10**15)
            assert not compared.remarkable and not compared.orphans
            matched += len(compared.paid.participation_ids)
    seconds = time.perf_counter() - began
    assert matched
    engine.dispose()
    connection.close()
    return seconds


def look_up_one_by_one(uri: str, database: str, ledger_url: str, count: int) -> float:
    """Seconds of asking the ledger about so many participations, one after the other."""
    connection, engine = connect(uri, database, wait_max_s=15), open_engine(ledger_url)
    documents = connection.database["campaignparticipations"].find({}, {"_id": 1}).limit(count * 5)
    ids = random.Random(1).sample([document["_id"] for document in documents], count)
    query = sa.select(payouts.c.gross_minor).where(payouts.c.participation_id == sa.bindparam("id"))
    began = time.perf_counter()
    with engine.connect() as ledger:
        for one in ids:
            ledger.execute(query, {"id": f"oid:{one}"}).one_or_none()
    seconds = time.perf_counter() - began
    engine.dispose()
    connection.close()
    return seconds


def write_frames(uri: str, database: str, ledger_url: str, folder: str) -> list[str]:
    """Both sides as CSV, for programs with a pandas of their own: identity, streamer and amount in major units."""
    connection, engine = connect(uri, database, wait_max_s=15), open_engine(ledger_url)
    shown, posted = (str(Path(folder) / name) for name in ("documents.csv", "payouts.csv"))
    with Path(shown).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("participation_id", "streamer_id", "amount"))
        for one in connection.database["campaignparticipations"].find({}, dict.fromkeys(_PROJECTED, 1)):
            writer.writerow((one["_id"], one["streamerId"], one.get("finalEarnings")))
    with Path(posted).open("w", newline="") as file, engine.connect() as ledger:
        writer = csv.writer(file)
        writer.writerow(("participation_id", "streamer_id", "amount"))
        for row in ledger.execute(sa.select(payouts.c.participation_id, payouts.c.streamer_id, payouts.c.amount_minor)):
            writer.writerow((row[0].removeprefix("oid:"), row[1], row[2] / 100))
    engine.dispose()
    connection.close()
    return [shown, posted]


def _streamers(due: int) -> int:
    return max(due // 4, 100) | 1


def _campaigns(budget: float) -> Iterator[Document]:
    for number in range(CAMPAIGNS_COUNT):
        yield _FORGE.campaign(
            _FORGE.object_id("campaign", number),
            title=f"Campaign {number}",
            brandId=brand_id(),
            paymentRate=RATE,
            budget=budget,
            targetImpressions=TARGET,
            endDate=None,
        )


def _participations(count: int) -> Iterator[Document]:
    for number in range(count):
        is_due, turn = number % PAID_EVERY == 0, number // PAID_EVERY
        streamer = (
            _FORGE.object_id("streamer", turn % _streamers(count // PAID_EVERY))
            if is_due
            else _FORGE.object_id("streamer-below", number)
        )
        yield _FORGE.participation(
            _FORGE.object_id("participation", number),
            campaignId=_FORGE.object_id("campaign", (turn if is_due else number) % CAMPAIGNS_COUNT),
            streamerId=streamer,
            impressions=TARGET + 17 if is_due else number % TARGET // 100,
            browserSourceToken=str(number),
        )


def _wallet(number: int) -> Document:
    return _FORGE.wallet(_FORGE.object_id("wallet", number), _FORGE.object_id("streamer", number), balance=150.25)


def _gkeys(due: int) -> Iterator[Document]:
    for number in range(due):
        streamer = _FORGE.object_id("streamer", number % _streamers(due))
        campaign = _FORGE.object_id("campaign", number % CAMPAIGNS_COUNT)
        yield _FORGE.gkey(
            _FORGE.object_id("gkey", 2 * number), streamer, category="music", **_FORGE.locked_by(campaign)
        )
        yield _FORGE.gkey(_FORGE.object_id("gkey", 2 * number + 1), streamer, category="travel")


def _insert(database: Database[Any], collection: str, documents: Iterator[Document]) -> None:
    while batch := list(islice(documents, _INSERT_BATCH_SIZE)):
        database[collection].insert_many(batch, ordered=False)
