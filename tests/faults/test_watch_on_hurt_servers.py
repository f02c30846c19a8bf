"""The watch while its server is hurt: stepped down, killed, frozen, short of history, standalone, refused.

After each of these the next change is paid by the watch again, and what changed meanwhile was not forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from reconciler.clock import utc_now
from reconciler.devstack.mongod import MongodOptions
from reconciler.devstack.process import wait_until
from reconciler.errors import Outage
from reconciler.ledger.engine import open_engine
from reconciler.ledger.operations.stream_positions import StreamPositions
from tests.support.platform import Platform
from tests.support.servers import ReplicaSet
from tests.support.watched import WITHIN_S, Watched, watched

Document = dict[str, Any]
Watching = Callable[..., AbstractContextManager[Watched]]


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """A replica set of one whose oplog is short: history is lost after a few seconds of writing."""
    options = MongodOptions(oplog_size_mb=10, checkpoint_interval_s=1)
    with ReplicaSet(tmp_path_factory.mktemp("hurt"), options) as replica_set:
        yield replica_set


@pytest.fixture
def platform(hurt: ReplicaSet, request: pytest.FixtureRequest) -> Iterator[Platform]:
    yield from platform_on(hurt, request.node.name)


def platform_on(server: ReplicaSet, name: str) -> Iterator[Platform]:
    with MongoClient[Document](server.uri, tz_aware=True) as client:
        database = client[name[:30]]
        yield Platform(database)
        client.drop_database(database.name)


@pytest.fixture
def watching(hurt: ReplicaSet, platform: Platform, sqlite_url: str) -> Watching:
    servers = {"mongodb.uri": hurt.uri, "mongodb.database": platform.database.name, "ledger.url": sqlite_url}
    return lambda overrides=None: watched(servers, overrides)


def add_due(platform: Platform) -> Any:
    """Somebody new who is due, as soon as the server takes the write."""
    found: list[Any] = []

    def insert() -> bool:
        try:
            found.append(platform.participation(platform.campaign(), 2000))
        except PyMongoError:
            return False
        return True

    assert wait_until(insert, timeout_s=WITHIN_S)
    return found[0]


def test_the_primary_steps_down(hurt: ReplicaSet, platform: Platform, watching: Watching) -> None:
    with watching() as daemon:
        daemon.wait_streaming()
        hurt.step_down(seconds=2)
        hurt.wait_for_primary()
        daemon.wait_paid(add_due(platform), trigger=None)
        daemon.wait(lambda: daemon.stream["state"] == "streaming", "streaming again")
        daemon.wait_swept()
        daemon.wait_paid(add_due(platform))


def test_the_primary_is_killed_and_started_again(hurt: ReplicaSet, platform: Platform, watching: Watching) -> None:
    with watching({"watch.retry_s": 0.3, "mongodb.wait_max_s": 0.5}) as daemon:
        daemon.wait_streaming()
        daemon.wait(lambda: daemon.stream["token_kept_at"] is not None)
        hurt.kill(0)
        line = daemon.wait_for("stream_state", state="backing_off")
        assert line["log_level"] == "warning"
        assert line["why"].startswith("connection:")
        daemon.wait(lambda: daemon.stream["state"] == "backing_off")
        hurt.restart(0)
        hurt.wait_for_primary()
        meanwhile = add_due(platform)
        daemon.wait_paid(meanwhile, trigger=None)
        daemon.wait(lambda: daemon.stream["state"] == "streaming", "streaming again")
        daemon.wait_swept(daemon.stream["since"])
        daemon.wait_paid(add_due(platform))
        # Every change of state once, however often it was tried meanwhile; and the position went on being good.
        assert len(daemon.events("stream_state", state="backing_off")) <= 2
        assert daemon.stream["positions_lost"] == 0
        assert daemon.stream["reopens"] >= 1


def test_a_server_that_falls_silent_is_given_up_and_found_again(
    hurt: ReplicaSet, platform: Platform, watching: Watching
) -> None:
    with watching({"watch.silence_max_s": 1, "mongodb.wait_max_s": 1, "watch.open_max_s": 2}) as daemon:
        daemon.wait_streaming()
        hurt.freeze(0)
        try:
            daemon.wait_for("stream_state", state="backing_off")
        finally:
            hurt.thaw(0)
        daemon.wait(lambda: daemon.stream["state"] == "streaming", "streaming again")
        daemon.wait_swept(daemon.stream["since"])
        daemon.wait_paid(add_due(platform))


def test_the_history_is_lost_while_the_daemon_is_down(platform: Platform, watching: Watching, sqlite_url: str) -> None:
    with watching() as daemon:
        daemon.wait_streaming()
        daemon.wait(lambda: daemon.stream["token_kept_at"] is not None)
    engine = open_engine(sqlite_url)
    dead = StreamPositions(engine, clock=utc_now).load()
    assert dead.position is not None
    missed = add_due(platform)
    junk = platform.database["junk"]

    def is_lost() -> bool:
        junk.insert_many([{"b": b"x" * 200_000} for _ in range(100)])
        oldest = platform.database.client["local"]["oplog.rs"].find_one(sort=[("$natural", 1)])
        assert oldest is not None
        assert dead.position is not None
        assert dead.position.reached_at is not None
        return bool(oldest["ts"].as_datetime() > dead.position.reached_at)

    assert wait_until(is_lost, timeout_s=WITHIN_S)
    junk.drop()
    with watching() as daemon:
        assert daemon.wait_for("stream_position_lost")["reason"] == "history_lost"
        daemon.wait_paid(missed, trigger="sweep")
        daemon.wait_streaming()
        daemon.wait_paid(add_due(platform))
        assert len(daemon.events("stream_position_lost")) == 1
        registry = daemon.parts.metrics.registry
        assert registry.get_sample_value("payout_stream_history_lost_total") == 1
        assert registry.get_sample_value("payout_stream_reopens_total", {"reason": "history_lost"}) == 1
        kept = StreamPositions(engine, clock=utc_now).load()
        assert kept.generation == dead.generation + 1
        assert kept.position != dead.position
    engine.dispose()


def test_a_standalone_server_is_swept_until_it_is_a_replica_set(tmp_path: Path, sqlite_url: str) -> None:
    with ReplicaSet(tmp_path / "standalone", MongodOptions(standalone=True)) as server:
        servers = {"mongodb.uri": server.uri, "mongodb.database": "alone", "ledger.url": sqlite_url}
        with platform_of(server) as platform, watched(servers, {"sweep.interval_s": 0.5}) as daemon:
            line = daemon.wait_for("stream_state", state="degraded_polling")
            assert "rs.initiate()" in line["how"]
            assert "--replSet" in line["how"]
            by_sweep = add_due(platform)
            daemon.wait_paid(by_sweep, trigger="sweep")
            assert daemon.stream["why"].startswith("no_change_streams")
            server.become_replica_set()
            daemon.wait(lambda: daemon.stream["state"] == "streaming", "streaming by itself")
            assert len(daemon.events("stream_state", state="degraded_polling")) <= 2
            daemon.wait(lambda: reads_from_snapshots(daemon), "reading from snapshots")
            daemon.wait_paid(add_due(platform), trigger=None)


def reads_from_snapshots(daemon: Watched) -> bool:
    """Each read closes one connection that was made before there were sessions; a pool may hold several of them."""
    try:
        return daemon.parts.facts.read([]).as_of is not None
    except Outage:
        return False


@contextmanager
def platform_of(server: ReplicaSet) -> Iterator[Platform]:
    with MongoClient[Document](server.uri, tz_aware=True) as client:
        yield Platform(client["alone"])


def test_a_privilege_is_revoked_and_granted_again(tmp_path: Path, sqlite_url: str) -> None:
    resource = {"db": "guarded", "collection": ""}
    actions = ["find", "insert", "update", "remove", "createIndex", "listCollections", "listIndexes", "collStats"]
    payer = [{"resource": resource, "actions": actions}]
    watcher = [{"resource": resource, "actions": ["changeStream"]}]
    with (
        ReplicaSet(tmp_path / "guarded", MongodOptions(access_control=True)) as server,
        MongoClient[Document](server.uri, tz_aware=True) as client,
    ):
        admin, platform = client["admin"], Platform(client["guarded"])
        admin.command("createRole", "payer", privileges=payer, roles=[])
        admin.command("createRole", "watcher", privileges=watcher, roles=[])
        admin.command("createUser", "daemon", pwd="p", roles=["payer", "watcher"])
        uri = server.uri_as("daemon", "p")
        servers = {"mongodb.uri": uri, "mongodb.database": "guarded", "ledger.url": sqlite_url}
        with watched(servers, {"sweep.interval_s": 0.5}) as daemon:
            daemon.wait(lambda: daemon.stream["state"] == "streaming", "streaming")
            admin.command("updateRole", "watcher", privileges=[])
            line = daemon.wait_for("stream_state", state="degraded_polling")
            assert "changeStream" in line["how"]
            daemon.wait_paid(add_due(platform), trigger="sweep")
            assert daemon.stream["why"].startswith("no_privilege")
            admin.command("updateRole", "watcher", privileges=watcher)
            daemon.wait(lambda: daemon.stream["state"] == "streaming", "streaming by itself")
            assert daemon.stream["positions_lost"] == 0
