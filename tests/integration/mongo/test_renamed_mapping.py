"""Every collection and field under another name: the whole way from the due query to the effects, and back."""

from __future__ import annotations

from typing import Any

from bson.objectid import ObjectId
from pymongo.database import Database

from app.parts import parts_of
from reconciler.config import load
from reconciler.config.mapping import MappingSettings
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing, missing
from tests.support.platform import Platform

Document = dict[str, Any]

SECTIONS = ("campaigns", "participations", "wallets", "transactions", "gkeys")


def _names(section: str) -> dict[str, str]:
    """Our names of a section → the platform's default names."""
    return dict(getattr(MappingSettings(), section))


def _overrides() -> dict[str, object]:
    sections = ("collections", *SECTIONS)
    return {f"mapping.{section}.{ours}": f"x_{name}" for section in sections for ours, name in _names(section).items()}


def _rename(database: Database[Document], *, back: bool) -> None:
    """Every field and collection to the other names, or back."""
    for section in SECTIONS:
        default = _names("collections")[section]
        before, after = (f"x_{default}", default) if back else (default, f"x_{default}")
        if before not in database.list_collection_names():
            continue
        renamed = {f"x_{name}" if back else name: name if back else f"x_{name}" for name in _names(section).values()}
        # One document at a time and whole: $rename refuses a name that begins another.
        documents = [
            {renamed.get(key, key): value for key, value in document.items()} for document in database[before].find()
        ]
        database[after].insert_many(documents)
        database[before].drop()


def test_other_names_work_end_to_end(
    mongo_uri: str, mongo_database: Database[Document], platform: Platform, sqlite_url: str
) -> None:
    campaign_id = platform.campaign()
    due = platform.participation(campaign_id, 2000, lastStreamDate=None)
    below = platform.participation(platform.campaign(), 1999)
    elsewhere_campaign = platform.campaign()
    elsewhere = platform.participation(elsewhere_campaign, 2000)
    platform.database["transactions"].insert_one(
        {
            "userId": str(platform.read("campaignparticipations", elsewhere)["streamerId"]),
            "campaignId": elsewhere_campaign,
            "transactionType": "earnings_credit",
        }
    )
    before = {one: platform.read("campaignparticipations", one) for one in (below, elsewhere)}
    _rename(mongo_database, back=False)
    overrides = _overrides() | {
        "mongodb.uri": mongo_uri,
        "mongodb.database": mongo_database.name,
        "ledger.url": sqlite_url,
    }

    with parts_of(load(None, {}, overrides)) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
        assert missing(parts.connection, parts.settings.mapping) == []
        result = parts.sweep.step("test")
        again = parts.sweep.step("test")
        told = parts.outbox.projected([f"oid:{due}"])
        stale = parts.projection.find_stale(told)

    assert (result.settled.paid, again.settled.paid) == (1, 0)
    assert result.settled.skipped == {"marked_paid_elsewhere": 1}
    assert (len(told), stale) == (1, {})
    assert all(name.startswith("x_") for name in mongo_database.list_collection_names())
    # Only the names of the platform's fields are the platform's; this collection is our own.
    own = "x_reconciler_state"
    kept = sorted(sorted(document) for document in mongo_database[own].find())
    assert kept == [["_id", "currency", "userId"], ["_id", "ledger_id", "sequence"]]
    for name in set(mongo_database.list_collection_names()) - {own}:
        for document in mongo_database[name].find():
            assert all(key.startswith("x_") for key in document.keys() - {"_id"}), (name, document)
    _rename(mongo_database, back=True)
    paid = platform.read("campaignparticipations", due)
    assert (paid["status"], paid["finalEarnings"], paid["finalEarningsTransferred"]) == ("completed", 3300.0, True)
    wallet = platform.wallet_of(due)
    assert (wallet["balance"], wallet["ledger"]["INR"]["version"]) == (3450.25, 1)
    [line] = mongo_database["transactions"].find({"createdBy": "payout-reconciler"})
    assert (line["amount"], line["userId"], line["walletId"]) == (3300.0, str(paid["streamerId"]), wallet["_id"])
    [key] = mongo_database["gkeys"].find({"userId": str(paid["streamerId"])})
    assert (key["status"], key["usageCount"]) == ("cooloff", 5)
    campaign = platform.read("campaigns", campaign_id)
    assert (campaign["status"], campaign["finalEarningsTransferred"]) == ("completed", 3300.0)
    assert {one: platform.read("campaignparticipations", one) for one in (below, elsewhere)} == before


def test_an_index_of_the_platforms_own_serves_whatever_its_name(
    mongo_uri: str, mongo_database: Database[Document], platform: Platform, sqlite_url: str
) -> None:
    fields = ["campaignId", "finalEarningsTransferred", "status", "impressions"]
    mongo_database["campaignparticipations"].create_index([(field, 1) for field in fields], name="theirs")
    platform.participation(platform.campaign(), 2000, _id=ObjectId())
    overrides = {"mongodb.uri": mongo_uri, "mongodb.database": mongo_database.name, "ledger.url": sqlite_url}

    with parts_of(load(None, {}, overrides)) as parts:
        upgrade(parts.engine)
        created = create_missing(parts.connection, parts.settings.mapping)
        assert "reconciler_due" not in [index.name for index in created]
        assert create_missing(parts.connection, parts.settings.mapping) == []
        assert parts.sweep.step("test").settled.paid == 1
