"""The daemon as a process: what it does, how it ends, and what it says while a database is away.

Everything waits for an action in the log, never for a time. The servers here are hurt, so they are this module's own.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient
from sqlalchemy.engine import Engine

from reconciler.devstack.process import free_port, wait_until
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from tests.support.command_line import CommandLine, Running
from tests.support.invariants import opening, violations
from tests.support.ledger_rows import paid_minor
from tests.support.platform import Platform
from tests.support.servers import Postgres, ReplicaSet

ENDS_WITHIN_S = 10.0
AT_ONCE_S = 3.0
"""A tenth of that on an idle machine."""


@pytest.fixture(scope="module")
def own_mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("own_mongodb")) as replica_set:
        yield replica_set


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("own_postgres")) as postgres:
        yield postgres


@pytest.fixture
def own_platform(own_mongodb: ReplicaSet) -> Iterator[Platform]:
    with MongoClient[dict[str, Any]](own_mongodb.uri, tz_aware=True) as client:
        client.drop_database("daemon")
        yield Platform(client["daemon"])


@pytest.fixture
def own_engine(own_postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty ledger on the server that is hurt."""
    engine = open_engine(own_postgres.create_database(f"ledger_{abs(hash(request.node.name))}"))
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=["with the watch", "sweeps only"])
def run_py(
    own_mongodb: ReplicaSet,
    own_engine: Engine,
    own_platform: Platform,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> CommandLine:
    """Everything here holds with the watch switched off too: losing every event costs latency only."""
    return CommandLine(
        folder=tmp_path,
        settings={
            "MONGODB_URI": own_mongodb.uri,
            "LEDGER_URL": own_engine.url.render_as_string(hide_password=False),
            "RECONCILER__MONGODB__DATABASE": own_platform.database.name,
            "RECONCILER__MONGODB__WAIT_MAX_S": "1",
            "RECONCILER__SWEEP__INTERVAL_S": "1",
            "RECONCILER__LEDGER__WAIT_MAX_S": "1",
            "RECONCILER__WATCH__ENABLED": str(request.param == "with the watch").lower(),
        },
    )


def ended_by_sigterm(daemon: Running, *, within_s: float = ENDS_WITHIN_S) -> int:
    daemon.send(signal.SIGTERM)
    return daemon.ended(within_s=within_s)


def test_it_pays_who_becomes_due_later_and_ends_when_told_to(
    own_platform: Platform, own_engine: Engine, run_py: CommandLine
) -> None:
    early = own_platform.participation(own_platform.campaign(), 2000)
    late = own_platform.participation(own_platform.campaign(), 1999)
    before = opening(own_engine, own_platform.database)

    with run_py.start() as daemon:
        daemon.wait_for("payouts_posted")
        assert paid_minor(own_engine) == {str(early): 330_000}
        participations = own_platform.database["campaignparticipations"]
        participations.update_one({"_id": late}, {"$inc": {"impressions": 1}})
        daemon.wait_for("payouts_posted", times=2)
        assert ended_by_sigterm(daemon) == 0
        assert daemon.events("daemon_stopped")

    assert paid_minor(own_engine) == {str(early): 330_000, str(late): 330_000}
    assert violations(own_engine, own_platform.database, before) == []


def test_a_frozen_mongodb_does_not_keep_it(own_mongodb: ReplicaSet, run_py: CommandLine) -> None:
    """One is told once and gives its workers their time; one is told twice; one still waits for the database."""
    with run_py.start() as patient, run_py.start() as hurried:
        for daemon in (patient, hurried):
            daemon.wait_for("daemon_started")
        own_mongodb.freeze(0)
        try:
            with run_py.start(RECONCILER__MONGODB__WAIT_MAX_S="60") as starting:
                assert wait_until(lambda: is_connected(starting, own_mongodb.nodes[0].port), timeout_s=60)
                for daemon in (patient, hurried, starting):
                    daemon.send(signal.SIGTERM)
                for daemon in (patient, hurried):
                    daemon.wait_for("daemon_stopping")
                assert starting.ended(within_s=AT_ONCE_S) == 0
                hurried.send(signal.SIGTERM)
                assert hurried.ended(within_s=AT_ONCE_S) == 128 + signal.SIGTERM
                assert patient.ended(within_s=ENDS_WITHIN_S) == 0
        finally:
            own_mongodb.thaw(0)


def test_a_ledger_that_is_down_does_not_keep_it(own_postgres: Postgres, run_py: CommandLine) -> None:
    with run_py.start() as daemon:
        daemon.wait_for("daemon_started")
        own_postgres.kill()
        try:
            with run_py.start() as starting:
                for one in (daemon, starting):
                    assert one.wait_for("outage")[0]["database"] == "ledger"
                assert [ended_by_sigterm(daemon), ended_by_sigterm(starting)] == [0, 0]
        finally:
            own_postgres.restart()


def test_it_waits_for_databases_that_are_not_there_yet(run_py: CommandLine) -> None:
    nowhere = f"mongodb://127.0.0.1:{free_port()}/?replicaSet=x"
    with run_py.start(MONGODB_URI=nowhere) as daemon:
        assert daemon.wait_for("outage")[0]["database"] == "mongodb"
        assert ended_by_sigterm(daemon) == 0
        assert len(daemon.events("outage")) == 1


def test_databases_may_go_and_come_back(
    own_mongodb: ReplicaSet, own_postgres: Postgres, own_platform: Platform, own_engine: Engine, run_py: CommandLine
) -> None:
    campaign_id = own_platform.campaign(budget=9900)
    first = own_platform.participation(campaign_id, 6000)
    before = opening(own_engine, own_platform.database)
    with run_py.start() as daemon:
        daemon.wait_for("payouts_posted")

        own_mongodb.kill(0)
        daemon.wait_for("outage")
        own_mongodb.restart(0)
        own_mongodb.wait_for_primary()
        assert wait_until(lambda: are_over(daemon, "mongodb"), timeout_s=60)

        own_postgres.kill()
        assert wait_until(lambda: bool(outages(daemon, "ledger")), timeout_s=60)
        own_postgres.restart()
        assert wait_until(lambda: are_over(daemon, "mongodb", "ledger"), timeout_s=60)

        second = own_platform.participation(own_platform.campaign(), 2000)
        before = opening(own_engine, own_platform.database) if not paid_minor(own_engine) else before
        daemon.wait_for("payouts_posted", times=2)
        assert wait_until(lambda: receipts(own_platform) == 2, timeout_s=30)
        assert ended_by_sigterm(daemon) == 0
        # Once for each worker that met it, not once for each try.
        said = [(event["worker"], event["database"]) for event in daemon.events("outage")]
        assert len(said) == len(set(said)), said
        assert len(daemon.lines) < 30

    assert paid_minor(own_engine).keys() == {str(first), str(second)}


def outages(daemon: Running, *databases: str) -> list[str]:
    """The workers that said that one of some databases cannot be reached."""
    return [event["worker"] for event in daemon.events("outage") if event["database"] in databases]


def are_over(daemon: Running, *databases: str) -> bool:
    """Whether there were outages of some databases, and every worker that met one has said that it works again."""
    over = [event["worker"] for event in daemon.events("outage_over")]
    met = outages(daemon, *databases)
    return bool(met) and sorted(over) == sorted(met)


def is_connected(daemon: Running, port: int) -> bool:
    """A frozen server says nothing, but its kernel takes connections."""
    connections = psutil.Process(daemon.process.pid).net_connections()
    return any(getattr(connection.raddr, "port", None) == port for connection in connections)


def receipts(platform: Platform) -> int:
    return platform.database["campaignparticipations"].count_documents({"finalEarningsTransferred": True})
