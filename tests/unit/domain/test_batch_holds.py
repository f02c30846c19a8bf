"""Payouts that do not fit: held whole, in their order, and let go when money arrives or the reason falls away."""

from __future__ import annotations

from itertools import permutations

import pytest

from reconciler.domain.accounts import BALANCE_MINOR_MAX
from reconciler.domain.batch import Outcome, PlannedBatch
from reconciler.domain.ids import payout_key
from reconciler.domain.ledger_snapshot import HoldWithdrawal
from reconciler.domain.plan import BatchPlan
from tests.support.batches import MINUTE, asked, hold_key, holds, outcomes, paid
from tests.support.decisions import BRAND_ID, CAMPAIGN_ID, NOW, of_amount, oid, request, terms
from tests.support.paper_ledger import PaperLedger


def test_what_does_not_fit_is_held_whole_and_blocks_what_comes_after() -> None:
    ledger = PaperLedger()
    fits, too_much, small = asked(1, 150), asked(2, 150), of_amount(asked(3, 150), 5_000)
    free = of_amount(asked(4, 150), 0)

    plan = ledger.post([fits, too_much, small, free], now=NOW)

    assert paid(plan) == [fits.key]
    assert holds(plan) == [("opened", hold_key(number), "over_budget") for number in (2, 3, 4)]
    assert [event.detail for event in plan.plan.hold_events] == [
        "escrow holds 50.00 INR, the payout needs 100.00",
        "escrow holds 50.00 INR, the payout needs 50.00; 1 held before it",
        "escrow holds 50.00 INR, the payout needs 0.00; 2 held before it",
    ]
    # A later batch that does not even ask for the first of them is blocked by it all the same.
    plan = ledger.post([small, of_amount(asked(5, 150), 1)], now=NOW + MINUTE)
    assert outcomes(plan) == {3: Outcome.OVER_BUDGET, 5: Outcome.OVER_BUDGET}
    assert holds(plan) == [("opened", hold_key(5), "over_budget")]


def test_a_payout_that_just_fits_is_paid_and_one_of_nothing_needs_no_budget() -> None:
    plan = PaperLedger().post([asked(1, 100), of_amount(asked(2, 100), 0)], now=NOW)

    assert outcomes(plan) == {1: Outcome.NEW, 2: Outcome.NEW}
    assert [item.entry.postings[1].amount_minor for item in plan.plan.posted] == [10_000, 10_000, 0]


@pytest.mark.parametrize("arrival", tuple(permutations((2, 3, 4))))
def test_a_grown_budget_pays_in_order_of_hold_time_then_identity(arrival: tuple[int, ...]) -> None:
    ledger = PaperLedger()
    ledger.post([asked(1, 100)], now=NOW)
    ledger.post([asked(4, 100)], now=NOW + MINUTE)
    ledger.post([asked(3, 100), asked(2, 100)], now=NOW + 2 * MINUTE)

    plan = ledger.post([asked(number, 300, minutes=3) for number in arrival], now=NOW + 3 * MINUTE)

    assert paid(plan) == [payout_key(oid(4), 1), payout_key(oid(2), 1)]
    assert holds(plan) == [("closed", hold_key(4), "paid"), ("closed", hold_key(2), "paid")]
    assert outcomes(plan)[3] is Outcome.OVER_BUDGET


def test_a_new_payout_waits_behind_held_ones_of_a_later_identity() -> None:
    ledger = PaperLedger()
    ledger.post([asked(5, 100), asked(9, 100)], now=NOW)

    plan = ledger.post([asked(1, 250, minutes=1), asked(9, 250, minutes=1)], now=NOW + MINUTE)

    assert outcomes(plan) == {9: Outcome.NEW, 1: Outcome.OVER_BUDGET}


def withdrawal(number: int) -> HoldWithdrawal:
    return HoldWithdrawal(participation_id=oid(number), campaign_id=CAMPAIGN_ID, reason="forfeited")


def test_a_withdrawn_hold_frees_those_behind_it_and_is_reopened_under_a_new_key() -> None:
    ledger = PaperLedger()
    small = of_amount(asked(3, 150), 5_000)
    ledger.post([asked(1, 150), asked(2, 150), small], now=NOW)

    plan = ledger.post([small], [withdrawal(2)], now=NOW + MINUTE)
    assert paid(plan) == [small.key]
    assert holds(plan) == [("closed", hold_key(2), "forfeited"), ("closed", hold_key(3), "paid")]

    assert holds(ledger.post([asked(2, 150)], now=NOW + 2 * MINUTE)) == [("opened", hold_key(2, 2), "over_budget")]
    assert holds(ledger.post([], [withdrawal(2)], now=NOW + 3 * MINUTE)) == [("closed", hold_key(2, 2), "forfeited")]
    assert holds(ledger.post([asked(2, 150)], now=NOW + 4 * MINUTE)) == [("opened", hold_key(2, 3), "over_budget")]


@pytest.mark.parametrize("arrival", tuple(permutations((2, 3, 4))))
def test_holds_are_withdrawn_in_order_of_identity(arrival: tuple[int, ...]) -> None:
    ledger = PaperLedger()
    ledger.post([asked(number, 100) for number in (1, 2, 3, 4)], now=NOW)

    plan = ledger.post([], [withdrawal(number) for number in arrival], now=NOW + MINUTE)

    assert holds(plan) == [("closed", hold_key(number), "forfeited") for number in (2, 3, 4)]


def test_withdrawing_what_is_not_held_is_nothing() -> None:
    assert PaperLedger().post([], [withdrawal(2)], now=NOW) == PlannedBatch(plan=BatchPlan(), outcomes={})


@pytest.mark.parametrize("arrival", tuple(permutations((1, 2))))
def test_of_two_participations_of_one_streamer_the_first_is_paid(arrival: tuple[int, ...]) -> None:
    plan = PaperLedger().post([asked(number, 900, streamer=7) for number in arrival], now=NOW)

    assert outcomes(plan) == {1: Outcome.NEW, 2: Outcome.DUPLICATE_PARTICIPATION}


def test_a_held_duplicate_of_one_just_paid_does_not_stand_before_others() -> None:
    ledger = PaperLedger()
    ledger.post([asked(1, 100), asked(2, 100, streamer=7), asked(3, 100, streamer=7), asked(4, 100)], now=NOW)
    grown = [asked(2, 300, minutes=1, streamer=7), asked(3, 300, minutes=1, streamer=7), asked(4, 300, minutes=1)]

    plan = ledger.post(grown, now=NOW + MINUTE)

    assert outcomes(plan) == {2: Outcome.NEW, 3: Outcome.DUPLICATE_PARTICIPATION, 4: Outcome.NEW}
    assert holds(plan)[1] == ("closed", hold_key(3), "duplicate_participation")
    assert ledger.open_holds == {}


def test_a_held_one_whose_facts_are_stale_keeps_its_place() -> None:
    ledger = PaperLedger()
    ledger.post([asked(1, 100), asked(2, 100)], now=NOW)

    plan = ledger.post([asked(2, 900), asked(3, 900, minutes=6)], now=NOW + 6 * MINUTE)

    assert outcomes(plan) == {2: Outcome.STALE, 3: Outcome.OVER_BUDGET}
    assert hold_key(2) in ledger.open_holds


def test_a_held_one_that_now_earns_another_amount_keeps_its_hold_and_its_place() -> None:
    ledger = PaperLedger()
    ledger.post([asked(2, 50), of_amount(asked(1, 50), 6_000)], now=NOW)

    planned = ledger.post([of_amount(asked(2, 50), 7_000)], now=NOW + MINUTE)

    assert (outcomes(planned), holds(planned)) == ({2: Outcome.OVER_BUDGET}, [])


BRAND = ("brand:" + BRAND_ID.tagged + ":funding", "INR")


def test_a_budget_that_the_brands_account_has_no_room_for_is_not_moved_and_holds_who_needs_it() -> None:
    ledger = PaperLedger()
    ledger.balances[BRAND] = -(BALANCE_MINOR_MAX - 20_000)
    fits, free = asked(1, 200), of_amount(asked(2, 200), 0)
    assert outcomes(ledger.post([fits, free], now=NOW)) == {1: Outcome.NEW, 2: Outcome.NEW}

    plan = ledger.post([asked(3, 500, minutes=1), asked(4, 500, minutes=1)], now=NOW + MINUTE)

    # What escrow covers is paid all the same; no entry takes the account beyond its room.
    assert outcomes(plan) == {3: Outcome.NEW, 4: Outcome.ACCOUNT_FULL}
    assert holds(plan) == [("opened", hold_key(4), "account_full")]
    assert plan.plan.hold_events[0].detail == f"the ledger cannot hold more on {BRAND[0]}"
    assert ledger.balances[BRAND] == -BALANCE_MINOR_MAX
    again = ledger.post([asked(4, 500, minutes=2)], now=NOW + 2 * MINUTE)
    assert (outcomes(again), holds(again)) == ({4: Outcome.ACCOUNT_FULL}, [])
    ledger.balances[BRAND] = 0
    assert outcomes(ledger.post([asked(4, 500, minutes=3)], now=NOW + 3 * MINUTE)) == {4: Outcome.NEW}


def test_budgets_of_one_batch_count_together() -> None:
    ledger = PaperLedger()
    ledger.balances[BRAND] = -(BALANCE_MINOR_MAX - 30_000)
    one, other = asked(1, 200), request(2, terms(oid(0xCC), budget=200))

    plan = ledger.post([one, other], now=NOW)

    assert sorted(outcomes(plan).values()) == [Outcome.ACCOUNT_FULL, Outcome.NEW]
