"""What was read before the lock is compared under it: each test lets the world change between the two."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from reconciler.domain.batch import Outcome
from reconciler.domain.decision import Rule
from reconciler.domain.ledger_snapshot import HoldWithdrawal, Lost, PayoutRequest
from reconciler.domain.plan import NewAdoption, NewDecision
from reconciler.ledger import schema
from reconciler.ledger.journal.decisions import Adjustment
from reconciler.ledger.operations.check_runs import SqlCheckRuns
from reconciler.ledger.proof.integrity import CheckVerifier
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from reconciler.ports.check_runs import CheckKey, DonePartition
from reconciler.ports.journal import PostingBatch
from reconciler.ports.refunds import Escrow, Refund, RefundOutcome
from tests.support.ledger import (
    FULL,
    NOW,
    SIGNED,
    STAMP,
    SetClock,
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
TOO_OLD = timedelta(seconds=30, milliseconds=1)


class Ledger:
    """A journal by a clock that every posting moves a second."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = SetClock()

    def request(self, name: str, *, brand: str = "brand", **options: Any) -> PayoutRequest:
        one = request(name, facts_at=self.clock.advance(timedelta(seconds=1)), **options)
        return replace(one, due=replace(one.due, terms=replace(one.due.terms, brand_id=identity(brand))))

    def post(self, *requests: PayoutRequest, **batch: Any) -> dict[str, Outcome]:
        rules = batch.pop("rules", {})
        posted = journal_of(self.engine, self.clock, **rules).post(PostingBatch(requests=requests, **batch), STAMP)
        return {key.split(":")[2]: outcome for key, outcome in posted.outcomes.items()}

    def open_holds(self) -> dict[str, tuple[str, str]]:
        return {
            one.participation_id: (one.campaign_id, one.hold_key) for one in SqlLedgerReads(self.engine).open_holds()
        }

    def refund(self, **changes: Any) -> RefundOutcome:
        escrow = Escrow(campaign_id=identity("c1"), currency="INR", balance_minor=1)
        wanted = Refund(escrow=escrow, brand_id=identity("brand"), facts_at=self.clock.now)
        return treasury_of(self.engine, self.clock).refund(replace(wanted, **changes), STAMP)


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    return Ledger(engine)


def gone(name: str, **changes: Any) -> HoldWithdrawal:
    one = HoldWithdrawal(participation_id=identity(name), campaign_id=identity("c1"), reason="malformed")
    return replace(one, **changes)


# Holds


def test_a_participation_that_moved_to_another_campaign_leaves_its_turn_to_the_next(ledger: Ledger) -> None:
    assert ledger.post(ledger.request("p1", budget=100)) == {"p1": Outcome.OVER_BUDGET}
    assert ledger.post(ledger.request("p2", budget=100)) == {"p2": Outcome.OVER_BUDGET}

    moved = ledger.post(ledger.request("p1", campaign="c2", budget=3300))

    assert moved == {"p1": Outcome.NEW}
    assert ledger.post(ledger.request("p2", budget=99_999)) == {"p2": Outcome.NEW}
    closed = {row["reason"] for row in rows_of(ledger.engine, schema.hold_events) if row["event"] == "closed"}
    assert closed == {"campaign_changed", "paid"}
    ledger_is_sound(ledger.engine)


def test_a_withdrawal_closes_the_hold_that_was_seen_and_no_later_one(ledger: Ledger) -> None:
    """It was read as not due; then it was, and another process held it: what it waits for now rests on newer facts."""
    ledger.post(ledger.request("p1", budget=100))
    [(_, seen)] = ledger.open_holds().values()
    ledger.post(withdrawals=[gone("p1", hold_key=seen)])
    ledger.post(ledger.request("p1", budget=100))

    ledger.post(withdrawals=[gone("p1", hold_key=seen)], facts_at=ledger.clock.now)

    assert ledger.open_holds() == {"str:p1": ("str:c1", "hold:str:p1:2")}


def test_what_waited_too_long_for_the_lock_neither_withdraws_nor_voids(ledger: Ledger) -> None:
    """A void is for good: facts of a minute ago are no ground for it."""
    ledger.post(ledger.request("p1", budget=100))
    read_at = ledger.clock.now
    ledger.clock.advance(TOO_OLD)
    before = everything(ledger.engine)

    ledger.post(withdrawals=[gone("p1")], voids=[identity("p2")], facts_at=read_at)
    assert everything(ledger.engine) == before

    ledger.post(withdrawals=[gone("p1")], voids=[identity("p2")], facts_at=read_at + timedelta(milliseconds=1))
    assert ledger.open_holds() == {}
    assert [row["kind"] for row in rows_of(ledger.engine, schema.decisions)] == ["void"]


def test_a_pace_is_held_for_a_person_who_lets_it_through(ledger: Ledger) -> None:
    fast = ledger.request("p1")
    fast = replace(fast, due=replace(fast.due, participation=replace(fast.due.participation, created_at=NOW)))
    rules = {"impressions_per_minute_max": 1000}
    assert ledger.post(fast, rules=rules) == {"p1": Outcome.OVER_PACE}
    [held] = rows_of(ledger.engine, schema.hold_events)
    assert held["detail"] == (
        "2000 impressions a minute: 2000 in 1 minutes since it was made at 2026-03-01 12:00:00 UTC; "
        "more than safety.impressions_per_minute_max 1000"
    )
    # Withdrawn, and asked for again when time has thinned it out: still nobody has looked.
    ledger.post(withdrawals=[gone("p1")])
    again = replace(fast, facts_at=ledger.clock.advance(timedelta(days=1)))
    assert ledger.post(again, rules=rules) == {"p1": Outcome.OVER_PACE}

    assert decisions_of(ledger.engine, ledger.clock).approve("payout:str:p1:1", SIGNED) == "approved"

    assert ledger.post(again, rules=rules) == {"p1": Outcome.NEW}
    ledger_is_sound(ledger.engine)


def test_a_pace_that_a_person_rejects_is_not_paid(ledger: Ledger) -> None:
    fast = ledger.request("p1")
    fast = replace(fast, due=replace(fast.due, participation=replace(fast.due.participation, created_at=NOW)))
    ledger.post(fast, rules={"impressions_per_minute_max": 1})
    decisions_of(ledger.engine, ledger.clock).reject("payout:str:p1:1", SIGNED)
    assert ledger.post(fast) == {"p1": Outcome.REJECTED_BY_PERSON}
    assert ledger.open_holds() == {}


# Pools


def pays_a_member(ledger: Ledger) -> None:
    ledger.post(ledger.request("p1"))


def pays_the_streamer_for_another(ledger: Ledger) -> None:
    ledger.post(ledger.request("earlier", streamer="s-p1"))


def adopts_a_member(ledger: Ledger) -> None:
    found = NewAdoption(
        participation_id="str:p1",
        campaign_id="str:c1",
        streamer_id="s-p1",
        amount_minor=5,
        currency="INR",
        decision_key="adopt:1",
    )
    decisions_of(ledger.engine, ledger.clock).adopt([found], SIGNED, "adopt:1")


def freezes_a_member_elsewhere(ledger: Ledger) -> None:
    assert journal_of(ledger.engine, ledger.clock).freeze(pool_due("c2", {"p1": 2000}), ledger.clock.now, STAMP)


def funds_it_in_another_currency(ledger: Ledger) -> None:
    ledger.post(ledger.request("other", currency="USD"))


MEANWHILE = [
    pays_a_member,
    pays_the_streamer_for_another,
    adopts_a_member,
    freezes_a_member_elsewhere,
    funds_it_in_another_currency,
]


@pytest.mark.parametrize("meanwhile", MEANWHILE)
def test_a_pool_is_not_frozen_over_what_happened_since_it_was_read(
    ledger: Ledger, meanwhile: Callable[[Ledger], None]
) -> None:
    due = pool_due("c1", {"p1": 1000, "q": 500, "r": 500})
    meanwhile(ledger)
    before = everything(ledger.engine)

    assert not journal_of(ledger.engine, ledger.clock).freeze(due, ledger.clock.now, STAMP)

    assert everything(ledger.engine) == before


def test_a_used_up_budget_is_one_that_still_is(ledger: Ledger) -> None:
    ledger.post(ledger.request("z", budget=6600))
    due = replace(pool_due("c1", {"p1": 2000}, budget=6600), rule=Rule.BUDGET_EXHAUSTED, paid_minor=FULL)
    reverse(ledger.engine, "payout:str:z:1", ledger.clock)

    journal = journal_of(ledger.engine, ledger.clock)
    assert not journal.freeze(due, ledger.clock.now, STAMP)
    assert journal.freeze(replace(due, paid_minor=0), ledger.clock.now, STAMP)


def test_a_share_never_comes_out_of_another_brand_s_escrow(ledger: Ledger) -> None:
    due = pool_due("c1", {"p1": 1000, "p2": 1000})
    assert journal_of(ledger.engine, ledger.clock).freeze(due, NOW, STAMP)
    ledger.post(ledger.request("other", campaign="c2", budget=9900))
    share = line_request(due, "p2", facts_at=ledger.clock.now)
    elsewhere = ledger.request("p2", campaign="c2").due
    moved = replace(share.due, participation=elsewhere.participation, terms=elsewhere.terms)

    assert ledger.post(replace(share, due=moved)) == {"p2": Outcome.POOL_MEMBER_CHANGED}
    # Nor is it paid there on its own while its share is unpaid here.
    assert ledger.post(ledger.request("p2", campaign="c2")) == {"p2": Outcome.STALE}

    assert balances(ledger.engine)["campaign:str:c2:escrow"] == 660_000
    assert ledger.post(share) == {"p2": Outcome.NEW}
    ledger_is_sound(ledger.engine)


# Refunds and cuts


def test_a_cut_goes_back_to_whoever_funded_last(ledger: Ledger) -> None:
    ledger.post(ledger.request("p1", budget=10_000, brand="a"))
    ledger.post(ledger.request("p2", budget=12_000, brand="b"))

    ledger.post(ledger.request("p3", budget=9_900, brand="b"))

    held = balances(ledger.engine)
    assert (held["brand:str:a:funding"], held["brand:str:b:funding"]) == (-990_000, 0)
    ledger_is_sound(ledger.engine)


def test_a_refund_goes_back_to_who_funded_whatever_brand_is_named_today(ledger: Ledger) -> None:
    ledger.post(ledger.request("p1", budget=10_000, brand="a"))
    ledger.post(ledger.request("p2", budget=12_000, brand="b"))

    assert ledger.refund(brand_id=identity("stranger")) is RefundOutcome.REFUNDED

    held = balances(ledger.engine)
    assert "brand:str:stranger:funding" not in held
    assert held["brand:str:b:funding"] == 0
    assert held["brand:str:a:funding"] == -2 * FULL
    ledger_is_sound(ledger.engine)


def test_a_campaign_read_too_long_ago_is_not_refunded(ledger: Ledger) -> None:
    """Somebody may have crossed the target since: a refund on old facts would strand them."""
    ledger.post(ledger.request("p1", budget=10_000))
    before = everything(ledger.engine)
    read_at = ledger.clock.now
    ledger.clock.advance(TOO_OLD)

    assert ledger.refund(facts_at=read_at) is RefundOutcome.FACTS_TOO_OLD
    assert everything(ledger.engine) == before
    assert ledger.refund(facts_at=read_at + timedelta(milliseconds=1)) is RefundOutcome.REFUNDED


def test_who_crosses_the_target_after_a_refund_is_paid_by_the_command_that_its_hold_names(ledger: Ledger) -> None:
    ledger.post(ledger.request("p1", budget=10_000))
    ledger.refund()

    assert ledger.post(ledger.request("p2", budget=99_999)) == {"p2": Outcome.OVER_BUDGET}

    [held] = rows_of(ledger.engine, schema.hold_events)
    command = f"`ledger adjust --from brand:str:brand:funding --to {ESCROW}`"
    assert held["detail"].endswith(f"it was refunded, and only {command} funds it again")
    adjust(ledger, "brand:str:brand:funding", ESCROW, FULL)
    assert ledger.post(ledger.request("p2", budget=99_999)) == {"p2": Outcome.NEW}
    # And what comes back again later goes back to whom it came from, that hand included.
    reverse(ledger.engine, "payout:str:p2:1", ledger.clock)
    assert ledger.refund() is RefundOutcome.REFUNDED
    assert balances(ledger.engine)["brand:str:brand:funding"] == -FULL
    ledger_is_sound(ledger.engine)


def adjust(ledger: Ledger, source: str, target: str, amount_minor: int) -> None:
    one = Adjustment(key="again", from_account=source, to_account=target, amount_minor=amount_minor, currency="INR")
    decisions_of(ledger.engine, ledger.clock).adjust(one, SIGNED)


def test_a_person_ends_an_escrow_of_which_no_share_can_be_paid_any_more(ledger: Ledger) -> None:
    due = pool_due("c1", {"p1": 1000, "p2": 1000}, budget=10_000)
    journal_of(ledger.engine, ledger.clock).freeze(due, NOW, STAMP)
    ledger.post(line_request(due, "p1", facts_at=ledger.clock.now))
    assert ledger.refund() is RefundOutcome.SOMETHING_IS_OPEN

    assert ledger.refund(brand_id=None, by="asha", reason="the campaign was deleted") is RefundOutcome.REFUNDED

    [decision] = rows_of(ledger.engine, schema.decisions)
    assert (decision["kind"], decision["subject"], decision["decided_by"], decision["amount_minor"]) == (
        "refund",
        "refund:str:c1:1",
        "asha",
        835_000,
    )
    assert decision["state_before"] == '{"escrow_minor": 835000, "unpaid_shares": 1}'
    assert balances(ledger.engine)[ESCROW] == 0
    ledger_is_sound(ledger.engine)


def test_a_hold_keeps_the_money_from_a_person_too(ledger: Ledger) -> None:
    ledger.post(ledger.request("p1", budget=10_000))
    ledger.post(ledger.request("p2", budget=10_000), rules={"approval_threshold_minor": {"INR": 1}})
    assert ledger.refund(by="asha", reason="over") is RefundOutcome.SOMETHING_IS_OPEN


# At once


def test_many_who_see_a_campaign_over_at_once_agree_since_when(ledger: Ledger) -> None:
    """A daemon that lost the lease finishes its round while the next leader begins its own."""
    barrier = Barrier(6)

    def see(number: int) -> Any:
        clock = SetClock(NOW + timedelta(seconds=number))
        barrier.wait(60)
        return treasury_of(ledger.engine, clock).first_seen_over(identity("c1"))

    with ThreadPoolExecutor(6) as pool:
        seen = set(pool.map(see, range(6)))

    assert seen == {rows_of(ledger.engine, schema.closures)[0]["seen_at"]}


def test_many_checks_at_once_keep_what_they_found(ledger: Ledger) -> None:
    """One that lost its lease in a long pause goes on beside the one that took over."""
    barrier = Barrier(4)
    key = CheckKey(config_fingerprint="f", campaign_id="", dry_run=False)

    def keep(number: int) -> None:
        runs = SqlCheckRuns(ledger.engine, clock=SetClock())
        barrier.wait(60)
        for _ in range(10):
            runs.keep(key, DonePartition(number=2, up_to=str(number), tally={}, breaks=[]))
            runs.finish({"str:p1": NOW})
        CheckVerifier(ledger.engine, clock=SetClock(), whole_after=timedelta(0)).verify()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, range(4)))

    assert SqlCheckRuns(ledger.engine, clock=SetClock()).waiting() == {"str:p1": NOW}


def test_a_repayment_goes_to_the_participation_that_was_made_anew(ledger: Ledger) -> None:
    ledger.post(ledger.request("old", streamer="s", budget=9900))
    reader = SqlLedgerReads(ledger.engine)
    assert repay(ledger, "new", reader) is Outcome.DUPLICATE_PARTICIPATION
    reverse(ledger.engine, "payout:str:old:1", ledger.clock)

    assert reader.last_number("str:new", "str:c1", "s") == 1
    assert ledger.post(ledger.request("new", streamer="s", budget=9900)) == {"new": Outcome.DUPLICATE_PARTICIPATION}
    assert repay(ledger, "new", reader) is Outcome.NEW

    assert sorted(row["payout_key"] for row in rows_of(ledger.engine, schema.payouts)) == [
        "payout:str:new:2",
        "payout:str:old:1",
        "reversal:payout:str:old:1",
    ]
    assert repay(ledger, "old", reader) is Outcome.DUPLICATE_PARTICIPATION
    assert repay(ledger, "new", reader) is Outcome.STALE
    ledger_is_sound(ledger.engine)


def repay(ledger: Ledger, name: str, reader: SqlLedgerReads) -> Outcome:
    n = reader.last_number(f"str:{name}", "str:c1", "s") + 1
    one = ledger.request(name, streamer="s", budget=9900, n=n)
    one = replace(one, decision_key=f"repay:{one.key}")
    decision = NewDecision(
        decision_key=f"repay:{one.key}", kind="repay", subject=one.key, decided_by="asha", reason="made anew"
    )
    return journal_of(ledger.engine, ledger.clock).repay(one, decision, STAMP).outcomes[one.key]


def test_what_a_recovery_posts_again_lies_where_it_lay(ledger: Ledger) -> None:
    """Whatever the settings are today: money that people hold is not locked again, and needs no second approval."""
    release_at = NOW + timedelta(days=3)
    held = replace(ledger.request("p1", budget=9900), lost=Lost(release_at=release_at))
    at_once = replace(ledger.request("p2", budget=9900), lost=Lost(release_at=None))
    rules = {"hold_days": 30, "approval_threshold_minor": {"INR": 1}}

    assert ledger.post(held, at_once, rules=rules) == {"p1": Outcome.NEW, "p2": Outcome.NEW}

    found = {row["participation_id"]: row["release_at"] for row in rows_of(ledger.engine, schema.payouts)}
    assert found == {"str:p1": release_at, "str:p2": None}
    decisions = decisions_of(ledger.engine, ledger.clock)
    assert [decisions.release_lost(f"payout:str:{name}:1") for name in ("p1", "p1", "p2", "p3")] == [
        True,
        False,
        False,
        False,
    ]
    assert balances(ledger.engine)["streamer:s-p1:held"] == 0
    assert treasury_of(ledger.engine, SetClock(release_at)).release_due(STAMP) == 0
    ledger_is_sound(ledger.engine)
