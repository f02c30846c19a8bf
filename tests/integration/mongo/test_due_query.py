"""The due query: it finds all that may be due and what is no number, and costs little when there is nothing.

Keys are counted by MongoDB's own explain of the very command that was sent; time would prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.code import Code
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from pymongo.database import Database

from reconciler.clock import utc_now
from reconciler.config.mapping import MappingSettings
from reconciler.domain.campaign import Campaign, CampaignDefaults, CampaignTerms, MalformedCampaign
from reconciler.domain.ids import DocumentId
from reconciler.mongo.connection import Connection
from reconciler.mongo.facts import CAMPAIGNS_A_QUERY_MAX, FactsReader
from reconciler.mongo.indexes import create_missing
from tests.support.listening import Commands, explained, listening_to
from tests.support.platform import ABSENT, Platform

Document = dict[str, Any]

KEYS_A_CLAUSE_MAX = 3
CAMPAIGNS = 200
PARTICIPATIONS = 20_000


@pytest.fixture
def heard(mongo_connection: Connection, mongo_uri: str) -> Iterator[tuple[FactsReader, Commands]]:
    """A reader with the indexes in place, and what it sends."""
    create_missing(mongo_connection, MappingSettings())
    with listening_to(mongo_connection, mongo_uri) as (connection, commands):
        yield _reader(connection), commands


@pytest.fixture
def reader(heard: tuple[FactsReader, Commands]) -> FactsReader:
    return heard[0]


def _reader(connection: Connection) -> FactsReader:
    defaults = CampaignDefaults(currency="INR", fixed_impressions_per_unit=1000)
    return FactsReader(connection, MappingSettings(), defaults, clock=utc_now)


def _terms(page: list[Campaign]) -> list[CampaignTerms]:
    return [one for one in page if isinstance(one, CampaignTerms)]


def _all_terms(reader: FactsReader) -> list[CampaignTerms]:
    return [terms for page in reader.paying_campaigns() for terms in _terms(list(page))]


def _found(reader: FactsReader, page_size: int = 1000) -> list[str]:
    """The candidates of every paying campaign, by plain identity."""
    return [
        one.value if isinstance(one, DocumentId) else one.shown_id
        for page in reader.paying_campaigns()
        for candidates in reader.candidates(_terms(list(page)), page_size)
        for one in candidates
    ]


def _populate(database: Database[Document], *, paid_every: int | None) -> None:
    """Campaigns with a target of 2,000 and participations below it; each ``paid_every``-th past it, and paid."""
    campaigns = [
        {
            "_id": ObjectId(),
            "brandId": "b",
            "status": "active",
            "paymentType": "cpm",
            "paymentRate": 1650,
            "budget": 3300,
        }
        for _ in range(CAMPAIGNS)
    ]
    transferred: tuple[Document, ...] = ({}, {"finalEarningsTransferred": False})
    participations: list[Document] = []
    for number in range(PARTICIPATIONS):
        participation: Document = {
            "campaignId": campaigns[number % CAMPAIGNS]["_id"],
            "streamerId": f"s{number}",
            "status": "active",
            "impressions": number // CAMPAIGNS * 13,
        } | transferred[number // CAMPAIGNS % 2]
        if paid_every and number // CAMPAIGNS % paid_every == 0:
            participation |= {"status": "completed", "impressions": 2500, "finalEarningsTransferred": True}
        participations.append(participation)
    database["campaigns"].insert_many(campaigns)
    database["campaignparticipations"].insert_many(participations)


def _stages(plan: Any) -> list[Document]:
    """Every stage of a plan, whatever it is nested in."""
    if isinstance(plan, list):
        return [stage for part in plan for stage in _stages(part)]
    if not isinstance(plan, dict):
        return []
    own = [plan] if "stage" in plan else []
    return own + [stage for part in plan.values() for stage in _stages(part)]


@pytest.mark.parametrize("paid_every", [None, 2], ids=["none paid", "half of them paid"])
def test_with_nothing_due_a_few_keys_a_campaign_are_examined_and_no_document(
    heard: tuple[FactsReader, Commands], mongo_database: Database[Document], paid_every: int | None
) -> None:
    reader, commands = heard
    _populate(mongo_database, paid_every=paid_every)

    assert _found(reader) == []

    [command] = commands.named("find", "campaignparticipations")
    assert len(command["filter"]["$or"]) == 2 * CAMPAIGNS
    answer = explained(mongo_database, command)
    stats = answer["executionStats"]
    assert stats["totalDocsExamined"] == 0
    assert stats["totalKeysExamined"] <= KEYS_A_CLAUSE_MAX * 2 * CAMPAIGNS
    stages = _stages(answer["queryPlanner"]["winningPlan"])
    assert {stage["indexName"] for stage in stages if stage["stage"] == "IXSCAN"} == {"reconciler_due"}
    assert "COLLSCAN" not in {stage["stage"] for stage in stages}


def test_the_index_is_asked_for_by_name_so_that_no_other_can_be_chosen(
    heard: tuple[FactsReader, Commands], platform: Platform
) -> None:
    reader, commands = heard
    platform.participation(platform.campaign(), 2000)

    assert len(_found(reader)) == 1

    [command] = commands.named("find", "campaignparticipations")
    assert command["hint"] == "reconciler_due"
    # By the collation that a collection may have, the index would be read whole.
    assert command["collation"] == {"locale": "simple"}
    assert command["readConcern"]["level"] == "majority"


def test_one_array_among_the_counters_does_not_make_the_query_dear(
    heard: tuple[FactsReader, Commands], mongo_database: Database[Document]
) -> None:
    # An array makes the whole index a multikey one, which changes how its bounds may be used.
    reader, commands = heard
    _populate(mongo_database, paid_every=2)
    campaign = mongo_database["campaigns"].find_one({})
    assert campaign is not None
    mongo_database["campaignparticipations"].insert_one(
        {"campaignId": campaign["_id"], "streamerId": "s", "status": "active", "impressions": [1, 2]}
    )

    _found(reader)

    [command] = commands.named("find", "campaignparticipations")
    stats = explained(mongo_database, command)["executionStats"]
    assert stats["totalKeysExamined"] <= KEYS_A_CLAUSE_MAX * 2 * CAMPAIGNS + 10
    assert stats["totalDocsExamined"] <= 10


@pytest.mark.parametrize(
    "impressions",
    [
        2000, 2001, Int64(2000), 2000.0, Decimal128("2000"), 10**15, Int64(2**62), float("inf"), Decimal128("Infinity"),
        float("nan"), Decimal128("NaN"), float("-inf"), -1, -0.5, Int64(-(2**62)), Decimal128("-3"),
        None, ABSENT, True, False, "", "2500", "1999", "-1", "many", {}, {"count": 5}, [], ObjectId("6" * 24), b"5",
        datetime(2026, 1, 1, tzinfo=UTC), Regex("5"), Timestamp(5, 1), Code("5"), MinKey(), MaxKey(),
    ],
    ids=repr,
)  # fmt: skip
def test_what_may_be_due_or_is_no_number_is_found(reader: FactsReader, platform: Platform, impressions: Any) -> None:
    found = platform.participation(platform.campaign(), impressions)

    assert _found(reader) == [str(found)]


@pytest.mark.parametrize("impressions", [1999, 0, -0.0, 1999.99, Int64(3), Decimal128("1999.5")], ids=repr)
def test_below_the_target_is_left_out(reader: FactsReader, platform: Platform, impressions: Any) -> None:
    platform.participation(platform.campaign(), impressions)

    assert _found(reader) == []


@pytest.mark.parametrize(
    ("fields", "is_found"),
    [
        ({"status": "active"}, True),
        ({"status": "completed"}, True),
        ({"status": "paused"}, False),
        ({"status": "removed"}, False),
        ({"finalEarningsTransferred": True}, False),
        ({"finalEarningsTransferred": False}, True),
        ({"finalEarningsTransferred": None}, True),
        ({"finalEarningsTransferred": "true"}, True),
        ({"finalEarningsTransferred": 1}, True),
    ],
)
def test_paid_and_inactive_ones_are_left_out(
    reader: FactsReader, platform: Platform, fields: Document, is_found: bool
) -> None:
    participation_id = platform.participation(platform.campaign(), 2000, **fields)

    assert _found(reader) == ([str(participation_id)] if is_found else [])


@pytest.mark.parametrize(
    ("status", "is_found"), [("active", True), ("completed", True), ("paused", False), ("draft", False)]
)
def test_only_campaigns_that_pay_are_asked_about(
    reader: FactsReader, platform: Platform, status: str, is_found: bool
) -> None:
    platform.participation(platform.campaign(status=status), 2000)

    assert len(_found(reader)) == int(is_found)


def test_a_string_does_not_match_an_object_id_of_the_same_hex(reader: FactsReader, platform: Platform) -> None:
    platform.participation(str(platform.campaign()), 2000)

    assert _found(reader) == []


@pytest.mark.parametrize("fields", [{"paymentRate": 1e-9, "budget": 90_000_000_000}, {"targetImpressions": 2.0**200}])
def test_a_target_beyond_what_the_ledger_can_hold_is_malformed(
    reader: FactsReader, platform: Platform, fields: Document
) -> None:
    platform.participation(platform.campaign(**fields), 10**12)

    [[campaign]] = reader.paying_campaigns()
    assert isinstance(campaign, MalformedCampaign)
    assert [problem.field for problem in campaign.problems] == ["target_impressions"]
    assert _found(reader) == []


def test_the_largest_target_is_compared_exactly(reader: FactsReader, platform: Platform) -> None:
    campaign_id = platform.campaign(targetImpressions=10**12)
    platform.participation(campaign_id, 10**12 - 1)
    at_target = platform.participation(campaign_id, 10**12)

    assert _found(reader) == [str(at_target)]


def test_pages_are_in_the_order_of_the_identity_with_both_types_mixed(reader: FactsReader, platform: Platform) -> None:
    campaigns = [platform.campaign(), platform.campaign(_id="a campaign")]
    raw: list[Any] = [ObjectId() for _ in range(7)] + [f"p{number}" for number in range(6)]
    for number, participation_id in enumerate([*raw[::2], *raw[1::2]]):
        platform.participation(campaigns[number % 2], 2000 + number, _id=participation_id)

    pages = list(reader.candidates(_all_terms(reader), page_size=5))

    assert [len(page) for page in pages] == [5, 5, 3]
    expected = [f"p{number}" for number in range(6)] + [str(one) for one in raw[:7]]
    assert [str(one) for page in pages for one in page] == expected


def test_more_campaigns_than_one_query_takes(
    heard: tuple[FactsReader, Commands], platform: Platform, mongo_database: Database[Document]
) -> None:
    reader, commands = heard
    campaign_ids = [f"c{number:04}" for number in range(2 * CAMPAIGNS_A_QUERY_MAX + 203)]
    for campaign_id in campaign_ids:
        platform.campaign(_id=campaign_id)
    mongo_database["campaignparticipations"].insert_many(
        {"_id": f"p-{one}", "campaignId": one, "streamerId": "s", "status": "active", "impressions": 2000}
        for one in campaign_ids
    )

    assert sorted(_found(reader)) == [f"p-{one}" for one in campaign_ids]
    sizes = [len(command["filter"]["$or"]) for command in commands.named("find", "campaignparticipations")]
    assert sizes == [2 * CAMPAIGNS_A_QUERY_MAX, 2 * CAMPAIGNS_A_QUERY_MAX, 406]


def test_no_campaigns_ask_nothing(heard: tuple[FactsReader, Commands]) -> None:
    reader, commands = heard

    assert list(reader.candidates([], 10)) == []
    assert commands.sent == []
