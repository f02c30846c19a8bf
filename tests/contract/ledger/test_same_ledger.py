"""SQLite and PostgreSQL: the same input makes the same ledger, down to the hash."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy.engine import Engine

from reconciler.domain.effects import BlockedEffect, Effect, Obstacle, ProjectionResult
from reconciler.domain.ledger_snapshot import HoldWithdrawal
from reconciler.ledger import schema
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.operations.outbox import SqlOutbox
from reconciler.ports.journal import BatchStamp
from tests.support.ledger import (
    NOW,
    Row,
    SetClock,
    asking,
    identity,
    journal_of,
    ledger_is_sound,
    request,
    requests,
    rows_of,
)

DERIVED = (schema.chain_head, schema.accounts, schema.wallet_positions, schema.outbox)


@contextmanager
def ledger_at(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    try:
        upgrade(engine)
        yield engine
    finally:
        engine.dispose()


def play(engine: Engine, start: timedelta = timedelta()) -> None:
    """Every kind of batch that there is: fundings up and down, holds, withdrawals, refusals, odd texts, a rehearsal."""
    clock = SetClock(NOW + start)
    journal = journal_of(engine, clock)

    def post(run: int, *batch: object, budget: int = 9900, **options: object) -> None:
        now = clock.advance(timedelta(seconds=1))
        made = [request(str(name), budget=budget, facts_at=now, **options) for name in batch]  # type: ignore[arg-type]
        journal.post(asking(made), BatchStamp(run_id=f"run-{run}", trigger="schedule"))

    post(1, "pb", "pa", "oid:64b000000000000000000001", "Pa", "_", "é", "z", "Z")
    post(2, "pa", "new", budget=20_000)
    post(3, "later", budget=100)
    post(4, "other", "twice", campaign="oid:64b0000000000000000000c1", streamer="same")
    post(5, "dollars", currency="USD")
    post(6, "yen", "yen-2", campaign="c-jpy", currency="JPY")
    gone = HoldWithdrawal(participation_id=identity("z"), campaign_id=identity("c1"), reason="forfeited")
    clock.advance(timedelta(milliseconds=1))
    journal.post(asking([], [gone]), BatchStamp(run_id="run-7", trigger="watch"))
    with journal.rehearsal() as poster:
        poster.post(
            asking([request("rehearsed", campaign="c9", facts_at=clock.now)]), BatchStamp(run_id="dry", trigger="-")
        )
    journal.post(
        asking(requests(300, campaign="many", budget=990_000, facts_at=clock.now)), BatchStamp(run_id="8", trigger="")
    )
    outbox = SqlOutbox(engine, clock=clock, blocked_retry=timedelta(minutes=5))
    tasks = outbox.ready(10)
    wallets = {(task.streamer_id, task.currency): task.position.version for task in tasks}
    blocked = {tasks[-1].sequence: BlockedEffect(effect=Effect.WALLET, obstacle=Obstacle.WALLET_MISSING)}
    outbox.settle(ProjectionResult(done=[task.sequence for task in tasks[:-1]], blocked=blocked, wallets=wallets))
    outbox.again([tasks[0].sequence])
    ledger_is_sound(engine)


def test_with_one_identity_and_clock_they_are_equal_to_the_hash(
    sqlite_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = uuid.UUID("12345678-1234-4234-8234-123456789abc")
    with monkeypatch.context() as patch:
        patch.setattr(uuid, "uuid4", lambda: fixed)
        with ledger_at(sqlite_url), ledger_at(postgres_url):
            pass
    with ledger_at(sqlite_url) as sqlite, ledger_at(postgres_url) as postgres:
        for engine in (sqlite, postgres):
            play(engine)
        for table in (*schema.JOURNAL_TABLES, *DERIVED):
            assert rows_of(sqlite, table) == rows_of(postgres, table), table.name
        assert len(rows_of(sqlite, schema.chain)) == 7
        assert len(rows_of(sqlite, schema.payouts)) > 300


def test_otherwise_they_are_equal_but_for_times_and_hashes(sqlite_url: str, postgres_url: str) -> None:
    with ledger_at(sqlite_url) as sqlite, ledger_at(postgres_url) as postgres:
        play(sqlite)
        play(postgres, start=timedelta(hours=5))
        for table in (*schema.JOURNAL_TABLES, *DERIVED):
            rows, others = rows_of(sqlite, table), rows_of(postgres, table)
            assert _timeless(rows) == _timeless(others), table.name
        [ours], [theirs] = rows_of(sqlite, schema.chain_head), rows_of(postgres, schema.chain_head)
        assert ours["hash"] != theirs["hash"]


def _timeless(rows: list[Row]) -> list[Row]:
    return [
        {name: value for name, value in row.items() if not name.endswith(("_at", "hash", "not_before"))} for row in rows
    ]
