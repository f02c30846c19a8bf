"""Databases that go away in the middle of a sweep: it raises Outage or succeeds, and the next one completes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from pymongo import MongoClient

from app.parts import Parts, parts_of
from jobs.payment.sweep import Sweep, SweepLimits
from reconciler.config import load
from reconciler.devstack.mongod import MongodOptions
from reconciler.domain.settlement import PoolDue
from reconciler.errors import Outage
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from reconciler.ports.journal import BatchStamp, Journal, Posted, PostingBatch, Rehearsal
from tests.support.invariants import ledger_violations, opening, violations
from tests.support.ledger_rows import paid_minor
from tests.support.many_due import many_due
from tests.support.platform import Platform
from tests.support.servers import Postgres, ReplicaSet

DUE = 60
PAGE = 10


class Interrupted:
    """A journal that lets something happen before or after its third batch."""

    def __init__(self, journal: Journal, *, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._journal = journal
        self._before = before
        self._after = after
        self.batches = 0

    def freeze(self, due: PoolDue, facts_at: datetime, stamp: BatchStamp) -> bool:
        return self._journal.freeze(due, facts_at, stamp)

    def post(self, batch: PostingBatch, stamp: BatchStamp) -> Posted:
        self.batches += 1
        if self.batches == 3:
            self._before()
        posted = self._journal.post(batch, stamp)
        if self.batches == 3:
            self._after()
        return posted

    def rehearsal(self, *, has_limits: bool = True) -> AbstractContextManager[Rehearsal]:
        return self._journal.rehearsal(has_limits=has_limits)


def nothing() -> None:
    pass


def interrupted(parts: Parts, *, before: Callable[[], None] = nothing, after: Callable[[], None] = nothing) -> Sweep:
    return replace(
        parts.sweep,
        journal=Interrupted(parts.journal, before=before, after=after),
        limits=SweepLimits(page_size=PAGE, deadline_s=600),
    )


@contextmanager
def wired(mongodb_uri: str, ledger_url: str) -> Iterator[tuple[Parts, Platform]]:
    overrides = {
        "mongodb.uri": mongodb_uri,
        "mongodb.database": "faults",
        "mongodb.wait_max_s": 20,
        "ledger.url": ledger_url,
    }
    with parts_of(load(None, {}, overrides)) as parts, MongoClient[Any](mongodb_uri, tz_aware=True) as client:
        upgrade(parts.engine)
        client.drop_database("faults")
        create_missing(parts.connection, parts.settings.mapping)
        yield parts, Platform(client["faults"])


def outage_of(sweep: Sweep) -> Outage | None:
    """The outage that a sweep ended by; no other error is allowed."""
    try:
        sweep.step("test")
    except Outage as outage:
        return outage
    return None


@pytest.fixture(scope="module")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("three"), MongodOptions(nodes=3)) as replica_set:
        yield replica_set


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("own")) as postgres:
        yield postgres


def step_down(replica_set: ReplicaSet) -> None:
    replica_set.step_down(seconds=5)


def kill_the_primary(replica_set: ReplicaSet) -> None:
    replica_set.kill(replica_set.primary_index())


@pytest.mark.parametrize("hurt", [step_down, kill_the_primary])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_primary_goes_away_in_the_middle_of_a_sweep(
    three_nodes: ReplicaSet, sqlite_url: str, hurt: Callable[[ReplicaSet], None], moment: str
) -> None:
    """Before a batch is posted, or after it: then its effects meet a set without a primary."""
    with wired(three_nodes.uri, sqlite_url) as (parts, platform):
        paid = many_due(platform, DUE)
        before = opening(parts.engine, platform.database)

        outage = outage_of(interrupted(parts, **{moment: lambda: hurt(three_nodes)}))

        assert outage is None or outage.database == "mongodb"
        assert ledger_violations(parts.engine, before) == []
        for node in three_nodes.nodes:
            if not node.alive:
                three_nodes.restart(node.index)
        three_nodes.wait_for_primary()
        parts.sweep.step("test")
        assert paid_minor(parts.engine) == paid
        assert violations(parts.engine, platform.database, before) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_postgres_is_killed_in_the_middle_of_a_sweep(own_postgres: Postgres, mongo_uri: str, moment: str) -> None:
    with wired(mongo_uri, own_postgres.url) as (parts, platform):
        paid = many_due(platform, DUE)
        before = opening(parts.engine, platform.database)

        outage = outage_of(interrupted(parts, **{moment: own_postgres.kill}))

        assert outage is not None
        assert outage.database == "ledger"
        own_postgres.restart()
        assert ledger_violations(parts.engine, before) == []
        assert 0 < len(paid_minor(parts.engine)) < DUE
        parts.sweep.step("test")
        assert paid_minor(parts.engine) == paid
        assert violations(parts.engine, platform.database, before) == []
