"""What is left in escrow goes back to the brand, unless something of the campaign is still open under the lock."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy.engine import Engine

from reconciler.domain.batch import Outcome
from reconciler.errors import Halted
from reconciler.ledger import schema
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from reconciler.ports.journal import PostingBatch
from reconciler.ports.refunds import Escrow, Refund, RefundOutcome
from tests.support.ledger import (
    FULL,
    NOW,
    SIGNED,
    STAMP,
    SetClock,
    asking,
    balances,
    decisions_of,
    everything,
    identity,
    journal_of,
    ledger_is_sound,
    line_request,
    pool_due,
    request,
    reverse,
    rows_of,
    treasury_of,
)

ESCROW = "campaign:str:c1:escrow"
BRAND = identity("brand")
OF_C1 = Escrow(campaign_id=identity("c1"), currency="INR", balance_minor=670_000)
OF_BRAND = Refund(escrow=OF_C1, brand_id=BRAND, facts_at=NOW)


class Ended:
    """p1 was paid 3300.00 of a budget of 10000.00."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = SetClock()
        assert self.post("p1", budget=10_000) is Outcome.NEW

    def post(self, name: str, *, budget: int, **rules: object) -> Outcome:
        self.clock.advance(timedelta(seconds=1))
        one = request(name, budget=budget, facts_at=self.clock.now)
        return journal_of(self.engine, self.clock, **rules).post(asking([one]), STAMP).outcomes[one.key]

    def refund(self, escrow: Escrow = OF_C1) -> RefundOutcome:
        wanted = Refund(escrow=escrow, brand_id=BRAND, facts_at=self.clock.now)
        return treasury_of(self.engine, self.clock).refund(wanted, STAMP)


@pytest.fixture
def ended(engine: Engine) -> Ended:
    return Ended(engine)


def test_the_rest_goes_back_to_the_brand_once(ended: Ended) -> None:
    assert treasury_of(ended.engine, ended.clock).escrows() == [OF_C1]

    assert ended.refund() is RefundOutcome.REFUNDED

    assert balances(ended.engine) == {ESCROW: 0, "brand:str:brand:funding": -FULL, "streamer:s-p1:wallet": FULL}
    entry = rows_of(ended.engine, schema.entries)[-1]
    assert (entry["key"], entry["kind"], entry["reason"]) == ("refund:str:c1:1", "refund", "campaign_over")
    assert treasury_of(ended.engine, ended.clock).escrows() == []
    before = everything(ended.engine)
    assert ended.refund() is RefundOutcome.NOTHING_LEFT
    assert ended.refund(Escrow(campaign_id=identity("c9"), currency="INR", balance_minor=5)) is (
        RefundOutcome.NOTHING_LEFT
    )
    assert everything(ended.engine) == before
    ledger_is_sound(ended.engine)


def test_what_the_escrow_holds_under_the_lock_is_what_goes_back(ended: Ended) -> None:
    ended.post("p2", budget=10_000)
    assert ended.refund(OF_C1) is RefundOutcome.REFUNDED
    assert balances(ended.engine)["brand:str:brand:funding"] == -2 * FULL
    ledger_is_sound(ended.engine)


def test_of_many_at_once_one_refunds(ended: Ended) -> None:
    barrier = Barrier(4)

    def refund(_: int) -> RefundOutcome:
        barrier.wait()
        return ended.refund()

    with ThreadPoolExecutor(4) as pool:
        found = sorted(pool.map(refund, range(4)))

    assert found == [RefundOutcome.NOTHING_LEFT] * 3 + [RefundOutcome.REFUNDED]
    assert balances(ended.engine)[ESCROW] == 0
    ledger_is_sound(ended.engine)


def test_a_hold_keeps_the_money(ended: Ended) -> None:
    assert ended.post("p2", budget=10_000, approval_threshold_minor={"INR": 1}) is Outcome.OVER_APPROVAL_THRESHOLD
    before = everything(ended.engine)
    assert ended.refund() is RefundOutcome.SOMETHING_IS_OPEN
    assert everything(ended.engine) == before

    decisions_of(ended.engine, ended.clock).reject("payout:str:p2:1", SIGNED)
    assert ended.refund() is RefundOutcome.REFUNDED


def test_an_unpaid_share_of_a_pool_keeps_the_money(engine: Engine) -> None:
    clock = SetClock()
    due = pool_due("c1", {"p1": 1500, "p2": 1500}, budget=10_000)
    journal = journal_of(engine, clock)
    journal.freeze(due, NOW, STAMP)
    journal.post(asking([line_request(due, "p1")]), STAMP)
    assert treasury_of(engine, clock).refund(OF_BRAND, STAMP) is RefundOutcome.SOMETHING_IS_OPEN

    journal.post(PostingBatch(voids=[identity("p2")]), STAMP)
    assert treasury_of(engine, clock).refund(OF_BRAND, STAMP) is RefundOutcome.REFUNDED
    ledger_is_sound(engine)


def test_a_refunded_campaign_is_not_funded_again_by_its_budget(ended: Ended) -> None:
    ended.refund()
    assert ended.post("p2", budget=10_000) is Outcome.OVER_BUDGET
    assert ended.post("p2", budget=99_000) is Outcome.OVER_BUDGET
    assert balances(ended.engine)[ESCROW] == 0


def test_what_a_reversal_brought_back_is_refunded_under_the_next_number(ended: Ended) -> None:
    ended.refund()
    reverse(ended.engine, "payout:str:p1:1", ended.clock)
    assert ended.refund() is RefundOutcome.REFUNDED
    keys = [row["key"] for row in rows_of(ended.engine, schema.entries) if row["kind"] == "refund"]
    assert keys == ["refund:str:c1:1", "refund:str:c1:2"]
    assert balances(ended.engine)["brand:str:brand:funding"] == 0
    ledger_is_sound(ended.engine)


def test_when_a_campaign_was_first_seen_over_is_remembered(ended: Ended) -> None:
    first = treasury_of(ended.engine, ended.clock).first_seen_over(identity("c1"))
    assert first == ended.clock.now
    ended.clock.advance(timedelta(days=30))
    assert treasury_of(ended.engine, ended.clock).first_seen_over(identity("c1")) == first
    assert treasury_of(ended.engine, ended.clock).first_seen_over(identity("c2")) == ended.clock.now


def test_nothing_is_refunded_while_paying_is_halted(ended: Ended) -> None:
    decisions_of(ended.engine, ended.clock).halt("chain_broken", "batch 1")
    before = everything(ended.engine)
    with pytest.raises(Halted):
        ended.refund()
    assert everything(ended.engine) == before
    assert SqlLedgerReads(ended.engine).open_holds() == []
