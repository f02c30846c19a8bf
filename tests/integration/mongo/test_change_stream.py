"""The stream's filter on a real server: whatever may concern a trigger field passes, and only the key of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from pymongo import ReplaceOne, UpdateOne
from pymongo.change_stream import DatabaseChangeStream
from pymongo.database import Database

from reconciler.clock import utc_now
from reconciler.config.mapping import MappingSettings
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.mongo.change_stream import ChangeStreams, MongoStream, StreamLimits, time_of
from reconciler.mongo.stream_pipeline import PARTICIPATION_TRIGGERS, pipeline_of
from reconciler.ports.hints import Key, KeyKind
from reconciler.ports.watch import Change, Quiet, StreamFailure, Unnamed

Document = dict[str, Any]
LIMITS = StreamLimits(await_max_s=0.1, silence_max_s=10, open_max_s=20, server_wait_max_s=10)
NESTED: Document = {
    "impressions": 1,
    "clicks": {"bot": 1, "all": [1, 2, 3]},
    "status": "active",
    "title": "x",
    "progress": {"total": 1, "other": 1},
    "flags": [{"a": 1}, {"a": 2}],
}


@pytest.fixture
def source(mongo_uri: str, mongo_database: Database[Document]) -> Iterator[ChangeStreams]:
    source = ChangeStreams(mongo_uri, mongo_database.name, MappingSettings(), LIMITS)
    yield source
    source.close()


@pytest.fixture
def stream(source: ChangeStreams) -> MongoStream:
    opened = source.open(None)
    assert isinstance(opened, MongoStream)
    return opened


def next_change(stream: MongoStream) -> object:
    for _ in range(100):
        read = stream.read()
        if not isinstance(read, Quiet):
            return read
    raise AssertionError("nothing came")


def test_a_limit_on_questions_in_the_uri_is_not_one_on_waiting_for_changes(
    mongo_uri: str, mongo_database: Database[Document]
) -> None:
    """It is shorter here than the server holds its answer: each wait would end in a new stream."""
    limits = StreamLimits(await_max_s=1.5, silence_max_s=10, open_max_s=20, server_wait_max_s=10)
    joint = "&" if "?" in mongo_uri else "?"
    source = ChangeStreams(f"{mongo_uri}{joint}timeoutMS=500", mongo_database.name, MappingSettings(), limits)
    stream = source.open(None)
    assert isinstance(stream, MongoStream)

    assert isinstance(stream.read(), Quiet)
    mongo_database["campaignparticipations"].insert_one({"_id": "p1", "impressions": 1})
    assert isinstance(next_change(stream), Change)
    source.close()


def nested_stream(database: Database[Document]) -> DatabaseChangeStream[Document]:
    """The product's pipeline for a platform whose counter lies deeper: ``progress.total`` and ``flags.1.a``."""
    mapping = MappingSettings()
    names = mapping.participations.model_copy(
        update={"impressions": "progress.total", "earnings_forfeited": "flags.1.a"}
    )
    return database.watch(pipeline_of(mapping.model_copy(update={"participations": names})), max_await_time_ms=100)


@pytest.mark.parametrize(
    ("update", "passes"),
    [
        ({"$inc": {"progress.total": 1}}, True),
        ({"$set": {"progress": {"total": 5}}}, True),
        ({"$unset": {"progress": ""}}, True),
        ({"$unset": {"progress.total": ""}}, True),
        ({"$set": {"progress.total.deep": 1}}, True),
        ({"$inc": {"clicks.bot": 1}}, True),
        ({"$push": {"clicks.all": 9}}, True),
        ({"$set": {"flags.1.a": 5}}, True),
        ({"$set": {"flags.1": {"a": 5}}}, True),
        ({"$set": {"status": "paused"}}, True),
        ([{"$set": {"clicks": {"$literal": {"all": [1, 2]}}}}], True),
        ([{"$set": {"clicks.all": {"$slice": ["$clicks.all", 1]}}}], True),
        ({"$set": {"progress.other": 5}}, False),
        ({"$set": {"title": "y"}}, False),
        ({"$set": {"flags.0.a": 5}}, False),
        ({"$set": {"statuses": 1}}, False),
    ],
)
def test_updates_pass_by_the_paths_they_touch(mongo_database: Database[Document], update: Any, *, passes: bool) -> None:
    documents = mongo_database["campaignparticipations"]
    document = NESTED | {"progress": {"total": {"deep": 0}, "other": 1}} if "deep" in str(update) else NESTED
    documents.insert_one({"_id": "watched"} | document)
    with nested_stream(mongo_database) as stream:
        assert documents.update_one({"_id": "watched"}, update).modified_count == 1
        documents.insert_one({"_id": "marker"})
        came = []
        for _ in range(100):
            event = stream.try_next()
            if event is not None:
                came.append(event["documentKey"]["_id"])
                if came[-1] == "marker":
                    break
    assert came == (["watched", "marker"] if passes else ["marker"])


def test_each_trigger_field_passes_and_nothing_of_the_document_is_told(
    mongo_database: Database[Document], stream: MongoStream
) -> None:
    documents = mongo_database["campaignparticipations"]
    documents.insert_one({"_id": "a", "secret": "token"})
    names = MappingSettings().participations
    for number, ours in enumerate(PARTICIPATION_TRIGGERS):
        documents.update_one({"_id": "a"}, {"$set": {getattr(names, ours): number}})
    documents.replace_one({"_id": "a"}, {"x": 1})
    key = Key(KeyKind.PARTICIPATION, DocumentId(IdKind.STRING, "a"))
    operations = []
    for _ in range(2 + len(PARTICIPATION_TRIGGERS)):
        change = next_change(stream)
        assert isinstance(change, Change)
        assert change.key == key
        operations.append(change.operation)
    assert operations == ["insert", *["update"] * len(PARTICIPATION_TRIGGERS), "replace"]
    assert "secret" not in str(pipeline_of(MappingSettings()))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda database: database["campaigns"].drop(), "drop"),
        (lambda database: database["campaigns"].rename("gone"), "rename"),
        (lambda database: database["copy"].rename("campaigns", dropTarget=True), "rename"),
        (lambda database: database.client.drop_database(database.name), "drop"),
    ],
)
def test_a_collection_that_goes_is_noticed(
    mongo_database: Database[Document],
    source: ChangeStreams,
    write: Callable[[Database[Document]], object],
    reason: str,
) -> None:
    mongo_database["campaigns"].insert_one({"_id": "c"})
    mongo_database["copy"].insert_one({"_id": "c"})
    stream = source.open(None)
    assert isinstance(stream, MongoStream)
    write(mongo_database)
    failure = next_change(stream)
    assert isinstance(failure, StreamFailure)
    assert failure.reason in {reason, "drop"}
    assert failure.kind.value == "collection_gone"


def test_collections_beside_are_not_heard_of(mongo_database: Database[Document], stream: MongoStream) -> None:
    for name in ("wallets", "transactions", "gkeys", "reconciler_state"):
        mongo_database[name].bulk_write([ReplaceOne({"_id": 1}, {"status": "x"}, upsert=True)])
        mongo_database[name].bulk_write([UpdateOne({"_id": 1}, {"$set": {"status": "y"}})])
        mongo_database[name].drop()
    mongo_database["campaigns"].insert_one({"_id": 5})
    mongo_database["campaigns"].insert_one({"_id": "c"})
    assert isinstance(next_change(stream), Unnamed)
    change = next_change(stream)
    assert isinstance(change, Change)
    assert change.key == Key(KeyKind.CAMPAIGN, DocumentId(IdKind.STRING, "c"))


def test_the_fingerprint_is_of_pipeline_collections_and_cluster(
    mongo_uri: str, mongo_database: Database[Document], source: ChangeStreams
) -> None:
    mongo_database["campaigns"].insert_one({"_id": "c"})
    first = source.fingerprint()
    assert isinstance(first, str)
    assert source.fingerprint() == first
    other = ChangeStreams(
        mongo_uri, mongo_database.name, MappingSettings.model_validate({"participations": {"clicks": "taps"}}), LIMITS
    )
    assert other.fingerprint() != first
    other.close()
    mongo_database["campaigns"].drop()
    mongo_database["campaigns"].insert_one({"_id": "c"})
    assert source.fingerprint() != first, "a collection of the same name made anew, as by a restore"


def test_the_time_of_a_token_is_read_softly(mongo_database: Database[Document], stream: MongoStream) -> None:
    position = stream.position()
    assert position is not None
    assert position.reached_at is not None
    assert abs((utc_now() - position.reached_at).total_seconds()) < 120
    for strange in (None, {}, {"_data": 5}, {"_data": "82zzzzzzzzzzzzzzzz"}, {"_data": "83" * 20}, "82"):
        assert time_of(strange) is None


def test_an_identity_that_python_cannot_hold_ends_no_stream(
    stream: MongoStream, mongo_database: Database[Document]
) -> None:
    participations = mongo_database["campaignparticipations"]
    # A date beyond the year 9999, which nothing but a number of milliseconds can hold.
    participations.insert_one({"_id": DatetimeMS(10**15)})
    participations.insert_one({"_id": "readable"})

    assert next_change(stream) == Unnamed(operation="insert")
    change = next_change(stream)
    assert isinstance(change, Change)
    assert change.key == Key(KeyKind.PARTICIPATION, DocumentId(IdKind.STRING, "readable"))
