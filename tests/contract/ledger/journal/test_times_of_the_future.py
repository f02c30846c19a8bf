"""One run on a host that was a year ahead, of a version that believed it, must not freeze anything afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.clock import utc_now
from reconciler.domain.batch import Outcome
from reconciler.domain.effects import BlockedEffect, Effect, Obstacle, ProjectionResult
from reconciler.domain.events import Event, EventType
from reconciler.errors import Halted
from reconciler.ledger import schema
from reconciler.ledger.engine import writing
from reconciler.ledger.operations.check_runs import SqlCheckRuns
from reconciler.ledger.operations.deliveries import Deliveries
from reconciler.ledger.operations.events import EventLog
from reconciler.ledger.operations.lease import PAYING, Lease
from reconciler.ledger.operations.outbox import SqlOutbox
from reconciler.ledger.operations.runs import RunLog
from reconciler.ledger.operations.sweep_watch import SqlSweepWatch
from reconciler.ledger.proof.integrity import CheckVerifier
from reconciler.ports.check_runs import CheckKey, DonePartition
from reconciler.ports.deliveries import Attempt
from reconciler.ports.runs import RunRecord
from tests.support.ledger import (
    FULL,
    NOW,
    STAMP,
    SetClock,
    asking,
    balances,
    identity,
    journal_of,
    ledger_is_sound,
    request,
    rows_of,
    treasury_of,
)

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
AHEAD = [DAY, 365 * DAY]


class Ledger:
    """Its host's clock was ahead when it posted, and is right from then on."""

    def __init__(self, engine: Engine, ahead: timedelta, **rules: int) -> None:
        self.engine = engine
        self.ahead = ahead
        self.clock = SetClock(NOW + ahead)
        self.rules = rules

    def pay(self, *names: str, budget: int = 3300, campaign: str | None = None) -> list[Outcome]:
        asked = [
            request(name, campaign=campaign or f"c-{name}", budget=budget, facts_at=self.clock.now) for name in names
        ]
        outcomes = journal_of(self.engine, self.clock, **self.rules).post(asking(asked), STAMP).outcomes
        return [outcomes[one.key] for one in asked]

    def set_right(self) -> None:
        self.clock.now = NOW

    def outbox(self) -> SqlOutbox:
        return SqlOutbox(self.engine, clock=self.clock, blocked_retry=5 * MINUTE)


@pytest.fixture(params=AHEAD, ids=["a day", "a year"])
def ledger(engine: Engine, request: pytest.FixtureRequest) -> Ledger:
    return Ledger(engine, request.param)


def test_a_raised_budget_is_seen(ledger: Ledger) -> None:
    assert ledger.pay("p1", campaign="c") == [Outcome.NEW]
    ledger.set_right()
    assert ledger.pay("p2", campaign="c", budget=6600) == [Outcome.NEW]
    ledger.clock.advance(MINUTE)
    assert ledger.pay("p3", campaign="c", budget=9900) == [Outcome.NEW]
    ledger_is_sound(ledger.engine)


def test_an_older_budget_is_still_not_taken_for_a_newer_one(ledger: Ledger) -> None:
    """Of facts at times that can be, the later ones count, as ever."""
    ledger.set_right()
    assert ledger.pay("p1", campaign="c", budget=6600) == [Outcome.NEW]
    ledger.clock.now -= 10 * SECOND
    assert ledger.pay("p2", campaign="c", budget=3300) == [Outcome.NEW]
    assert len(rows_of(ledger.engine, schema.fundings)) == 1


def test_effects_are_told(ledger: Ledger) -> None:
    ledger.pay("p1")
    ledger.set_right()
    assert [task.payout_key for task in ledger.outbox().ready(10)] == ["payout:str:p1:1"]


def test_what_was_blocked_is_tried_again(ledger: Ledger) -> None:
    ledger.pay("p1")
    blocked = BlockedEffect(effect=Effect.WALLET, obstacle=Obstacle.WALLET_MISSING)
    outbox = ledger.outbox()
    outbox.settle(ProjectionResult(done=[], blocked={2: blocked}, wallets={}))
    ledger.set_right()
    assert len(outbox.ready(10)) == 1

    outbox.settle(ProjectionResult(done=[], blocked={2: blocked}, wallets={}))

    assert outbox.ready(10) == []
    ledger.clock.advance(5 * MINUTE)
    assert len(outbox.ready(10)) == 1


def test_a_key_rests_from_when_it_was_paid(ledger: Ledger) -> None:
    """What is paid now is dated like the last entry, and its effects begin now all the same."""
    ledger.pay("p1")
    ledger.set_right()
    ledger.pay("p2")
    [first, second] = ledger.outbox().ready(10)
    assert (first.paid_at, second.paid_at) == (NOW + ledger.ahead, NOW)


def test_the_hourly_limit_counts_what_was_paid_within_the_hour(engine: Engine) -> None:
    ledger = Ledger(engine, 365 * DAY, payouts_per_hour_max=3)
    ledger.pay("f1", "f2", "f3")
    ledger.set_right()

    assert ledger.pay("p1", "p2", "p3") == [Outcome.NEW] * 3
    with pytest.raises(Halted, match="4 payouts within an hour"):
        ledger.pay("p4")


def test_the_hourly_limit_forgets_what_was_paid_before_the_hour(engine: Engine) -> None:
    ledger = Ledger(engine, 365 * DAY, payouts_per_hour_max=3)
    ledger.pay("f1")
    ledger.set_right()
    assert ledger.pay("p1", "p2", "p3") == [Outcome.NEW] * 3
    ledger.clock.advance(HOUR)
    assert ledger.pay("p4", "p5", "p6") == [Outcome.NEW] * 3


def test_held_earnings_are_released_when_their_days_are_over(engine: Engine) -> None:
    """Counted from when somebody else was paid, which is the first time that can be believed."""
    ledger = Ledger(engine, 365 * DAY, hold_days=3)
    ledger.pay("p1")
    ledger.set_right()
    treasury = treasury_of(engine, ledger.clock)
    assert treasury.release_due(STAMP) == 0
    ledger.pay("p2")
    for still_held in (DAY, DAY, DAY - SECOND):
        ledger.clock.advance(still_held)
        assert treasury.release_due(STAMP) == 0

    ledger.clock.advance(SECOND)

    assert treasury.release_due(STAMP) == 2
    found = balances(engine)
    assert [found[f"streamer:s-{name}:wallet"] for name in ("p1", "p2")] == [FULL, FULL]
    assert treasury.release_due(STAMP) == 0
    ledger_is_sound(engine)


def test_a_campaign_that_was_over_in_the_future_is_over_now(ledger: Ledger) -> None:
    campaign, treasury = identity("c"), treasury_of(ledger.engine, ledger.clock)
    assert treasury.first_seen_over(campaign) == NOW + ledger.ahead
    ledger.set_right()
    assert treasury.first_seen_over(campaign) == NOW
    ledger.clock.advance(DAY)
    assert treasury.first_seen_over(campaign) == NOW


def test_the_whole_chain_is_walked_again(ledger: Ledger) -> None:
    ledger.pay("p1")
    verifier = CheckVerifier(ledger.engine, clock=ledger.clock, whole_after=7 * DAY)
    verifier.verify()
    ledger.set_right()
    assert verifier.verify().faults == ()
    [mark] = rows_of(ledger.engine, schema.chain_marks)
    assert mark["whole_at"] == NOW
    ledger.clock.advance(DAY)
    verifier.verify()
    [mark] = rows_of(ledger.engine, schema.chain_marks)
    assert mark["whole_at"] == NOW


KEY = CheckKey(config_fingerprint="f", campaign_id="", dry_run=False)


def test_a_check_of_the_future_is_not_gone_on_with(ledger: Ledger) -> None:
    checks = SqlCheckRuns(ledger.engine, clock=ledger.clock)
    checks.keep(KEY, DonePartition(number=1, up_to="a", tally={}, breaks=()))
    assert len(checks.done(KEY, ledger.clock.now - DAY)) == 1
    ledger.set_right()
    assert checks.done(KEY, NOW - DAY) == []


def test_who_was_due_in_the_future_is_due_since_now(ledger: Ledger) -> None:
    checks = SqlCheckRuns(ledger.engine, clock=ledger.clock)
    checks.finish({"str:p1": NOW + ledger.ahead, "str:p2": NOW - HOUR})
    ledger.set_right()
    assert checks.waiting() == {"str:p1": NOW, "str:p2": NOW - HOUR}


def told(ledger: Ledger, subjects: Sequence[str]) -> tuple[Deliveries, list[str]]:
    log = EventLog(ledger.engine, clock=ledger.clock, subscriptions={"a": frozenset({EventType.PARTICIPATION_SETTLED})})
    events = [
        Event(type=EventType.PARTICIPATION_SETTLED, fact=one, subject=one, occurred_at=NOW, fields={})
        for one in subjects
    ]
    log.expect(events)
    ids = [event.event_id for event in events]
    log.conclude(ids, [])
    return Deliveries(ledger.engine, clock=ledger.clock), ids


def test_events_are_delivered_those_never_tried_and_those_to_be_tried_again(ledger: Ledger) -> None:
    deliveries, ids = told(ledger, ["p1", "p2"])
    failed = Attempt(
        event_id=ids[0],
        endpoint="a",
        status="pending",
        attempts=1,
        outcome="refused",
        status_code=500,
        not_before=ledger.clock() + 12 * HOUR,
    )
    deliveries.record([failed])
    assert [one.event_id for one in deliveries.due("a", 10)] == ids[1:]

    ledger.set_right()

    assert {one.event_id for one in deliveries.due("a", 10)} == set(ids)


def a_run(run_id: str, *, ahead: timedelta = timedelta(), kind: str = "sweep") -> RunRecord:
    """Runs are judged by the database's own clock, so they begin at the real time."""
    return RunRecord(run_id=run_id, kind=kind, trigger="schedule", started_at=utc_now() + ahead)


def test_a_sweep_of_the_future_has_passed_by_nobody(engine: Engine) -> None:
    log = RunLog(engine)
    run = a_run("ahead", ahead=DAY)
    log.start(run)
    log.finish(replace(run, finished_at=run.started_at + SECOND, outcome="complete"))
    assert Lease(engine, name=PAYING, holder="daemon", ttl=10 * MINUTE).acquire() == 1
    assert not SqlSweepWatch(engine, pays=True).must_be_paid(utc_now())


def test_the_last_run_is_the_last_that_can_be(engine: Engine) -> None:
    log = RunLog(engine)
    for run in (a_run("ahead", ahead=DAY), a_run("last"), a_run("earlier", ahead=-HOUR)):
        log.start(run)
        log.finish(replace(run, finished_at=run.started_at + SECOND, outcome="complete"))
    latest = log.latest("sweep")
    assert latest is not None
    assert latest.run_id == "last"
    assert [one.run_id for one in log.newest(("sweep",), 3)] == ["last", "earlier", "ahead"]


def test_a_sign_of_life_of_the_future_is_none(engine: Engine) -> None:
    log = RunLog(engine)
    log.start(a_run("dead", kind="full_check"))
    log.start(a_run("alive", kind="full_check"))
    with writing(engine) as connection:
        is_dead = schema.runs.c.run_id == "dead"
        connection.execute(sa.update(schema.runs).where(is_dead).values(alive_at=utc_now() + DAY))
    assert [run.run_id for run in log.end_silent()] == ["dead"]
