"""The position of the watch: kept, dropped for good, and safe from a daemon that slept through its replacement."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.engine import Engine

from reconciler.errors import LeaseLost
from reconciler.ledger.operations.lease import Lease
from reconciler.ledger.operations.stream_positions import StreamPositions
from reconciler.ports.watch import Position
from tests.support.ledger import SetClock

REACHED = datetime(2026, 5, 1, 12, tzinfo=UTC)
FIRST = Position(token='{"_data": "82"}', reached_at=REACHED)
LATER = Position(token='{"_data": "83"}', reached_at=REACHED + timedelta(seconds=5))


@pytest.fixture
def positions(engine: Engine) -> StreamPositions:
    return StreamPositions(engine, clock=SetClock())


def test_nothing_is_kept_at_first(positions: StreamPositions) -> None:
    kept = positions.load()
    assert (kept.generation, kept.position, kept.fingerprint) == (0, None, None)


def test_the_last_one_saved_is_kept(positions: StreamPositions) -> None:
    assert positions.save(FIRST, "f1", 0)
    assert positions.save(LATER, "f2", 0)
    kept = positions.load()
    assert (kept.position, kept.fingerprint, kept.generation) == (LATER, "f2", 0)
    assert kept.changed_at == SetClock()()


def test_what_was_dropped_stays_dropped(positions: StreamPositions) -> None:
    assert positions.save(FIRST, "f", 0)
    assert positions.drop("history_lost") == 1
    assert not positions.save(LATER, "f", 0), "read before the drop"
    kept = positions.load()
    assert (kept.position, kept.fingerprint, kept.dropped_because) == (None, None, "history_lost")
    assert positions.save(LATER, "f", 1)
    assert positions.load().position == LATER
    assert positions.drop("reset") == 2
    assert positions.drop("reset") == 3


def test_dropping_before_anything_was_kept_counts(positions: StreamPositions) -> None:
    assert positions.drop("reset") == 1
    assert not positions.save(FIRST, "f", 0)
    assert positions.load().position is None


def test_one_whose_lease_changed_hands_writes_nothing(engine: Engine) -> None:
    old = Lease(engine, name="paying", holder="old", ttl=timedelta(seconds=60))
    new = Lease(engine, name="paying", holder="new", ttl=timedelta(seconds=60))
    sleeper = StreamPositions(engine, clock=SetClock(), fence=old.fence)
    assert old.acquire() == 1
    with old.term():
        assert sleeper.save(FIRST, "f", 0)
        old_epoch = old.acquire()
        assert old_epoch == 1
        # Another daemon takes over while this one sleeps in its term.
        waker = Lease(engine, name="paying", holder="old", ttl=timedelta(seconds=60))
        assert waker.acquire() == 1
        waker.resign()
        assert new.acquire() == 2
        with pytest.raises(LeaseLost):
            sleeper.save(LATER, "f", 0)
        with pytest.raises(LeaseLost):
            sleeper.drop("history_lost")
    assert StreamPositions(engine, clock=SetClock()).load().position == FIRST
