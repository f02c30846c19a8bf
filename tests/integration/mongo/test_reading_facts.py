"""Reading facts: from one snapshot, whatever the documents look like, and no more of them than is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database

from app.parts import parts_of
from reconciler.clock import utc_now
from reconciler.config import load
from reconciler.config.mapping import MappingSettings
from reconciler.devstack.mongod import MongodOptions
from reconciler.domain.campaign import Campaign, CampaignDefaults, CampaignTerms, MalformedCampaign
from reconciler.domain.ids import ID_LENGTH_MAX, DocumentId, IdKind
from reconciler.domain.parsing import Unreadable
from reconciler.domain.participation import MalformedParticipation, Participation
from reconciler.errors import Outage
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.connection import Connection, connect
from reconciler.mongo.facts import FactsReader
from reconciler.mongo.indexes import create_missing
from tests.support.listening import listening_to
from tests.support.platform import Platform
from tests.support.projecting import document_id
from tests.support.servers import ReplicaSet

Document = dict[str, Any]

FAR = DatetimeMS(2**60)
"""A date beyond the year 9999, which Python's datetime cannot hold."""


@pytest.fixture
def reader(mongo_connection: Connection) -> FactsReader:
    return _reader(mongo_connection)


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("standalone"), MongodOptions(standalone=True)) as server:
        yield server


@pytest.fixture
def standalone_database(standalone: ReplicaSet) -> Iterator[Database[Document]]:
    with MongoClient[Document](standalone.uri, tz_aware=True) as client:
        database = client[f"test_{ObjectId()}"]
        yield database
        client.drop_database(database.name)


def _reader(connection: Connection) -> FactsReader:
    defaults = CampaignDefaults(currency="INR", fixed_impressions_per_unit=1000)
    return FactsReader(connection, MappingSettings(), defaults, clock=utc_now)


def _written_between(
    monkeypatch: pytest.MonkeyPatch, reader: FactsReader, database: Database[Document], campaign_id: Any, *, call: int
) -> None:
    """Change a campaign's budget just before the reader reads campaigns for the ``call``-th time."""
    original, calls = reader._campaigns_of, iter(range(1, 10))

    def change_and_read(
        participations: Sequence[Participation | MalformedParticipation], session: ClientSession | None
    ) -> dict[str, Campaign]:
        if next(calls) == call:
            database["campaigns"].update_one({"_id": campaign_id}, {"$set": {"budget": 1}})
        return original(participations, session)

    monkeypatch.setattr(reader, "_campaigns_of", change_and_read)


def _budget_minor(campaign: Campaign) -> int:
    assert isinstance(campaign, CampaignTerms)
    return campaign.budget_minor


def _with_broken_text(document: Document, text: str) -> RawBSONDocument:
    """The document with bytes that are no UTF-8 in place of some text of four letters or more."""
    encoded, letters = bson.encode(document), text.encode()
    assert encoded.count(letters) == 1
    return RawBSONDocument(encoded.replace(letters, b"\xff\xfe" + letters[2:]))


def test_a_participation_and_its_campaign_are_of_the_same_moment(
    reader: FactsReader, platform: Platform, mongo_database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = platform.campaign()
    participation_id = platform.participation(campaign_id, 2000)
    _written_between(monkeypatch, reader, mongo_database, campaign_id, call=1)

    page = reader.read([document_id(participation_id)])

    assert platform.read("campaigns", campaign_id)["budget"] == 1
    assert [_budget_minor(campaign) for campaign in page.campaigns.values()] == [330_000]
    assert [one.participation_id for one in page.participations] == [document_id(participation_id)]


def test_identities_that_no_document_has_are_missing(reader: FactsReader, platform: Platform) -> None:
    there = platform.participation(platform.campaign(), 2000)
    of_other_type = DocumentId(IdKind.STRING, str(there))
    unknown = document_id(ObjectId())

    page = reader.read([unknown, document_id(there), of_other_type])

    assert page.missing == [unknown, of_other_type]
    assert len(page.participations) == 1


def test_a_campaign_of_another_type_of_identity_is_not_the_one(reader: FactsReader, platform: Platform) -> None:
    participation_id = platform.participation(str(platform.campaign()), 2000)

    assert reader.read([document_id(participation_id)]).campaigns == {}


def test_deciding_reads_are_snapshots_and_ask_for_no_secret(
    mongo_connection: Connection, mongo_uri: str, platform: Platform
) -> None:
    participation_id = platform.participation(platform.campaign(), 2000)
    create_missing(mongo_connection, MappingSettings())

    with listening_to(mongo_connection, mongo_uri) as (connection, commands):
        reader = _reader(connection)
        reader.read([document_id(participation_id)])
        for campaigns in reader.paying_campaigns():
            list(reader.candidates([one for one in campaigns if isinstance(one, CampaignTerms)], 10))
        list(reader.pages(10))
        reader.credited_elsewhere([(document_id(ObjectId()), "s")])

    levels = [command["readConcern"]["level"] for command in commands.sent]
    assert levels == ["snapshot", "snapshot", "majority", "majority", "majority", "majority", "majority"]
    projections = [command["projection"] for command in commands.sent]
    assert len(projections) == 7
    for projection in projections:
        assert set(projection.values()) == {1}
        assert "browserSourceToken" not in projection


def test_a_standalone_server_is_read_without_snapshots(
    standalone: ReplicaSet, standalone_database: Database[Document]
) -> None:
    platform = Platform(standalone_database)
    participation_id = platform.participation(platform.campaign(), 2000)
    connection = connect(standalone.uri, standalone_database.name, wait_max_s=10)

    page = _reader(connection).read([document_id(participation_id)])
    connection.close()

    assert [one.participation_id for one in page.participations] == [document_id(participation_id)]
    assert [_budget_minor(campaign) for campaign in page.campaigns.values()] == [330_000]


def test_on_a_standalone_server_a_campaign_that_moves_meanwhile_is_left_for_later(
    standalone: ReplicaSet, standalone_database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = Platform(standalone_database)
    moving, still = platform.campaign(), platform.campaign()
    moved = platform.participation(moving, 2000)
    stayed = platform.participation(still, 2000)
    unreadable = platform.participation(5, 2000)
    connection = connect(standalone.uri, standalone_database.name, wait_max_s=10)
    reader = _reader(connection)
    _written_between(monkeypatch, reader, standalone_database, moving, call=2)

    page = reader.read([document_id(one) for one in (moved, stayed, unreadable)])
    connection.close()

    assert [one.participation_id for one in page.participations] == [document_id(stayed), document_id(unreadable)]
    assert page.missing == []


def test_a_sweep_pays_on_a_standalone_server(
    standalone: ReplicaSet, standalone_database: Database[Document], sqlite_url: str
) -> None:
    platform = Platform(standalone_database)
    participation_id = platform.participation(platform.campaign(), 2000)
    overrides = {"mongodb.uri": standalone.uri, "mongodb.database": standalone_database.name, "ledger.url": sqlite_url}

    with parts_of(load(None, {}, overrides)) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
        assert [parts.sweep.step("test").settled.paid for _ in range(2)] == [1, 0]

    assert platform.wallet_of(participation_id)["balance"] == 3450.25


@pytest.mark.parametrize(
    "raw_id",
    [
        7,
        Int64(2**60),
        2.5,
        float("nan"),
        True,
        "",
        "x" * (ID_LENGTH_MAX + 1),
        "y" * 900,
        "with\x00NUL",
        {"tenant": 1, "list": [1, {"deep": [2]}]},
        Binary(b"0123456789abcdef", 4),
        FAR,
        None,
    ],
    ids=lambda raw_id: repr(raw_id)[:30],
)
def test_an_identity_of_an_odd_type_is_named_and_stops_nobody(
    reader: FactsReader, mongo_connection: Connection, platform: Platform, raw_id: Any
) -> None:
    create_missing(mongo_connection, MappingSettings())
    campaign_id = platform.campaign()
    platform.participation(campaign_id, 2000, _id=raw_id)
    good = platform.participation(campaign_id, 2000)
    terms = [one for page in reader.paying_campaigns() for one in page if isinstance(one, CampaignTerms)]

    [candidates] = reader.candidates(terms, 10)
    [page] = reader.pages(10)

    for found in (candidates, page.participations):
        [malformed] = [one for one in found if isinstance(one, MalformedParticipation)]
        assert malformed.participation_id is None
        assert 0 < len(malformed.shown_id) <= 120
        assert malformed.problems[0].field == "id"
    assert document_id(good) in candidates
    assert document_id(good) in [one.participation_id for one in page.participations]


@pytest.mark.parametrize("field", ["campaignId", "streamerId"])
@pytest.mark.parametrize(
    "value",
    [
        5,
        None,
        "",
        {"$oid": "5"},
        [ObjectId("64b0000000000000000000ab")],
        float("nan"),
        FAR,
        "z" * (ID_LENGTH_MAX + 1),
        True,
    ],
    ids=repr,
)
def test_a_reference_of_a_wrong_type_is_named_and_stops_nobody(
    reader: FactsReader, platform: Platform, field: str, value: Any
) -> None:
    campaign_id = platform.campaign()
    odd = platform.participation(campaign_id, 2000)
    platform.database["campaignparticipations"].update_one({"_id": odd}, {"$set": {field: value}})
    good = platform.participation(campaign_id, 2000)

    page = reader.read([document_id(odd), document_id(good)])

    [malformed] = [one for one in page.participations if isinstance(one, MalformedParticipation)]
    assert malformed.participation_id == document_id(odd)
    assert malformed.shown_id == str(odd)
    assert [problem.field for problem in malformed.problems] == [
        {"campaignId": "campaign_id", "streamerId": "streamer_id"}[field]
    ]
    assert [one.participation_id for one in page.participations if isinstance(one, Participation)] == [
        document_id(good)
    ]


def test_a_date_out_of_range_is_malformed_and_stops_nobody(reader: FactsReader, platform: Platform) -> None:
    campaign_id = platform.campaign()
    odd = platform.participation(campaign_id, FAR, lastStreamDate=FAR)
    good = platform.participation(campaign_id, 2000)
    odd_campaign = platform.campaign(budget=FAR)
    of_odd_campaign = platform.participation(odd_campaign, 2000)

    page = reader.read([document_id(one) for one in (odd, good, of_odd_campaign)])

    impressions = {
        one.participation_id: one.impressions for one in page.participations if isinstance(one, Participation)
    }
    assert isinstance(impressions[document_id(odd)], Unreadable)
    assert impressions[document_id(good)] == 2000
    malformed = page.campaigns[document_id(odd_campaign).tagged]
    assert isinstance(malformed, MalformedCampaign)
    assert [problem.field for problem in malformed.problems] == ["budget"]
    assert isinstance(page.campaigns[document_id(campaign_id).tagged], CampaignTerms)


def test_text_that_is_no_utf8_is_malformed_and_stops_nobody(
    reader: FactsReader, platform: Platform, mongo_database: Database[Document]
) -> None:
    campaign_id = platform.campaign()
    good = platform.participation(campaign_id, 2000)
    campaign: Document = {"_id": ObjectId(), "brandId": "brand", "status": "active", "paymentType": "cpmXX"}
    participation: Document = {
        "_id": ObjectId(),
        "campaignId": campaign["_id"],
        "streamerId": "ABCDEFGH",
        "status": "active",
        "impressions": 2000,
    }
    mongo_database["campaigns"].insert_one(_with_broken_text(campaign, "cpmXX"))
    mongo_database["campaignparticipations"].insert_one(_with_broken_text(participation, "ABCDEFGH"))

    pages = list(reader.paying_campaigns())
    page = reader.read([document_id(good), document_id(participation["_id"])])

    assert [type(one) for one in pages[0]] == [CampaignTerms, MalformedCampaign]
    assert len(page.participations) == 2
    assert isinstance(page.campaigns[document_id(campaign["_id"]).tagged], MalformedCampaign)


def test_pages_hold_everything_in_order_with_their_campaigns(reader: FactsReader, platform: Platform) -> None:
    campaigns = [platform.campaign(), platform.campaign(_id="text"), platform.campaign(status="draft")]
    written = [platform.participation(campaigns[number % 3], number) for number in range(7)]
    written.append(platform.participation(ObjectId(), 5, status="removed"))

    pages = list(reader.pages(3))

    assert [len(page.participations) for page in pages] == [3, 3, 2]
    assert [one.participation_id for page in pages for one in page.participations] == [
        document_id(one) for one in sorted(written)
    ]
    assert set(pages[0].campaigns) == {document_id(one).tagged for one in campaigns}
    assert reader.count() == 8


def test_credits_of_others_are_found_in_both_forms_of_identity(
    reader: FactsReader, mongo_database: Database[Document]
) -> None:
    campaign, streamer = ObjectId(), ObjectId()
    other_campaign, other_streamer = ObjectId(), ObjectId()
    forms: list[tuple[Any, Any]] = [
        (campaign, streamer),
        (str(campaign), str(streamer)),
        (str(campaign), streamer),
        (campaign, str(streamer)),
    ]
    pair = (document_id(campaign), str(streamer))
    asked = [
        pair,
        (document_id(campaign), str(other_streamer)),
        (document_id(other_campaign), str(streamer)),
        (document_id("a campaign"), "a streamer"),
    ]
    line: Document = {"transactionType": "earnings_credit", "amount": 1}
    assert reader.credited_elsewhere(asked) == set()
    for campaign_id, user_id in forms:
        inserted = mongo_database["transactions"].insert_one(line | {"campaignId": campaign_id, "userId": user_id})
        assert reader.credited_elsewhere(asked) == {(pair[0].tagged, pair[1])}
        mongo_database["transactions"].delete_one({"_id": inserted.inserted_id})

    mongo_database["transactions"].insert_many(
        [
            # Each half of a pair that was asked for, but never both; and other kinds of lines.
            line | {"campaignId": other_campaign, "userId": str(other_streamer)},
            line | {"campaignId": campaign, "userId": str(streamer), "transactionType": "withdrawal"},
            line | {"campaignId": "a campaign", "userId": "a streamer"},
        ]
    )
    assert reader.credited_elsewhere(asked) == {("str:a campaign", "a streamer")}
    assert reader.credited_elsewhere([]) == set()


def test_an_unreachable_server_is_an_outage(mongo_database: Database[Document]) -> None:
    connection = connect("mongodb://127.0.0.1:1/", mongo_database.name, wait_max_s=0.1)

    with pytest.raises(Outage):
        _reader(connection).read([document_id(ObjectId())])

    connection.close()


def test_a_campaign_is_remembered_by_the_types_of_its_values(reader: FactsReader, platform: Platform) -> None:
    """1, 1.0 and true are equal and hash alike; one of them is no budget."""
    campaign = platform.campaign(paymentRate=1, budget=1)
    identity = DocumentId(IdKind.OBJECT_ID, str(campaign))
    kinds = []
    for budget in (1, True, 1.0, [1], "1"):
        platform.database["campaigns"].update_one({"_id": campaign}, {"$set": {"budget": budget}})
        kinds.append(type(reader.campaigns([identity])[identity.tagged]).__name__)
    assert kinds == ["CampaignTerms", "MalformedCampaign", "CampaignTerms", "MalformedCampaign", "CampaignTerms"]


def test_a_connection_made_before_the_server_was_a_replica_set_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a connection has no sessions for ever, and whoever reads often would be given it again and again."""
    with ReplicaSet(tmp_path / "alone", MongodOptions(standalone=True)) as server:
        connection = connect(server.uri, "alone", wait_max_s=10)
        platform, reader = Platform(connection.database), _reader(connection)
        known = [document_id(platform.participation(platform.campaign(), 5)) for _ in range(2)]
        assert len(reader.read(known).participations) == 2

        def ask_before_it_is_initiated() -> None:
            connection.client.admin.command("ping")
            initiate()

        initiate = server._initiate
        monkeypatch.setattr(server, "_initiate", ask_before_it_is_initiated)
        server.become_replica_set()

        outages = []
        for _ in range(5):
            try:
                page = reader.read(known)
            except Outage as outage:
                outages.append(str(outage))
            else:
                assert page.as_of is not None
                break
        assert len(outages) == 1, outages
        assert outages[0].startswith("MongoDB cannot do it now: Sessions are not supported")
        connection.close()
