"""The floor under the watch: watches, reads again, commits one payout with its postings, and decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from bson.objectid import ObjectId
from pymongo import MongoClient

from benchmarks.support.platform import PAYMENT_MINOR

Document = dict[str, Any]

TABLES = """
CREATE TABLE IF NOT EXISTS bare_payouts (payout_key text PRIMARY KEY, campaign text, streamer text, amount bigint);
CREATE TABLE IF NOT EXISTS bare_postings (payout_key text, leg int, account text, amount bigint,
                                          PRIMARY KEY (payout_key, leg));
CREATE TABLE IF NOT EXISTS bare_accounts (account text PRIMARY KEY, balance bigint NOT NULL);
"""
PAY = (
    "INSERT INTO bare_payouts VALUES (%(key)s, %(campaign)s, %(streamer)s, %(amount)s)",
    "INSERT INTO bare_postings VALUES (%(key)s, 0, %(campaign)s, -%(amount)s), (%(key)s, 1, %(streamer)s, %(amount)s)",
    """INSERT INTO bare_accounts VALUES (%(campaign)s, -%(amount)s)
       ON CONFLICT (account) DO UPDATE SET balance = bare_accounts.balance + excluded.balance""",
    """INSERT INTO bare_accounts VALUES (%(streamer)s, %(amount)s)
       ON CONFLICT (account) DO UPDATE SET balance = bare_accounts.balance + excluded.balance""",
)


def watch(uri: str, database: str, ledger_url: str, payouts_count: int, ready: Path) -> None:
    """Pay so many participations as they change, each once. ``ready``: a file that is made when it watches."""
    paid = 0
    url = ledger_url.replace("+psycopg", "")
    with MongoClient[Document](uri) as client, psycopg.connect(url, autocommit=True) as ledger:
        ledger.execute(TABLES)
        tables = client[database]
        pipeline: list[Document] = [
            {"$match": {"operationType": "update"}},
            {"$project": {"_id": 1, "operationType": 1, "documentKey": 1}},
        ]
        with tables["campaignparticipations"].watch(pipeline) as stream:
            ready.touch()
            while paid < payouts_count:
                change = stream.next()
                _pay(ledger, tables, change["documentKey"]["_id"])
                paid += 1


def _pay(ledger: psycopg.Connection[Any], tables: Any, participation_id: ObjectId) -> None:
    participation = tables["campaignparticipations"].find_one({"_id": participation_id})
    campaign = tables["campaigns"].find_one({"_id": participation["campaignId"]})
    values = {
        "key": str(participation_id),
        "campaign": str(campaign["_id"]),
        "streamer": str(participation["streamerId"]),
        "amount": PAYMENT_MINOR,
    }
    with ledger.pipeline(), ledger.transaction():
        for statement in PAY:
            ledger.execute(statement, values)
