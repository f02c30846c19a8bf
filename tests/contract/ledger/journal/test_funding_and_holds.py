"""Escrow follows the budget, never goes below zero, and what does not fit waits in a fixed order (invariant 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.engine import Engine

from reconciler.domain.batch import Outcome
from reconciler.domain.ledger_snapshot import HoldWithdrawal, PayoutRequest
from reconciler.ledger import schema
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from tests.support.ledger import (
    FULL,
    STAMP,
    SetClock,
    asking,
    balances,
    everything,
    identity,
    journal_of,
    ledger_is_sound,
    request,
    rows_of,
)

ESCROW = "campaign:str:c1:escrow"
FUNDING = "brand:str:brand:funding"


class Campaign:
    """Posts to one campaign, a second later each time, and looks at what came of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = SetClock()
        self.journal = journal_of(engine, self.clock)

    def post(self, *names: str, budget: int, withdrawals: Sequence[HoldWithdrawal] = ()) -> list[str]:
        now = self.clock.advance(timedelta(seconds=1))
        batch: list[PayoutRequest] = [request(name, budget=budget, facts_at=now) for name in names]
        found = self.journal.post(asking(batch, withdrawals), STAMP)
        ledger_is_sound(self.engine)
        return [found.outcomes[one.key].value for one in batch]

    def moved(self) -> list[int]:
        """What each funding moved into escrow."""
        return [row["amount_minor"] for row in rows_of(self.engine, schema.fundings)]

    def escrow(self) -> int:
        return balances(self.engine)[ESCROW]

    def waiting(self) -> list[str]:
        return [hold.participation_id.removeprefix("str:") for hold in SqlLedgerReads(self.engine).open_holds()]


@pytest.fixture
def campaign(engine: Engine) -> Campaign:
    return Campaign(engine)


def test_the_budget_is_moved_once(campaign: Campaign) -> None:
    campaign.post("p1", budget=10_000)
    campaign.post("p2", budget=10_000)
    assert campaign.moved() == [1_000_000]
    assert balances(campaign.engine)[FUNDING] == -1_000_000
    assert campaign.escrow() == 1_000_000 - 2 * FULL


def test_an_increase_moves_the_difference(campaign: Campaign) -> None:
    campaign.post("p1", budget=3300)
    assert campaign.post("p2", budget=6600) == ["new"]
    assert campaign.moved() == [FULL, FULL]
    assert [(row["n"], row["budget_minor"]) for row in rows_of(campaign.engine, schema.fundings)] == [
        (1, FULL),
        (2, 2 * FULL),
    ]


def test_a_cut_takes_back_what_is_left(campaign: Campaign) -> None:
    campaign.post("p1", budget=10_000)
    assert campaign.post("p2", budget=4000) == ["over_budget"]
    assert campaign.moved() == [1_000_000, -600_000]
    assert campaign.escrow() == 70_000
    assert balances(campaign.engine)[FUNDING] == -400_000


def test_a_cut_below_what_was_paid_stops_at_zero_and_is_made_up_for(campaign: Campaign) -> None:
    campaign.post("p1", "p2", budget=6600)
    assert campaign.post("p3", budget=1000) == ["over_budget"]
    assert (campaign.moved(), campaign.escrow()) == ([2 * FULL, 0], 0)
    # 6600 were moved in all: only what a budget is above that is new money.
    assert campaign.post("p3", budget=6600) == ["over_budget"]
    assert campaign.post("p3", budget=9000) == ["over_budget"]
    assert campaign.post("p3", budget=9900) == ["new"]
    assert campaign.moved() == [2 * FULL, 0, 0, 240_000, 90_000]
    assert campaign.escrow() == 0


def test_an_older_view_of_the_budget_moves_nothing(campaign: Campaign) -> None:
    campaign.post("p1", budget=6600)
    old = request("p2", budget=1, facts_at=campaign.clock.now - timedelta(seconds=5))
    assert campaign.journal.post(asking([old]), STAMP).outcomes[old.key] is Outcome.NEW
    assert campaign.moved() == [2 * FULL]


def test_what_does_not_fit_is_held_with_its_reason(campaign: Campaign) -> None:
    assert campaign.post("p1", "p2", budget=5000) == ["new", "over_budget"]

    [event] = rows_of(campaign.engine, schema.hold_events)
    assert (event["hold_key"], event["event"], event["reason"]) == ("hold:str:p2:1", "opened", "over_budget")
    assert event["detail"] == "escrow holds 1700.00 INR, the payout needs 3300.00"
    assert (event["amount_minor"], event["currency"], event["occurred_at"]) == (FULL, "INR", campaign.clock.now)
    assert len(rows_of(campaign.engine, schema.outbox)) == 1


def test_asking_again_for_what_is_held_writes_nothing(campaign: Campaign) -> None:
    campaign.post("p1", "p2", budget=5000)
    before = everything(campaign.engine)
    assert campaign.post("p2", budget=5000) == ["over_budget"]
    assert everything(campaign.engine) == before


def test_who_was_held_first_is_paid_first(campaign: Campaign) -> None:
    campaign.post("p0", budget=3300)
    campaign.post("pz", budget=3300)
    campaign.post("pa", budget=3300)
    assert campaign.waiting() == ["pz", "pa"]

    assert campaign.post("p1", "pa", "pz", budget=6600) == ["over_budget", "over_budget", "new"]
    assert campaign.waiting() == ["pa", "p1"]
    assert campaign.post("pa", "p1", budget=13_200) == ["new", "new"]

    assert campaign.waiting() == []
    closed = [row for row in rows_of(campaign.engine, schema.hold_events) if row["event"] == "closed"]
    assert {(row["participation_id"], row["reason"]) for row in closed} == {
        ("str:pz", "paid"),
        ("str:pa", "paid"),
        ("str:p1", "paid"),
    }


def test_a_newcomer_does_not_overtake(campaign: Campaign) -> None:
    campaign.post("p0", "waits", budget=3300)
    # There is money for one, and the one that waits is not asked for in this batch.
    assert campaign.post("p1", budget=6600) == ["over_budget"]
    assert campaign.waiting() == ["waits", "p1"]
    assert campaign.escrow() == FULL


def test_who_is_no_longer_due_makes_way(campaign: Campaign) -> None:
    campaign.post("p0", "waits", budget=3300)
    gone = HoldWithdrawal(participation_id=identity("waits"), campaign_id=identity("c1"), reason="forfeited")

    assert campaign.post("p1", budget=6600, withdrawals=[gone]) == ["new"]

    assert campaign.waiting() == []
    [closed] = [row for row in rows_of(campaign.engine, schema.hold_events) if row["event"] == "closed"]
    assert (closed["hold_key"], closed["reason"]) == ("hold:str:waits:1", "forfeited")


def test_a_withdrawal_alone_is_a_batch_and_only_once(campaign: Campaign) -> None:
    campaign.post("p0", "waits", budget=3300)
    gone = HoldWithdrawal(participation_id=identity("waits"), campaign_id=identity("c1"), reason="forfeited")
    campaign.post(budget=3300, withdrawals=[gone])
    before = everything(campaign.engine)
    campaign.post(budget=3300, withdrawals=[gone])
    assert everything(campaign.engine) == before
    assert len(rows_of(campaign.engine, schema.chain)) == 2


def test_a_second_hold_has_a_key_of_its_own(campaign: Campaign) -> None:
    campaign.post("p0", "waits", budget=3300)
    gone = HoldWithdrawal(participation_id=identity("waits"), campaign_id=identity("c1"), reason="below target")
    campaign.post(budget=3300, withdrawals=[gone])
    assert campaign.post("waits", budget=3300) == ["over_budget"]
    opened = [row["hold_key"] for row in rows_of(campaign.engine, schema.hold_events) if row["event"] == "opened"]
    assert opened == ["hold:str:waits:1", "hold:str:waits:2"]
    assert campaign.waiting() == ["waits"]


def test_many_huge_budgets_of_one_brand_hold_who_does_not_fit_and_stop_nobody_else(engine: Engine) -> None:
    names = [f"c{number:04}" for number in range(1_030)]
    batch = [request(f"p{name}", campaign=name, budget=90_000_000_000_000) for name in names]
    small = request("p1", campaign="of-another-brand")
    small = replace(small, due=replace(small.due, terms=replace(small.due.terms, brand_id=identity("another"))))
    journal = journal_of(engine)

    outcomes = journal.post(asking([*batch, small]), STAMP).outcomes
    again = journal.post(asking([*batch, small]), STAMP).outcomes

    counts = Counter(outcomes.values())
    assert outcomes[small.key] is Outcome.NEW
    assert counts == {Outcome.NEW: 1_023, Outcome.ACCOUNT_FULL: 8}
    assert Counter(again.values()) == {Outcome.EXISTS: 1_023, Outcome.ACCOUNT_FULL: 8}
    assert {hold.reason for hold in SqlLedgerReads(engine).open_holds()} == {"account_full"}
    ledger_is_sound(engine)


def test_payouts_of_an_hour_that_sum_to_more_than_64_bits_stop_nobody(engine: Engine) -> None:
    huge = [request(f"p{number:04}", campaign=f"c{number:04}", budget=90_000_000_000_000) for number in range(1_030)]
    batch = [
        replace(
            one,
            due=replace(
                one.due,
                earned=replace(one.due.earned, gross_minor=one.due.terms.budget_minor),
                terms=replace(one.due.terms, brand_id=identity(f"brand-{number}")),
            ),
        )
        for number, one in enumerate(huge)
    ]
    journal = journal_of(engine, amount_per_hour_max_minor={"INR": 2**70})

    assert set(journal.post(asking(batch), STAMP).outcomes.values()) == {Outcome.NEW}
    assert journal.post(asking([request("p1")]), STAMP).outcomes == {request("p1").key: Outcome.NEW}
