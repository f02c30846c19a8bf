"""The daemon with its watch as a process: it pays at once, and ends within ten seconds whatever the watch is doing."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from reconciler.devstack.mongod import MongodOptions
from reconciler.devstack.process import wait_until
from tests.support.command_line import CommandLine, Running
from tests.support.platform import Platform
from tests.support.servers import ReplicaSet

ENDS_WITHIN_S = 10.0
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("watched")) as replica_set:
        yield replica_set


@pytest.fixture
def platform(server: ReplicaSet) -> Iterator[Platform]:
    with MongoClient[dict[str, Any]](server.uri, tz_aware=True) as client:
        client.drop_database("watched")
        yield Platform(client["watched"])


@pytest.fixture
def run_py(server: ReplicaSet, tmp_path: Path) -> CommandLine:
    return CommandLine(
        folder=tmp_path,
        settings={
            "MONGODB_URI": server.uri,
            "LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
            "RECONCILER__MONGODB__DATABASE": "watched",
            "RECONCILER__MONGODB__WAIT_MAX_S": "2",
            "RECONCILER__SWEEP__INTERVAL_S": "600",
            "RECONCILER__WATCH__KEEP_S": "0.1",
        },
    )


def in_state(daemon: Running, state: str) -> None:
    def holds() -> bool:
        return any(line["state"] == state for line in daemon.events("stream_state"))

    assert wait_until(holds, timeout_s=WITHIN_S), f"never {state}"


def kept_token(folder: Path) -> str | None:
    with closing(sqlite3.connect(folder / "ledger.db")) as file:
        row = file.execute("SELECT token FROM stream_positions").fetchone()
    return None if row is None else row[0]


def ended(daemon: Running) -> int:
    daemon.send(signal.SIGTERM)
    return daemon.ended(within_s=ENDS_WITHIN_S)


def test_it_pays_at_once_and_goes_on_from_its_position(platform: Platform, run_py: CommandLine, tmp_path: Path) -> None:
    late = platform.participation(platform.campaign(), 1999)
    with run_py.start() as daemon:
        in_state(daemon, "streaming")
        platform.database["campaignparticipations"].update_one({"_id": late}, {"$inc": {"impressions": 1}})
        [paid] = daemon.wait_for("payouts_posted")
        assert paid["trigger"] in ("watch", "sweep")
        assert ended(daemon) == 0
    assert kept_token(tmp_path)
    with run_py.start() as daemon:
        in_state(daemon, "streaming")
        assert daemon.events("stream_position_lost") == []
        assert ended(daemon) == 0


def test_it_ends_while_a_getmore_hangs_and_keeps_its_position(
    server: ReplicaSet, platform: Platform, run_py: CommandLine, tmp_path: Path
) -> None:
    with run_py.start() as daemon:
        in_state(daemon, "streaming")
        assert wait_until(lambda: kept_token(tmp_path) is not None, timeout_s=WITHIN_S)
        server.freeze(0)
        try:
            assert ended(daemon) == 0
        finally:
            server.thaw(0)
    assert kept_token(tmp_path)


def test_it_ends_while_the_stream_is_interrupted(server: ReplicaSet, platform: Platform, run_py: CommandLine) -> None:
    with run_py.start() as daemon:
        in_state(daemon, "streaming")
        server.kill(0)
        try:
            in_state(daemon, "backing_off")
            assert ended(daemon) == 0
        finally:
            server.restart(0)
            server.wait_for_primary()


def test_it_ends_while_it_stands_by(platform: Platform, run_py: CommandLine) -> None:
    with run_py.start() as leader:
        in_state(leader, "streaming")
        with run_py.start() as other:
            other.wait_for("standing_by")
            assert other.events("stream_state") == [], "only the leader opens a stream"
            assert ended(other) == 0
        with run_py.start() as other:
            other.wait_for("standing_by")
            assert ended(leader) == 0
            in_state(other, "streaming")
            assert ended(other) == 0


def test_it_ends_on_a_standalone_server(run_py: CommandLine, tmp_path: Path) -> None:
    with (
        ReplicaSet(tmp_path / "alone", MongodOptions(standalone=True)) as alone,
        run_py.start(MONGODB_URI=alone.uri) as daemon,
    ):
        in_state(daemon, "degraded_polling")
        assert ended(daemon) == 0


def test_switched_off_it_opens_no_stream(platform: Platform, run_py: CommandLine, tmp_path: Path) -> None:
    due = platform.participation(platform.campaign(), 2000)
    with run_py.start(RECONCILER__WATCH__ENABLED="false") as daemon:
        daemon.wait_for("watch_disabled")
        daemon.wait_for("payouts_posted")
        assert daemon.events("stream_state") == []
        assert ended(daemon) == 0
    assert kept_token(tmp_path) is None
    assert platform.read("campaignparticipations", due)["status"] == "completed"
