"""Recording on a real replica set: both documents together, exactly, once a key, and never below zero."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from reconciler.config.mapping import MappingSettings
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.parsing import FieldProblem
from reconciler.domain.recording import Recorded, RecordingRefusal, RefusedReport
from reconciler.mongo.connection import Connection, connect
from reconciler.mongo.indexes import create_missing, missing
from reconciler.mongo.recording import GroupRecorder
from tests.support.listening import listening_to
from tests.support.platform import ABSENT, Platform
from tests.support.recording import alone, clicks, impressions, make_recorder

Document = dict[str, Any]
TOKEN = "0123456789abcdef01234567"
OTHER = "76543210fedcba9876543210"


@pytest.fixture
def recorder(mongo_connection: Connection) -> GroupRecorder:
    return make_recorder(mongo_connection)


def _member(platform: Platform, campaign_id: Any, token: str = TOKEN, **fields: Any) -> Any:
    fields = {"estimatedEarnings": 0.0, "clicks": 0, "impressions": 0, "browserSourceToken": token} | fields
    return platform.participation(campaign_id, **fields)


def _all(database: Database[Document]) -> list[Document]:
    names = ("campaigns", "campaignparticipations", "reconciler_recordings")
    return [document for name in names for document in database[name].find().sort("_id", 1)]


def test_an_impression_moves_both_documents_and_nothing_else(recorder: GroupRecorder, platform: Platform) -> None:
    campaign_id = platform.campaign()
    participation_id = _member(platform, campaign_id)
    before = platform.read("campaigns", campaign_id), platform.read("campaignparticipations", participation_id)

    outcome = alone(recorder, impressions(TOKEN))

    assert outcome == Recorded(
        participation_id=DocumentId(IdKind.OBJECT_ID, str(participation_id)),
        impressions=1,
        clicks=0,
        remaining=1999,
        completed=False,
    )
    assert platform.read("campaigns", campaign_id) == before[0] | {"remainingBudget": 3298.35}
    member = platform.read("campaignparticipations", participation_id)
    assert member == before[1] | {"impressions": 1, "estimatedEarnings": 1.65}


def test_two_thousand_one_by_one_are_two_thousand_at_once(recorder: GroupRecorder, platform: Platform) -> None:
    campaigns = [platform.campaign(paymentRate=0.37, budget=1.5, remainingBudget=1.5) for _ in range(2)]
    members = [_member(platform, campaign, token) for campaign, token in zip(campaigns, (TOKEN, OTHER), strict=True)]
    for _ in range(4):
        recorder.record([impressions(TOKEN) for _ in range(500)])
    recorder.record([impressions(OTHER, 1000), impressions(OTHER, 1000)])

    assert [platform.read("campaigns", one)["remainingBudget"] for one in campaigns] == [0.76, 0.76]
    assert [platform.read("campaignparticipations", one)["estimatedEarnings"] for one in members] == [0.74, 0.74]


def test_the_budget_ends_exactly_where_it_is_used_up(recorder: GroupRecorder, platform: Platform) -> None:
    campaign_id = platform.campaign()
    for token in (TOKEN, OTHER):
        _member(platform, campaign_id, token, impressions=0)

    outcomes = recorder.record(
        [
            impressions(TOKEN, 1000),
            impressions(OTHER, 995),
            impressions(TOKEN, 6),
            impressions(TOKEN, 5),
            impressions(OTHER, 1),
        ]
    )

    assert [getattr(one, "refusal", "recorded") for one in outcomes] == [
        "recorded",
        "recorded",
        RecordingRefusal.BUDGET_EXHAUSTED,
        "recorded",
        RecordingRefusal.BUDGET_EXHAUSTED,
    ]
    assert outcomes[2] == RefusedReport(refusal=RecordingRefusal.BUDGET_EXHAUSTED, affordable_count=5)
    assert platform.read("campaigns", campaign_id)["remainingBudget"] == 0
    counted = [one["impressions"] for one in platform.database["campaignparticipations"].find()]
    assert sorted(counted) == [995, 1005]


def test_fixed_campaigns_pay_nothing_an_impression(recorder: GroupRecorder, platform: Platform) -> None:
    campaign_id = platform.campaign(paymentType="fixed", paymentRate=500, remainingBudget=ABSENT)
    participation_id = _member(platform, campaign_id, estimatedEarnings="n/a")
    before = platform.read("campaigns", campaign_id)

    assert isinstance(alone(recorder, impressions(TOKEN, 7)), Recorded)

    assert platform.read("campaigns", campaign_id) == before
    member = platform.read("campaignparticipations", participation_id)
    assert (member["impressions"], member["estimatedEarnings"]) == (7, "n/a")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"impressions": 5, "estimatedEarnings": 1}, (6, 9.9)),
        ({"impressions": 5.0, "estimatedEarnings": 8.250000001}, (6.0, 9.9)),
        ({"impressions": Int64(5), "estimatedEarnings": None}, (Int64(6), 9.9)),
        (
            {"impressions": Decimal128("5"), "estimatedEarnings": Decimal128("8.25")},
            (Decimal128("6"), Decimal128("9.90")),
        ),
        ({"impressions": "5", "estimatedEarnings": ABSENT}, (6, 9.9)),
    ],
    ids=["int", "double", "int64", "decimal", "text"],
)
def test_types_stay_and_the_estimate_follows_from_the_counter(
    recorder: GroupRecorder, platform: Platform, fields: Document, wanted: tuple[Any, Any]
) -> None:
    campaign_id = platform.campaign(remainingBudget=Decimal128("3299.9999999999995"))
    participation_id = _member(platform, campaign_id, **fields)

    assert isinstance(alone(recorder, impressions(TOKEN)), Recorded)

    member = platform.read("campaignparticipations", participation_id)
    assert (member["impressions"], member["estimatedEarnings"]) == wanted
    assert (type(member["impressions"]), type(member["estimatedEarnings"])) == tuple(map(type, wanted))
    assert platform.read("campaigns", campaign_id)["remainingBudget"] == Decimal128("3298.35")


def test_a_budget_of_float_dust_is_read_as_it_was_meant(recorder: GroupRecorder, platform: Platform) -> None:
    campaign_id = platform.campaign(remainingBudget=3299.9999999999995)
    _member(platform, campaign_id)
    alone(recorder, impressions(TOKEN))
    assert platform.read("campaigns", campaign_id)["remainingBudget"] == 3298.35


def _problem(refusal: RecordingRefusal, field: str, why: str) -> RefusedReport:
    return RefusedReport(refusal=refusal, problems=(FieldProblem(field=field, why=why),))


MEMBER, CAMPAIGN = RecordingRefusal.PARTICIPATION_MALFORMED, RecordingRefusal.CAMPAIGN_MALFORMED


@pytest.mark.parametrize(
    ("campaign", "member", "wanted"),
    [
        ({}, {"status": "paused"}, RefusedReport(refusal=RecordingRefusal.PARTICIPATION_NOT_ACTIVE)),
        ({}, {"status": 7}, RefusedReport(refusal=RecordingRefusal.PARTICIPATION_NOT_ACTIVE)),
        ({"status": "paused"}, {}, RefusedReport(refusal=RecordingRefusal.CAMPAIGN_NOT_ACTIVE)),
        ({"status": "completed"}, {}, RefusedReport(refusal=RecordingRefusal.CAMPAIGN_NOT_ACTIVE)),
        ({}, {"campaignId": ObjectId()}, RefusedReport(refusal=RecordingRefusal.CAMPAIGN_MISSING)),
        ({}, {"campaignId": 17}, _problem(MEMBER, "campaign_id", "is a int, not an ObjectId or a string")),
        ({}, {"impressions": None}, _problem(MEMBER, "impressions", "is missing")),
        ({}, {"impressions": float("nan")}, _problem(MEMBER, "impressions", "is not a finite number")),
        ({}, {"impressions": -1}, _problem(MEMBER, "impressions", "is negative")),
        ({}, {"impressions": [5]}, _problem(MEMBER, "impressions", "is a list, not a number")),
        ({}, {"estimatedEarnings": {"INR": 1}}, _problem(MEMBER, "estimated_earnings", "is a dict, not a number")),
        ({"remainingBudget": ABSENT}, {}, _problem(CAMPAIGN, "remaining_budget", "is missing")),
        ({"remainingBudget": float("inf")}, {}, _problem(CAMPAIGN, "remaining_budget", "is not a finite number")),
        (
            {"remainingBudget": 10.001},
            {},
            _problem(CAMPAIGN, "remaining_budget", "is no whole number of minor units of INR"),
        ),
        ({"paymentRate": 0}, {}, _problem(CAMPAIGN, "payment_rate", "is not more than zero")),
        ({"remainingBudget": -3}, {}, RefusedReport(refusal=RecordingRefusal.BUDGET_EXHAUSTED, affordable_count=0)),
        ({"remainingBudget": 0}, {}, RefusedReport(refusal=RecordingRefusal.BUDGET_EXHAUSTED, affordable_count=0)),
    ],
)
def test_what_is_not_recorded_is_named_and_changes_nothing(
    recorder: GroupRecorder, platform: Platform, campaign: Document, member: Document, wanted: RefusedReport
) -> None:
    campaign_id = platform.campaign(**campaign)
    _member(platform, campaign_id, **member)
    healthy = _member(platform, platform.campaign(), OTHER)
    before = _all(platform.database)

    bad, unknown, good = recorder.record([impressions(TOKEN), impressions("nobody-has-this"), impressions(OTHER)])

    assert bad == wanted
    assert unknown == RefusedReport(refusal=RecordingRefusal.TOKEN_UNKNOWN)
    assert isinstance(good, Recorded)
    after = {one["_id"]: repr(one) for one in _all(platform.database)}
    unmoved = [one for one in before if after[one["_id"]] == repr(one)]
    # All but the healthy participation and its campaign, so that no malformed document stopped the others.
    assert len(unmoved) == len(before) - 2
    assert platform.read("campaignparticipations", healthy)["impressions"] == 1


def test_clicks_count_clicks(recorder: GroupRecorder, platform: Platform) -> None:
    campaign_id = platform.campaign()
    participation_id = _member(platform, campaign_id, clicks=5)
    before = platform.read("campaigns", campaign_id), platform.read("campaignparticipations", participation_id)

    outcome = alone(recorder, clicks(TOKEN, 50))

    assert isinstance(outcome, Recorded)
    assert (outcome.clicks, outcome.needs_check) == (55, False)
    assert platform.read("campaigns", campaign_id) == before[0]
    assert platform.read("campaignparticipations", participation_id) == before[1] | {"clicks": 55}


def test_a_token_of_two_and_a_token_in_a_list_are_nobodys(mongo_connection: Connection, platform: Platform) -> None:
    campaign_id = platform.campaign()
    for _ in range(2):
        _member(platform, campaign_id)
    _member(platform, campaign_id, [OTHER])  # type: ignore[arg-type]  # the platform's documents hold anything
    create_missing(mongo_connection, MappingSettings())
    before = _all(platform.database)

    outcomes = make_recorder(mongo_connection).record([impressions(TOKEN), impressions(OTHER)])

    assert outcomes == [
        RefusedReport(refusal=RecordingRefusal.TOKEN_AMBIGUOUS),
        RefusedReport(refusal=RecordingRefusal.TOKEN_UNKNOWN),
    ]
    assert _all(platform.database) == before
    assert missing(mongo_connection, MappingSettings()) == []


class TestKeys:
    def test_a_key_counts_once_and_is_answered_the_same(self, recorder: GroupRecorder, platform: Platform) -> None:
        campaign_id = platform.campaign()
        participation_id = _member(platform, campaign_id)
        first = alone(recorder, impressions(TOKEN, 50, "key-1"))
        alone(recorder, impressions(TOKEN))
        platform.database["campaigns"].update_one({"_id": campaign_id}, {"$set": {"status": "paused"}})
        before = _all(platform.database)

        again = alone(recorder, impressions(TOKEN, 50, "key-1"))

        assert isinstance(first, Recorded)
        assert isinstance(again, Recorded)
        assert (first.impressions, first.needs_check, first.replayed) == (50, True, False)
        assert (again.impressions, again.needs_check, again.replayed) == (50, False, True)
        assert again.participation_id == first.participation_id
        assert _all(platform.database) == before
        assert platform.read("campaignparticipations", participation_id)["impressions"] == 51

    def test_twice_in_one_group_counts_once(self, recorder: GroupRecorder, platform: Platform) -> None:
        participation_id = _member(platform, platform.campaign())
        outcomes = recorder.record([impressions(TOKEN, 2, "key-1")] * 3 + [impressions(TOKEN, 3, "key-1")])
        assert [getattr(one, "replayed", None) for one in outcomes] == [False, True, True, None]
        assert outcomes[3] == RefusedReport(refusal=RecordingRefusal.KEY_REUSED)
        assert platform.read("campaignparticipations", participation_id)["impressions"] == 2

    def test_another_report_under_the_key_is_refused(self, recorder: GroupRecorder, platform: Platform) -> None:
        campaign_id = platform.campaign()
        for token in (TOKEN, OTHER):
            _member(platform, campaign_id, token)
        alone(recorder, impressions(TOKEN, 2, "key-1"))
        before = _all(platform.database)

        outcomes = recorder.record(
            [impressions(TOKEN, 3, "key-1"), impressions(OTHER, 2, "key-1"), clicks(TOKEN, 2, "key-1")]
        )
        unknown = alone(recorder, impressions("nobody-has-this", 2, "key-1"))

        assert outcomes == [RefusedReport(refusal=RecordingRefusal.KEY_REUSED)] * 3
        assert unknown == RefusedReport(refusal=RecordingRefusal.TOKEN_UNKNOWN)
        assert _all(platform.database) == before

    def test_a_refused_report_leaves_its_key_free(self, recorder: GroupRecorder, platform: Platform) -> None:
        campaign_id = platform.campaign(status="paused")
        _member(platform, campaign_id)
        assert isinstance(alone(recorder, impressions(TOKEN, 1, "key-1")), RefusedReport)
        platform.database["campaigns"].update_one({"_id": campaign_id}, {"$set": {"status": "active"}})
        assert isinstance(alone(recorder, impressions(TOKEN, 1, "key-1")), Recorded)

    def test_what_is_stored_expires_and_shows_neither_key_nor_token(
        self, mongo_connection: Connection, recorder: GroupRecorder, platform: Platform
    ) -> None:
        create_missing(mongo_connection, MappingSettings())
        _member(platform, platform.campaign())
        started = datetime.now(UTC)
        alone(recorder, impressions(TOKEN, 1, "the-key-in-clear"))
        [stored] = platform.database["reconciler_recordings"].find()
        assert 86_399 < (stored["expiresAt"] - started).total_seconds() < 86_500
        assert TOKEN not in str(stored)
        assert "the-key-in-clear" not in str(stored)
        indexes = platform.database["reconciler_recordings"].index_information()
        assert indexes["reconciler_expiry"]["expireAfterSeconds"] == 0

    def test_two_recorders_with_one_key_count_once(self, mongo_connection: Connection, platform: Platform) -> None:
        participation_id = _member(platform, platform.campaign())
        outcomes = _at_once(
            mongo_connection, 6, lambda one: [alone(one, impressions(TOKEN, 2, f"k{n}")) for n in range(5)]
        )
        recorded = [one for some in outcomes for one in some if isinstance(one, Recorded)]
        assert sum(not one.replayed for one in recorded) == 5
        assert platform.read("campaignparticipations", participation_id)["impressions"] == 10


def _at_once(connection: Connection, count: int, work: Any) -> list[Any]:
    """What ``work`` answers in so many threads, each with a recorder of its own, as so many daemons have."""
    answers: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        recorder = make_recorder(connection)
        barrier.wait()
        answers[number] = work(recorder)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_several_daemons_lose_nothing_and_overspend_nothing(mongo_connection: Connection, platform: Platform) -> None:
    """All on one campaign, which is as hot as it gets: they conflict, and each is whole or refused."""
    campaign_id = platform.campaign(budget=300, remainingBudget=300)
    members = [_member(platform, campaign_id, token) for token in (TOKEN, OTHER)]

    def work(recorder: GroupRecorder) -> list[Any]:
        return [one for _ in range(15) for one in recorder.record([impressions(TOKEN), impressions(OTHER, 2)])]

    outcomes = [one for some in _at_once(mongo_connection, 4, work) for one in some]

    counted = [platform.read("campaignparticipations", one)["impressions"] for one in members]
    left = platform.read("campaigns", campaign_id)["remainingBudget"]
    recorded = [isinstance(one, Recorded) for one in outcomes]
    assert counted == [sum(recorded[::2]), 2 * sum(recorded[1::2])]
    assert round(left * 100) == 300_00 - 165 * sum(counted)
    assert left >= 0
    refusals = {one.refusal for one in outcomes if isinstance(one, RefusedReport)}
    assert refusals <= {RecordingRefusal.BUSY, RecordingRefusal.BUDGET_EXHAUSTED}
    assert sum(recorded) > 0


def test_a_document_somebody_holds_stops_itself_only(mongo_connection: Connection, platform: Platform) -> None:
    """An open transaction of somebody else's, as a killed process leaves one for up to a minute."""
    held = _member(platform, platform.campaign())
    tokens = [f"free-token-{number}" for number in range(5)]
    free = [_member(platform, platform.campaign(), token) for token in tokens]
    recorder = make_recorder(mongo_connection)
    with mongo_connection.client.start_session() as session, session.start_transaction():
        mongo_connection.database["campaignparticipations"].update_one(
            {"_id": held}, {"$set": {"uniqueViewers": 9}}, session=session
        )
        outcomes = recorder.record([impressions(token) for token in [*tokens[:3], TOKEN, *tokens[3:]]])
        session.abort_transaction()

    assert outcomes[3] == RefusedReport(refusal=RecordingRefusal.BUSY)
    assert all(isinstance(one, Recorded) for one in outcomes[:3] + outcomes[4:])
    assert [platform.read("campaignparticipations", one)["impressions"] for one in free] == [1] * 5
    assert isinstance(alone(recorder, impressions(TOKEN)), Recorded)


def test_a_document_the_database_rejects_stops_itself_only(mongo_connection: Connection, platform: Platform) -> None:
    _member(platform, platform.campaign(), impressions=9)
    other = _member(platform, platform.campaign(), OTHER)
    rule = {"$jsonSchema": {"properties": {"impressions": {"maximum": 9}}}}
    mongo_connection.database.command("collMod", "campaignparticipations", validator=rule)

    outcomes = make_recorder(mongo_connection).record([impressions(TOKEN), impressions(OTHER)])

    assert outcomes[0] == RefusedReport(refusal=RecordingRefusal.REJECTED)
    assert isinstance(outcomes[1], Recorded)
    assert platform.read("campaignparticipations", other)["impressions"] == 1


def test_unknown_and_inactive_tokens_take_the_same_path(
    mongo_connection: Connection, mongo_uri: str, platform: Platform
) -> None:
    """The same commands in the same order, so that no clock tells one from the other."""
    _member(platform, platform.campaign(), status="paused")
    with listening_to(mongo_connection, mongo_uri) as (connection, commands):
        recorder = make_recorder(connection)
        shapes = []
        for token in (TOKEN, "nobody-has-this-token"):
            commands.sent.clear()
            assert isinstance(alone(recorder, impressions(token)), RefusedReport)
            shapes.append([next(iter(command.items())) for command in commands.sent])

    assert shapes[0] == shapes[1] == [("find", "campaignparticipations"), ("find", "campaigns")]


def test_a_group_is_one_read_and_one_write_of_each_collection(
    mongo_connection: Connection, mongo_uri: str, platform: Platform
) -> None:
    campaign_id = platform.campaign()
    tokens = [f"group-token-{number}" for number in range(9)]
    for token in tokens:
        _member(platform, campaign_id, token)
    with listening_to(mongo_connection, mongo_uri) as (connection, commands):
        make_recorder(connection).record([impressions(token, 1, f"key-{token}") for token in tokens * 3])

    assert [next(iter(command.items())) for command in commands.sent] == [
        ("find", "campaignparticipations"),
        ("find", "campaigns"),
        ("find", "reconciler_recordings"),
        ("update", "campaignparticipations"),
        ("update", "campaigns"),
        ("insert", "reconciler_recordings"),
    ]
    assert len({command["txnNumber"] for command in commands.sent}) == 1


def test_without_a_server_a_report_is_told_to_come_again() -> None:
    connection = connect("mongodb://127.0.0.1:1/?replicaSet=nobody", "nowhere", wait_max_s=30)
    recorder = make_recorder(connection, api__recording__deadline_s=0.2)
    assert alone(recorder, impressions(TOKEN)) == RefusedReport(refusal=RecordingRefusal.UNAVAILABLE)
    connection.close()


def test_tokens_are_found_by_an_index(mongo_connection: Connection, platform: Platform) -> None:
    create_missing(mongo_connection, MappingSettings())
    campaign_id = platform.campaign()
    platform.database["campaignparticipations"].insert_many(
        {"campaignId": campaign_id, "browserSourceToken": f"token-{number}"} for number in range(500)
    )
    # Those without a token, and those who share one, must not have their writes refused by an index of ours.
    platform.database["campaignparticipations"].insert_many(
        {"campaignId": campaign_id, **token} for token in ({}, {}, {"browserSourceToken": "token-1"})
    )
    query = make_recorder(mongo_connection)._group.token_query(["token-7", "token-8", "no-such-token"])

    plan = platform.database["campaignparticipations"].find(query).explain()["executionStats"]

    assert plan["nReturned"] == 2
    assert plan["totalKeysExamined"] <= 6
    assert "unique" not in platform.database["campaignparticipations"].index_information()["reconciler_token"]


@pytest.mark.parametrize("options", [{}, {"unique": True}, {"unique": True, "sparse": True}])
def test_the_platforms_own_index_of_tokens_serves(
    mongo_connection: Connection, platform: Platform, options: Document
) -> None:
    platform.database["campaignparticipations"].create_index("browserSourceToken", name="theirs", **options)
    created = {index.name for index in create_missing(mongo_connection, MappingSettings())}
    assert "reconciler_token" not in created


def test_a_document_that_cannot_be_found_again_stops_itself_only(
    recorder: GroupRecorder, platform: Platform, mongo_database: Database[Document]
) -> None:
    campaign_id = platform.campaign()
    # An identity of broken UTF-8 is read with a replacement character, by which nothing is found.
    broken = {"_id": "?", "campaignId": campaign_id, "streamerId": ObjectId(), "status": "active", "impressions": 0}
    raw = bson.encode(broken | {"browserSourceToken": OTHER, "clicks": 0}).replace(b"?\x00", b"\xff\x00", 1)
    mongo_database["campaignparticipations"].insert_one(RawBSONDocument(raw))
    _member(platform, campaign_id)

    outcomes = recorder.record([impressions(OTHER), impressions(TOKEN)])

    assert isinstance(outcomes[0], RefusedReport)
    assert outcomes[0].refusal is RecordingRefusal.PARTICIPATION_MALFORMED
    assert [problem.field for problem in outcomes[0].problems] == ["id"]
    assert isinstance(outcomes[1], Recorded)
