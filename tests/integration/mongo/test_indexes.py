"""The due query is told its index by name, whatever else the collection has; what cannot serve is named."""

from __future__ import annotations

from typing import Any

import pytest
from bson.objectid import ObjectId
from pymongo.collation import Collation
from pymongo.database import Database

from app.parts import Parts, parts_of
from reconciler.config import load
from reconciler.config.mapping import MappingSettings
from reconciler.domain.campaign import CampaignTerms
from reconciler.errors import Refused
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.connection import Connection
from reconciler.mongo.indexes import create_missing, due_fields, due_index, ignored, missing
from tests.support.platform import Platform

Document = dict[str, Any]

MAPPING = MappingSettings()
KEYS = [(field, 1) for field in due_fields(MAPPING)]
OTHERS: dict[str, Document] = {
    "partial": {"partialFilterExpression": {"impressions": {"$gt": 5}}},
    "sparse": {"sparse": True},
    "of another collation": {"collation": Collation(locale="en", strength=2)},
}


@pytest.fixture
def parts(mongo_uri: str, mongo_database: Database[Document], sqlite_url: str) -> Any:
    servers = {"mongodb.uri": mongo_uri, "mongodb.database": mongo_database.name, "ledger.url": sqlite_url}
    with parts_of(load(None, {}, servers)) as parts:
        upgrade(parts.engine)
        yield parts


def paid(parts: Parts, platform: Platform) -> int:
    platform.participation(platform.campaign(), 2000)
    paid: int = parts.sweep.step("test").settled.paid
    return paid


@pytest.mark.parametrize("what", OTHERS)
def test_a_second_index_of_the_same_fields_is_no_obstacle_and_is_named(
    parts: Parts, platform: Platform, mongo_connection: Connection, what: str
) -> None:
    platform.database["campaignparticipations"].create_index(KEYS, name="theirs", **OTHERS[what])

    assert ignored(mongo_connection, MAPPING) == [f"the index theirs of these fields is {what}"]
    assert due_index(mongo_connection, MAPPING) is None
    create_missing(mongo_connection, MAPPING)

    assert missing(mongo_connection, MAPPING) == []
    assert due_index(mongo_connection, MAPPING) == "reconciler_due"
    assert paid(parts, platform) == 1


def test_a_hidden_index_is_not_used_and_migrate_says_what_to_do(
    parts: Parts, platform: Platform, mongo_connection: Connection
) -> None:
    collection = platform.database["campaignparticipations"]
    collection.create_index(KEYS, name="theirs", hidden=True)

    assert due_index(mongo_connection, MAPPING) is None
    assert paid(parts, platform) == 1
    with pytest.raises(Refused, match=r"reconciler_due.*the index theirs of these fields is hidden.*Unhide or drop"):
        create_missing(mongo_connection, MAPPING)
    # The others are made all the same.
    assert [index.name for index in missing(mongo_connection, MAPPING)] == ["reconciler_due"]

    platform.database.command({"collMod": collection.name, "index": {"name": "theirs", "hidden": False}})
    assert create_missing(mongo_connection, MAPPING) == []
    assert due_index(mongo_connection, MAPPING) == "theirs"


def test_our_name_on_other_fields_is_said(platform: Platform, mongo_connection: Connection) -> None:
    platform.database["campaignparticipations"].create_index([("clicks", -1)], name="reconciler_due")

    with pytest.raises(Refused, match=r"reconciler_due.*same name"):
        create_missing(mongo_connection, MAPPING)


def test_the_platforms_own_index_serves_by_its_name(
    parts: Parts, platform: Platform, mongo_connection: Connection
) -> None:
    platform.database["campaignparticipations"].create_index(KEYS, name="theirs", unique=False)

    assert "reconciler_due" not in [index.name for index in create_missing(mongo_connection, MAPPING)]
    assert due_index(mongo_connection, MAPPING) == "theirs"
    assert paid(parts, platform) == 1


def test_an_index_that_goes_while_a_sweep_runs_makes_it_slower_only(
    parts: Parts, platform: Platform, mongo_connection: Connection
) -> None:
    create_missing(mongo_connection, MAPPING)
    participation_id = platform.participation(platform.campaign(), 2000)
    [page] = parts.facts.paying_campaigns()
    platform.database["campaignparticipations"].drop_index("reconciler_due")

    [candidates] = parts.facts.candidates([one for one in page if isinstance(one, CampaignTerms)], 10)

    assert [str(one) for one in candidates] == [str(participation_id)]


def test_a_collection_whose_text_is_equal_whatever_its_case_loses_nobody(
    parts: Parts, platform: Platform, mongo_connection: Connection
) -> None:
    for name in ("campaigns", "campaignparticipations", "transactions"):
        platform.database.create_collection(name, collation={"locale": "en", "strength": 2})
    create_missing(mongo_connection, MAPPING)
    assert missing(mongo_connection, MAPPING) == []
    assert due_index(mongo_connection, MAPPING) == "reconciler_due"
    campaign_id = platform.campaign(_id="Campaign")
    platform.participation(campaign_id, 2000, _id="p", streamerId="Someone")
    # Nobody's credit line is taken for another one's.
    line = {"userId": "SOMEONE", "campaignId": "CAMPAIGN", "transactionType": "earnings_credit"}
    platform.database["transactions"].insert_one(line)

    assert parts.sweep.step("test").settled.paid == 1


@pytest.mark.parametrize("kind", ["view", "timeseries"])
def test_what_is_no_collection_is_refused_by_name(
    mongo_connection: Connection, mongo_database: Database[Document], kind: str
) -> None:
    mongo_database["other"].insert_one({"_id": ObjectId()})
    options: Document = {"viewOn": "other", "pipeline": []} if kind == "view" else {"timeseries": {"timeField": "t"}}
    mongo_database.create_collection("campaignparticipations", **options)

    for look in (missing, create_missing):
        with pytest.raises(Refused, match=rf"campaignparticipations is a {kind}, not a collection"):
            look(mongo_connection, MAPPING)
