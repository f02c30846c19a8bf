"""The scripted server is only worth something if drivers take it for a real one: the same basics on both.

Then the table of how PyMongo behaves under faults, which the watch is built on: should a release behave otherwise, it
is seen here first.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, NetworkTimeout, OperationFailure

from tests.support.wire_server import Batch, Hurt, Refusal, WireServer, event, token

if TYPE_CHECKING:
    from pymongo.change_stream import ChangeStream

Document = dict[str, Any]

AWAIT_MS = 50
TIMEOUT_MS = 400
RESUMABLE = "ResumableChangeStreamError"


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


@contextmanager
def watching(uri: str, **options: Any) -> Iterator[ChangeStream[Document]]:
    with (
        MongoClient[Document](uri, serverSelectionTimeoutMS=10_000, **options) as client,
        client["test"]["things"].watch([{"$match": {}}], max_await_time_ms=AWAIT_MS) as stream,
    ):
        yield stream


@pytest.mark.parametrize("kind", ["scripted", "real"])
def test_both_servers_are_primaries_with_change_streams(kind: str, request: pytest.FixtureRequest) -> None:
    is_real = kind == "real"
    uri = request.getfixturevalue("mongo_uri") if is_real else request.getfixturevalue("server").uri
    with MongoClient[Document](uri, serverSelectionTimeoutMS=10_000) as client:
        hello = client.admin.command("hello")
        assert hello["isWritablePrimary"]
        assert hello["me"] in hello["hosts"]
        assert client.primary is not None
        things = client["test"]["things"]
        if not is_real:
            request.getfixturevalue("server").script("getMore", Batch(events=[event(7, 1)]), Batch(token=token(2)))
        with things.watch([{"$match": {"operationType": "insert"}}], max_await_time_ms=AWAIT_MS) as stream:
            if is_real:
                things.insert_one({"_id": 7})
            change = stream.next()
            assert {"_id", "operationType", "clusterTime", "wallTime", "documentKey"} <= change.keys()
            assert change["documentKey"] == {"_id": 7}
            assert change["_id"]["_data"].startswith("82")
            # The token goes on while nothing happens that the stream is about: the heartbeat.
            if is_real:
                client["test"]["others"].insert_one({"_id": 8})
            while stream.resume_token == change["_id"]:
                assert stream.try_next() is None
            assert stream.resume_token is not None
            assert stream.resume_token["_data"] > change["_id"]["_data"]
        if is_real:
            client.drop_database("test")


def test_commands_are_recorded_in_order_and_can_be_awaited(server: WireServer) -> None:
    with watching(server.uri) as stream:
        assert stream.try_next() is None
        assert server.seen("aggregate", "getMore")[:2] == ["aggregate", "getMore"]
        [opening] = [command for command in server.commands if "aggregate" in command]
        assert opening["pipeline"][1:] == [{"$match": {}}]
        assert not server.wait_for("aggregate", 2, timeout_s=0.01)
    assert server.wait_for("killCursors")


def test_a_silent_getmore_with_a_socket_timeout_resumes(server: WireServer) -> None:
    server.script("getMore", Hurt.SILENCE)
    with watching(server.uri, socketTimeoutMS=TIMEOUT_MS) as stream:
        assert stream.try_next() is None
        assert stream.alive
        assert server.seen("aggregate", "getMore") == ["aggregate", "getMore", "aggregate"]


def test_a_silent_getmore_with_a_whole_timeout_raises_and_lives(server: WireServer) -> None:
    server.script("getMore", Hurt.SILENCE)
    with watching(server.uri, timeoutMS=TIMEOUT_MS) as stream:
        with pytest.raises(NetworkTimeout) as timed_out:
            stream.try_next()
        assert timed_out.value.timeout
        assert stream.alive


def test_a_silent_getmore_without_a_timeout_blocks_even_when_the_stream_is_closed(server: WireServer) -> None:
    server.always("getMore", Hurt.SILENCE)
    with watching(server.uri) as stream, ThreadPoolExecutor(max_workers=1) as threads:
        reading = threads.submit(list[Document], stream)
        assert server.wait_for("getMore")
        stream.close()
        with pytest.raises(TimeoutError):
            reading.result(timeout=0.3)
        server.drop_connections()
        # Not a PyMongoError: the session was taken away with the stream. Nobody may close a stream under its reader.
        with pytest.raises(AttributeError):
            reading.result(timeout=20)


@pytest.mark.parametrize("code", [280, 286, 10334])
def test_a_fatal_answer_closes_the_stream(server: WireServer, code: int) -> None:
    server.script("getMore", Refusal(code=code))
    with watching(server.uri) as stream:
        with pytest.raises(OperationFailure) as refused:
            stream.try_next()
        assert refused.value.code == code
        assert not stream.alive
        assert server.seen("aggregate") == ["aggregate"]


@pytest.mark.parametrize("refusal", [Refusal(code=43), Refusal(code=189, labels=(RESUMABLE,))])
def test_a_resumable_answer_is_not_even_seen(server: WireServer, refusal: Refusal) -> None:
    server.script("getMore", Batch(token=token(3)), refusal)
    with watching(server.uri) as stream:
        assert stream.try_next() is None
        assert stream.try_next() is None
        assert stream.alive
        resumed = [command for command in server.commands if "aggregate" in command][-1]
        assert resumed["pipeline"][0]["$changeStream"]["resumeAfter"] == token(3)
        assert server.seen("aggregate") == ["aggregate"] * 2


@pytest.mark.parametrize("code", [286, 40573, 260, 13])
def test_a_refused_opening_is_not_tried_again(server: WireServer, code: int) -> None:
    server.script("aggregate", Refusal(code=code))
    with pytest.raises(OperationFailure) as refused, watching(server.uri):
        pass
    assert refused.value.code == code
    assert server.seen("aggregate") == ["aggregate"]


@pytest.mark.parametrize("hurt", [Hurt.DROP, Hurt.HALF_CLOSE])
def test_a_lost_connection_is_resumed_once_and_then_raises(server: WireServer, hurt: Hurt) -> None:
    server.script("getMore", hurt)
    with watching(server.uri) as stream:
        assert stream.try_next() is None
        assert server.seen("aggregate") == ["aggregate"] * 2
        server.always("getMore", hurt)
        server.always("aggregate", hurt)
        with pytest.raises(AutoReconnect):
            stream.try_next()
        assert stream.alive


def test_an_invalidated_stream_just_ends(server: WireServer) -> None:
    server.script(
        "getMore", Batch(events=[event(1, 5)]), Batch(events=[event(None, 6, operation="invalidate")], ends=True)
    )
    with watching(server.uri) as stream:
        assert [change["operationType"] for change in stream] == ["update", "invalidate"]
        assert not stream.alive
