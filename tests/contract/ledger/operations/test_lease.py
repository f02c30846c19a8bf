"""The lease on both databases: one holder, an epoch that only grows, and a fence that keeps out who slept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.clock import utc_now
from reconciler.domain.batch import PostingRules
from reconciler.domain.plan import BatchPlan
from reconciler.errors import LeaseLost
from reconciler.ledger.database_clock import LedgerClock
from reconciler.ledger.engine import open_engine, reading, writing
from reconciler.ledger.journal.posting import SqlJournal
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.operations.lease import Lease, is_held
from reconciler.ledger.schema import chain_head, leases
from reconciler.ports.journal import BatchStamp
from tests.support.varied_ledger import decision_of

LONG = timedelta(minutes=10)


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    engine = open_engine(ledger_url)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def lease_of(engine: Engine) -> Callable[..., Lease]:
    return lambda holder, ttl=LONG: Lease(engine, name="paying", holder=holder, ttl=ttl)


def expire(engine: Engine) -> None:
    """As if the ttl had passed: on the database's own clock."""
    past = {"sqlite": "'2001-01-01 00:00:00.000000'", "postgresql": "clock_timestamp() - interval '1 second'"}
    with writing(engine) as connection:
        connection.execute(sa.text(f"UPDATE leases SET expires_at = {past[engine.dialect.name]}"))


def passes(engine: Engine, lease: Lease) -> bool:
    try:
        with writing(engine) as connection:
            lease.fence(connection)
    except LeaseLost:
        return False
    return True


def test_the_first_has_it_and_a_second_is_refused(lease_of: Callable[..., Lease]) -> None:
    a, b = lease_of("a"), lease_of("b")

    assert (a.acquire(), b.acquire(), a.acquire()) == (1, None, 1)
    assert b.holder() == "a"


def test_leases_of_other_names_do_not_meet(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    other = Lease(engine, name="other", holder="b", ttl=LONG)

    assert (lease_of("a").acquire(), other.acquire()) == (1, 1)


def test_whoever_takes_over_after_expiry_gets_a_higher_epoch(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    a, b = lease_of("a"), lease_of("b")
    a.acquire()
    expire(engine)

    assert (b.acquire(), a.acquire(), b.acquire()) == (2, None, 2)


def test_a_renewal_after_expiry_is_a_new_term_too(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    a = lease_of("a")
    a.acquire()
    with a.term():
        expire(engine)
        assert a.acquire() == 2
        assert not passes(engine, a)
    with a.term():
        assert passes(engine, a)


def test_the_fence_refuses_who_slept_through_a_take_over(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    a, b = lease_of("a"), lease_of("b")
    a.acquire()
    with a.term():
        assert passes(engine, a)
        expire(engine)
        # Expired and nobody there yet: nothing speaks against it.
        assert passes(engine, a)
        b.acquire()
        assert not passes(engine, a)
        expire(engine)
        # Even when it leads again: this work was begun before.
        assert a.acquire() == 3
        assert not passes(engine, a)


def test_the_fence_asks_whether_the_term_may_go_on(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    a = lease_of("a")
    a.acquire()
    with a.term(lambda: False):
        assert not passes(engine, a)


def test_work_without_a_term_is_not_fenced_and_a_term_needs_the_lease(
    engine: Engine, lease_of: Callable[..., Lease]
) -> None:
    a, b = lease_of("a"), lease_of("b")
    a.acquire()
    b.acquire()

    assert passes(engine, b)
    with pytest.raises(LeaseLost), b.term():
        pass


def test_resigning_lets_another_in_at_once_and_keeps_the_epoch(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    a, b = lease_of("a"), lease_of("b")
    a.acquire()
    a.resign()

    assert b.acquire() == 2
    b.resign()
    assert b.acquire() == 3
    # Who has nothing takes nothing away.
    a.resign()
    assert a.acquire() is None


def test_a_late_resignation_takes_nothing_from_the_next_holder(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    a, b = lease_of("a"), lease_of("b")
    a.acquire()
    expire(engine)
    b.acquire()

    a.resign()

    assert a.acquire() is None
    assert b.acquire() == 2


def test_the_ttl_is_kept_on_the_databases_clock_and_reads_as_a_time(
    engine: Engine, lease_of: Callable[..., Lease]
) -> None:
    lease_of("a", timedelta(seconds=90)).acquire()

    with reading(engine) as connection:
        expires_at = connection.execute(sa.select(leases.c.expires_at)).scalar_one()
        raw = connection.execute(sa.text("SELECT CAST(expires_at AS text) FROM leases")).scalar_one()
    assert timedelta(seconds=80) < expires_at - utc_now() <= timedelta(seconds=91)
    if engine.dialect.name == "sqlite":
        # The very form of our own columns: texts of two forms would not compare as times do.
        assert raw == f"{expires_at:%Y-%m-%d %H:%M:%S.%f}"


def test_a_lease_runs_out_by_itself(lease_of: Callable[..., Lease]) -> None:
    a, b = lease_of("a", timedelta(milliseconds=300)), lease_of("b")
    a.acquire()
    waiting = threading.Event()
    answers = [b.acquire()]
    while answers[-1] is None and len(answers) < 500:
        waiting.wait(0.02)
        answers.append(b.acquire())
    assert answers[-1] == 2


def test_the_clock_of_the_process_plays_no_part(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    """No time of ours is ever sent: what goes to the database is names, an epoch and the length of the ttl."""
    sent: list[object] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, _sql: str, parameters: Any, *_: object) -> None:
        sent.extend(parameters.values() if isinstance(parameters, dict) else parameters)

    a = lease_of("a")
    a.acquire()
    with a.term():
        assert passes(engine, a)
    a.resign()

    assert set(sent) == {"paying", "a", "600.000", 1}


def test_one_of_many_who_ask_at_once_has_it(lease_of: Callable[..., Lease]) -> None:
    candidates = [lease_of(f"holder {number}") for number in range(8)]
    answers: list[int | None] = []
    threads = [threading.Thread(target=lambda one=one: answers.append(one.acquire())) for one in candidates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers, key=str) == [1, *[None] * 7]


def test_a_batch_of_a_lost_term_is_rolled_back(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    a, b = lease_of("a"), lease_of("b")
    journal = SqlJournal(engine, clock=LedgerClock(), rules=PostingRules(facts_age_max=LONG), fence=a.fence)
    a.acquire()
    with a.term():
        expire(engine)
        b.acquire()
        with pytest.raises(LeaseLost), journal.locked() as locked:
            locked.write(BatchPlan(decisions=[decision_of("k", "halt", "paying")]), BatchStamp(run_id="r", trigger="t"))

    with reading(engine) as connection:
        assert connection.execute(sa.select(chain_head.c.batch)).scalar_one() == 0


def test_nobody_takes_over_while_a_fenced_transaction_is_open(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    a, b = lease_of("a"), lease_of("b")
    a.acquire()
    expire(engine)
    taken = threading.Event()

    def take() -> None:
        if b.acquire() == 2:
            taken.set()

    with a.term():
        with writing(engine) as connection:
            a.fence(connection)
            thread = threading.Thread(target=take)
            thread.start()
            assert not taken.wait(0.3)
        thread.join(20)
    assert taken.is_set()


@pytest.mark.parametrize("ahead", ["1 hour", "10 years"])
def test_a_lease_that_reaches_far_beyond_its_ttl_is_taken(
    engine: Engine, lease_of: Callable[..., Lease], ahead: str
) -> None:
    """A clock was wrong when it was taken, or somebody edited the row: nobody may have to wait for it."""
    minute = timedelta(minutes=1)
    a, b = lease_of("a", minute), lease_of("b", minute)
    a.acquire()
    until = {"sqlite": f"strftime('%Y-%m-%d %H:%M:%f', 'now', '+{ahead}') || '000'", "postgresql": f"now() + '{ahead}'"}
    with writing(engine) as connection:
        connection.execute(sa.text(f"UPDATE leases SET expires_at = {until[engine.dialect.name]}"))

    with a.term():
        assert b.acquire() == 2
        assert not passes(engine, a)
    assert a.acquire() is None


def test_a_lease_in_ten_years_is_held_by_nobody(engine: Engine, lease_of: Callable[..., Lease]) -> None:
    lease_of("a").acquire()
    with reading(engine) as connection:
        assert is_held(connection, "paying")
    year = {"sqlite": "'2036-01-01 00:00:00.000000'", "postgresql": "now() + interval '10 years'"}
    with writing(engine) as connection:
        connection.execute(sa.text(f"UPDATE leases SET expires_at = {year[engine.dialect.name]}"))
    with reading(engine) as connection:
        assert not is_held(connection, "paying")
