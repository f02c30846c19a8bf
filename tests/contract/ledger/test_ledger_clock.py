"""What is posted takes the ledger's time, and never one before what was posted before, whatever a host's clock says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from structlog.testing import capture_logs

from reconciler.clock import utc_now
from reconciler.domain.batch import Outcome, PostingRules
from reconciler.domain.plan import halting_plan
from reconciler.errors import ClockOff
from reconciler.ledger import schema
from reconciler.ledger.database_clock import LedgerClock, database_now
from reconciler.ledger.engine import open_engine, reading
from reconciler.ledger.journal.decisions import Decisions
from reconciler.ledger.journal.posting import SqlJournal
from reconciler.ledger.migrate import upgrade
from tests.support.ledger import SIGNED, STAMP, ToldClock, asking, chain_is_sound, ledger_is_sound, request, rows_of

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
YEAR = 365 * DAY
FACTS_AGE_MAX = timedelta(seconds=30)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Engine]:
    engine = open_engine(postgres_url)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Engine]:
    engine = open_engine(sqlite_url)
    upgrade(engine)
    yield engine
    engine.dispose()


def off_by(shift: timedelta) -> Callable[[], datetime]:
    """A host's clock that is wrong."""
    return lambda: utc_now() + shift


def journal_on(engine: Engine, shift: timedelta = timedelta(), **settings: timedelta) -> SqlJournal:
    """A journal that really asks its database, on a host whose clock is off."""
    clock = LedgerClock(host=off_by(shift), **settings)
    return SqlJournal(engine, clock=clock, rules=PostingRules(facts_age_max=FACTS_AGE_MAX))


def pay(journal: SqlJournal, participation: str, facts_at: datetime | None = None) -> Outcome:
    asked = request(participation, campaign=f"c-{participation}", facts_at=facts_at or utc_now())
    return journal.post(asking([asked]), STAMP).outcomes[asked.key]


def post_long_ago(engine: Engine, at: datetime, participation: str = "earlier") -> None:
    """As an earlier version posted on a host that believed it."""
    journal = SqlJournal(engine, clock=ToldClock(lambda: at), rules=PostingRules(facts_age_max=FACTS_AGE_MAX))
    assert pay(journal, participation, at) is Outcome.NEW


def booked(engine: Engine) -> list[datetime]:
    return [row["booked_at"] for row in rows_of(engine, schema.entries)]


def test_postgresql_dates_what_is_posted_itself(postgres: Engine) -> None:
    """A host that is off by less than what is allowed leaves no trace of its own clock."""
    with reading(postgres) as connection:
        before = database_now(connection)
    assert pay(journal_on(postgres, 4 * SECOND), "p1") is Outcome.NEW
    with reading(postgres) as connection:
        after = database_now(connection)

    [payout] = rows_of(postgres, schema.payouts)
    [task] = rows_of(postgres, schema.outbox)
    [link] = rows_of(postgres, schema.chain)
    for time in (*booked(postgres), payout["created_at"], task["not_before"], link["created_at"]):
        assert before <= time <= after
    ledger_is_sound(postgres)


@pytest.mark.parametrize("shift", [-35 * DAY, -6 * SECOND, 6 * SECOND, DAY, YEAR], ids=str)
def test_a_host_off_by_more_posts_nothing_and_says_so_once(postgres: Engine, shift: timedelta) -> None:
    journal = journal_on(postgres, shift)
    with capture_logs() as said:
        for _ in range(2):
            with pytest.raises(ClockOff, match="clock_skew_max_s"):
                pay(journal, "p1", utc_now() + shift)

    assert rows_of(postgres, schema.entries) == []
    assert [line["action"] for line in said] == ["clock_off"]
    assert ("ahead of" if shift > timedelta() else "behind") in said[0]["reason"]


def test_a_host_pays_again_by_itself_when_its_clock_is_right(postgres: Engine) -> None:
    shift = [DAY]
    clock = LedgerClock(host=lambda: utc_now() + shift[0])
    journal = SqlJournal(postgres, clock=clock, rules=PostingRules(facts_age_max=FACTS_AGE_MAX))
    with capture_logs() as said:
        with pytest.raises(ClockOff):
            pay(journal, "p1")
        assert clock.fault() is not None
        shift[0] = timedelta()
        assert pay(journal, "p1") is Outcome.NEW

    assert clock.fault() is None
    assert [line["action"] for line in said] == ["clock_off", "clock_right_again"]


def test_how_far_it_may_be_off_is_a_setting(postgres: Engine) -> None:
    assert pay(journal_on(postgres, -20 * SECOND, skew_max=30 * SECOND), "p1") is Outcome.NEW
    with pytest.raises(ClockOff):
        pay(journal_on(postgres, -40 * SECOND, skew_max=30 * SECOND), "p2")


def test_a_wait_for_the_lock_is_no_skew_and_the_time_is_that_after_it(postgres: Engine) -> None:
    """Nor is the time that of a statement which began before the lock was there: facts grow old while it waits."""
    journal = journal_on(postgres, skew_max=SECOND / 2)
    answers: list[datetime] = []
    is_waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def wait_for_it() -> None:
        with journal.locked() as locked:
            answers.append(locked.now)

    waiter = threading.Thread(target=wait_for_it)
    with postgres.begin() as holder:
        holder.execute(sa.select(schema.chain_head).with_for_update())
        waiter.start()
        with postgres.connect() as onlooker:
            while onlooker.execute(is_waiting).scalar_one() == 0:
                onlooker.rollback()
        # Nothing but time can make a wait long; what is waited for is the database's own clock.
        holder.execute(sa.text("SELECT pg_sleep(1)"))
        let_go_at = database_now(holder)
    waiter.join(timeout=60)

    assert len(answers) == 1
    assert answers[0] >= let_go_at


def test_who_waited_for_a_batch_is_not_dated_before_it(postgres: Engine) -> None:
    """The statement that waits looks at the ledger as it was before; the batch it waited for is the one that counts."""
    ahead = utc_now() + YEAR
    is_locked, may_end = threading.Event(), threading.Event()

    def post_and_linger() -> None:
        journal = SqlJournal(postgres, clock=ToldClock(lambda: ahead), rules=PostingRules(facts_age_max=FACTS_AGE_MAX))
        with journal.locked() as locked:
            is_locked.set()
            assert may_end.wait(60)
            locked.write(halting_plan("safety_limit", "nothing to do with it", utc_now()), STAMP)

    first = threading.Thread(target=post_and_linger)
    second = threading.Thread(
        target=lambda: Decisions(journal_on(postgres), run_id="r", four_eyes=False).resume(SIGNED)
    )
    first.start()
    assert is_locked.wait(60)
    second.start()
    with postgres.connect() as onlooker:
        query = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        while onlooker.execute(query).scalar_one() == 0:
            onlooker.rollback()
    may_end.set()
    first.join(timeout=60)
    second.join(timeout=60)

    times = [link["created_at"] for link in rows_of(postgres, schema.chain)]
    assert times == [ahead, ahead]
    chain_is_sound(postgres)


def test_nothing_is_dated_before_what_was_posted_before(engine: Engine) -> None:
    """The database's clock was put back, or a stand-by whose clock is behind was promoted: a closed month stays."""
    last = utc_now() + 3 * SECOND
    post_long_ago(engine, last)
    assert pay(journal_on(engine), "p1") is Outcome.NEW
    assert pay(journal_on(engine), "p2") is Outcome.NEW

    times = booked(engine)
    assert times == sorted(times)
    assert min(times) == last
    ledger_is_sound(engine)


def test_a_year_ahead_in_the_ledger_stops_nobody_on_postgresql(postgres: Engine) -> None:
    """One run on a host that was a year ahead, of a version that believed it: what comes next is dated like it."""
    ahead = utc_now() + YEAR
    post_long_ago(postgres, ahead)
    assert [pay(journal_on(postgres), name) for name in ("p1", "p2")] == [Outcome.NEW, Outcome.NEW]
    assert set(booked(postgres)) == {ahead}
    tasks = rows_of(postgres, schema.outbox)
    assert [task["not_before"] < ahead - DAY for task in tasks] == [False, True, True]
    ledger_is_sound(postgres)


def test_a_host_behind_the_last_entry_posts_nothing_on_sqlite(sqlite: Engine) -> None:
    """An embedded database has no clock of its own: the last entry is the witness."""
    assert pay(journal_on(sqlite), "p1") is Outcome.NEW
    with pytest.raises(ClockOff, match=r"35\.0 days behind the last entry"):
        pay(journal_on(sqlite, -35 * DAY), "p2", utc_now() - 35 * DAY)
    assert len(rows_of(sqlite, schema.payouts)) == 1
    assert pay(journal_on(sqlite), "p2") is Outcome.NEW


def test_what_a_person_is_told_to_do_lets_sqlite_pay_again(sqlite: Engine) -> None:
    """The host was a day ahead once, and is right now: the limit is raised as the sentence says."""
    post_long_ago(sqlite, utc_now() + DAY)
    with pytest.raises(ClockOff, match=r"safety\.clock_skew_max_s above 86[0-9]{3}"):
        pay(journal_on(sqlite), "p1")
    assert pay(journal_on(sqlite, skew_max=DAY), "p1") is Outcome.NEW
    ledger_is_sound(sqlite)


def test_two_hosts_that_differ_post_in_turn(engine: Engine) -> None:
    ahead, behind = journal_on(engine, 2 * SECOND), journal_on(engine, -2 * SECOND)
    for number in range(3):
        assert pay(ahead, f"a{number}") is Outcome.NEW
        assert pay(behind, f"b{number}") is Outcome.NEW
    times = booked(engine)
    assert times == sorted(times)
    ledger_is_sound(engine)


def test_a_halt_is_written_down_whatever_the_clocks_say(engine: Engine) -> None:
    assert pay(journal_on(engine), "p1") is Outcome.NEW
    decisions = Decisions(journal_on(engine, -35 * DAY), run_id="r", four_eyes=False)
    decisions.halt("chain_broken", "batch 1")

    [halt] = rows_of(engine, schema.decisions)
    assert halt["kind"] == "halt"
    assert halt["occurred_at"] >= max(booked(engine))
    with pytest.raises(ClockOff):
        decisions.resume(SIGNED)


def test_the_ledgers_time_without_the_lock(engine: Engine) -> None:
    assert pay(journal_on(engine), "p1") is Outcome.NEW
    now = journal_on(engine, 2 * SECOND).now()
    assert abs(now - datetime.now(UTC)) < FACTS_AGE_MAX
    with pytest.raises(ClockOff):
        journal_on(engine, -DAY).now()
