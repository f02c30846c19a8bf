"""The safety limits, summed under the lock: the batch that would exceed one is not posted, and paying halts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.domain.batch import Outcome
from reconciler.errors import Halted
from reconciler.ledger import schema
from tests.support.ledger import (
    FULL,
    NOW,
    SIGNED,
    STAMP,
    SetClock,
    asking,
    decisions_of,
    everything,
    journal_of,
    ledger_is_sound,
    request,
    requests,
    rows_of,
)

THREE = {"payouts_per_hour_max": 3}


class Hour:
    def __init__(self, engine: Engine, **rules: Any) -> None:
        self.engine = engine
        self.clock = SetClock()
        self.rules = rules

    def pay(self, *names: str, **options: Any) -> set[Outcome]:
        batch = [request(name, campaign=f"c-{name}", facts_at=self.clock.now, **options) for name in names]
        journal = journal_of(self.engine, self.clock, **self.rules)
        return set(journal.post(asking(batch), STAMP).outcomes.values())


def test_the_batch_that_would_exceed_it_is_not_posted_and_halts(engine: Engine) -> None:
    hour = Hour(engine, **THREE)
    assert hour.pay("p1", "p2") == {Outcome.NEW}
    hour.clock.advance(timedelta(minutes=59))

    with pytest.raises(Halted, match=r"4 payouts within an hour would exceed safety\.payouts_per_hour_max 3"):
        hour.pay("p3", "p4")

    assert len(rows_of(engine, schema.payouts)) == 2
    [halt] = rows_of(engine, schema.decisions)
    assert (halt["kind"], halt["subject"], halt["decided_by"]) == ("halt", "paying", "reconciler")
    assert halt["reason"].startswith("safety_limit: 4 payouts")
    assert halt["occurred_at"] == hour.clock.now
    assert {row["batch"] for row in rows_of(engine, schema.chain)} == {1, 2}
    ledger_is_sound(engine)


def test_while_halted_everything_is_refused_and_writes_nothing(engine: Engine) -> None:
    hour = Hour(engine, **THREE)
    with pytest.raises(Halted):
        hour.pay("p1", "p2", "p3", "p4")
    before = everything(engine)

    with pytest.raises(Halted, match=r"Paying is halted since 2026-03-01 12:00:00 UTC \(safety_limit: 4 payouts"):
        hour.pay("p1")
    with journal_of(engine, hour.clock).rehearsal() as poster:
        # Nothing of it stays, so checks go on and say what would be paid.
        assert poster.post(asking([request("p1")]), STAMP).outcomes == {request("p1").key: Outcome.NEW}
    assert everything(engine) == before

    decisions_of(engine, hour.clock).resume(SIGNED)
    assert hour.pay("p1", "p2", "p3") == {Outcome.NEW}
    ledger_is_sound(engine)


def test_the_limit_itself_is_allowed_and_an_hour_later_it_is_free_again(engine: Engine) -> None:
    hour = Hour(engine, **THREE)
    assert hour.pay("p1", "p2", "p3") == {Outcome.NEW}
    hour.clock.now = NOW + timedelta(hours=1)
    assert hour.pay("p4", "p5", "p6") == {Outcome.NEW}


def test_what_is_paid_already_or_held_does_not_count(engine: Engine) -> None:
    hour = Hour(engine, **THREE)
    hour.pay("p1", "p2", "p3")
    assert hour.pay("p1", "p2", "p3") == {Outcome.EXISTS}
    assert hour.pay("p4", budget=1) == {Outcome.OVER_BUDGET}


def test_what_was_paid_counts_whatever_became_of_its_task(engine: Engine) -> None:
    hour = Hour(engine, **THREE)
    hour.pay("p1", "p2", "p3")
    with engine.begin() as connection:
        connection.execute(sa.delete(schema.outbox))
    with pytest.raises(Halted):
        hour.pay("p4")


def test_amounts_count_a_currency_by_itself_and_gross(engine: Engine) -> None:
    hour = Hour(engine, amount_per_hour_max_minor={"INR": 2 * FULL})
    assert hour.pay("p1", "p2", fee_bps=1000) == {Outcome.NEW}
    assert hour.pay("d1", "d2", "d3", currency="USD") == {Outcome.NEW}

    sentence = r"9900\.00 INR within an hour would exceed safety\.amount_per_hour_max 6600\.00"
    with pytest.raises(Halted, match=sentence):
        hour.pay("p3")

    assert len(rows_of(engine, schema.payouts)) == 5


def test_the_fees_of_the_batch_itself_count_too(engine: Engine) -> None:
    hour = Hour(engine, amount_per_hour_max_minor={"INR": 3 * FULL - 1})
    with pytest.raises(Halted):
        hour.pay("p1", "p2", "p3", fee_bps=1000)


def test_who_races_does_not_pass_it_together(engine: Engine) -> None:
    barrier = Barrier(6)

    def pay(number: int) -> str:
        journal = journal_of(engine, SetClock(), **THREE)
        batch = asking([request(f"p{number}", campaign=f"c{number}")])
        barrier.wait()
        try:
            return ", ".join(one.value for one in journal.post(batch, STAMP).outcomes.values())
        except Halted:
            return "halted"

    with ThreadPoolExecutor(6) as pool:
        found = sorted(pool.map(pay, range(6)))

    assert found == ["halted"] * 3 + ["new"] * 3
    assert len(rows_of(engine, schema.payouts)) == 3
    assert len(rows_of(engine, schema.decisions)) == 1
    ledger_is_sound(engine)


def test_without_limits_there_is_none(engine: Engine) -> None:
    journal = journal_of(engine)
    assert set(journal.post(asking(requests(50, budget=990_000)), STAMP).outcomes.values()) == {Outcome.NEW}
