"""Large payouts wait for a person: from which amount, what an approval is worth, and whom they hold up (nobody)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.domain.batch import HOLD_KEPT_FOR, Outcome
from reconciler.domain.ids import payout_key
from reconciler.domain.ledger_snapshot import PayoutRequest
from tests.support.batches import MINUTE, asked, budget, funded, hold_key, holds, outcomes, paid
from tests.support.decisions import CAMPAIGN_ID, NOW, of_amount, oid, request
from tests.support.paper_ledger import RULES, PaperLedger

LARGE = replace(RULES, approval_threshold_minor={"INR": 10_000})
APPROVAL = "over_approval_threshold"
KEY = payout_key(oid(1), 1)


def of(number: int, amount_minor: int, *, major: int = 900, minutes: int = 0) -> PayoutRequest:
    return of_amount(asked(number, major, minutes=minutes), amount_minor)


@pytest.mark.parametrize(
    ("amount_minor", "outcome"),
    [
        (9_999, Outcome.NEW),
        (10_000, Outcome.OVER_APPROVAL_THRESHOLD),
        (10_001, Outcome.OVER_APPROVAL_THRESHOLD),
        (0, Outcome.NEW),
    ],
)
def test_from_the_threshold_on_a_payout_waits_for_a_person(amount_minor: int, outcome: Outcome) -> None:
    ledger = PaperLedger(LARGE)
    planned = ledger.post([of(1, amount_minor)], now=NOW)

    assert outcomes(planned) == {1: outcome}
    assert funded(planned) == [90_000]
    is_held = outcome is not Outcome.NEW
    assert holds(planned) == ([("opened", hold_key(1), APPROVAL)] if is_held else [])
    assert [hold.amount_minor for hold in ledger.open_holds.values()] == ([amount_minor] if is_held else [])


def test_the_hold_says_what_has_to_be_approved() -> None:
    event = PaperLedger(LARGE).post([of(1, 12_345)], now=NOW).plan.hold_events[0]

    assert (event.amount_minor, event.currency) == (12_345, "INR")
    assert event.detail == "123.45 INR has to be approved by a person"


def test_the_gross_amount_is_compared_not_the_net() -> None:
    asked_of = of(1, 10_000)
    with_fee = replace(asked_of, due=replace(asked_of.due, fee_bps=5_000))

    assert outcomes(PaperLedger(LARGE).post([with_fee], now=NOW)) == {1: Outcome.OVER_APPROVAL_THRESHOLD}


def test_a_currency_without_a_threshold_needs_nobody() -> None:
    in_usd = of_amount(request(1, budget(900, currency="USD")), 90_000)

    assert outcomes(PaperLedger(LARGE).post([in_usd], now=NOW)) == {1: Outcome.NEW}


@pytest.mark.parametrize(
    ("approved_minor", "outcome"),
    [
        (12_000, Outcome.NEW),
        (11_999, Outcome.OVER_APPROVAL_THRESHOLD),
        (12_001, Outcome.NEW),
        (0, Outcome.OVER_APPROVAL_THRESHOLD),
    ],
)
def test_an_approval_is_worth_its_amount_at_most(approved_minor: int, outcome: Outcome) -> None:
    ledger = PaperLedger(LARGE)
    ledger.post([of(1, 12_000)], now=NOW)
    ledger.approved_minor[KEY] = approved_minor

    planned = ledger.post([of(1, 12_000)], now=NOW + MINUTE)

    assert outcomes(planned) == {1: outcome}
    # One that waits for the same amount goes on waiting in the same hold.
    assert holds(planned) == ([("closed", hold_key(1), "paid")] if outcome is Outcome.NEW else [])


def test_an_approval_is_of_one_payout_only() -> None:
    ledger = PaperLedger(LARGE)
    ledger.approved_minor[KEY] = 12_000

    planned = ledger.post([of(1, 12_000), of(2, 12_000)], now=NOW)

    assert outcomes(planned) == {1: Outcome.NEW, 2: Outcome.OVER_APPROVAL_THRESHOLD}


def test_another_amount_is_another_hold() -> None:
    ledger = PaperLedger(LARGE)
    ledger.post([of(1, 12_000)], now=NOW)

    assert holds(ledger.post([of(1, 13_000)], now=NOW + MINUTE)) == []  # views that go on are not two rows each
    assert holds(ledger.post([of(1, 11_000)], now=NOW + MINUTE)) != []  # and what falls is told at once
    later = NOW + MINUTE + HOLD_KEPT_FOR
    planned = ledger.post([replace(of(1, 13_000), facts_at=later)], now=later)

    assert holds(planned) == [("closed", hold_key(1, 2), APPROVAL), ("opened", hold_key(1, 3), APPROVAL)]
    assert [hold.amount_minor for hold in ledger.open_holds.values()] == [13_000]


def test_what_falls_below_the_threshold_is_paid_without_a_person() -> None:
    ledger = PaperLedger(LARGE)
    ledger.post([of(1, 12_000)], now=NOW)

    planned = ledger.post([of(1, 9_999)], now=NOW + MINUTE)

    assert outcomes(planned) == {1: Outcome.NEW}
    assert holds(planned) == [("closed", hold_key(1), "paid")]


def test_what_a_person_rejected_is_not_paid_and_holds_nothing() -> None:
    ledger = PaperLedger(LARGE)
    ledger.post([of(1, 12_000)], now=NOW)
    ledger.rejected.add(KEY)
    ledger.approved_minor[KEY] = 12_000  # an earlier approval does not bring it back

    planned = ledger.post([of(1, 12_000), of(2, 9_000)], now=NOW + MINUTE)

    assert outcomes(planned) == {1: Outcome.REJECTED_BY_PERSON, 2: Outcome.NEW}
    assert holds(planned) == [("closed", hold_key(1), "rejected_by_person")]


def test_a_repayment_is_a_decision_itself_and_goes_beyond_the_threshold() -> None:
    by_person = replace(of(1, 12_000), decision_key=f"repay:{KEY}")

    assert outcomes(PaperLedger(LARGE).post([by_person], now=NOW)) == {1: Outcome.NEW}


@pytest.mark.parametrize("outcome", [Outcome.REJECTED_BY_PERSON, Outcome.SETTLED_BEFORE_US])
def test_a_repayment_goes_beyond_what_was_decided_before(outcome: Outcome) -> None:
    ledger = PaperLedger()
    ledger.rejected |= {KEY} if outcome is Outcome.REJECTED_BY_PERSON else set()
    ledger.adopted |= {oid(1).tagged} if outcome is Outcome.SETTLED_BEFORE_US else set()

    assert outcomes(ledger.plan([asked(1, 900)], now=NOW)) == {1: outcome}
    by_person = replace(asked(1, 900), decision_key=f"repay:{KEY}")
    assert outcomes(ledger.post([by_person], now=NOW)) == {1: Outcome.NEW}


def test_a_repayment_does_not_go_beyond_another_participation_of_the_streamer() -> None:
    """The ledger holds one payout of a number a campaign and streamer, whoever decides."""
    ledger = PaperLedger()
    ledger.post([asked(2, 900, streamer=1)], now=NOW)

    by_person = replace(asked(1, 900), decision_key=f"repay:{KEY}")
    assert outcomes(ledger.post([by_person], now=NOW)) == {1: Outcome.DUPLICATE_PARTICIPATION}


def test_a_second_payout_without_a_decision_of_its_own_needs_approval() -> None:
    again = replace(of(1, 12_000), n=2)

    assert outcomes(PaperLedger(LARGE).post([again], now=NOW)) == {1: Outcome.OVER_APPROVAL_THRESHOLD}


def test_waiting_for_approval_holds_up_nobody() -> None:
    ledger = PaperLedger(LARGE)

    planned = ledger.post([of(1, 12_000), of(2, 9_000), of(3, 9_000)], now=NOW)
    assert outcomes(planned) == {1: Outcome.OVER_APPROVAL_THRESHOLD, 2: Outcome.NEW, 3: Outcome.NEW}

    planned = ledger.post([of(4, 9_000)], now=NOW + MINUTE)
    assert outcomes(planned) == {4: Outcome.NEW}
    assert ledger.escrow_minor(CAMPAIGN_ID.tagged) == 63_000  # and nothing is reserved for it


def test_an_approved_payout_that_does_not_fit_waits_for_budget_and_then_blocks() -> None:
    ledger = PaperLedger(LARGE)
    ledger.post([of(1, 12_000, major=100)], now=NOW)
    ledger.approved_minor[KEY] = 12_000

    planned = ledger.post([of(1, 12_000, major=100), of(2, 1, major=100)], now=NOW + MINUTE)

    assert outcomes(planned) == {1: Outcome.OVER_BUDGET, 2: Outcome.OVER_BUDGET}
    assert holds(planned) == [
        ("closed", hold_key(1), "over_budget"),
        ("opened", hold_key(1, 2), "over_budget"),
        ("opened", hold_key(2), "over_budget"),
    ]
    assert [event.detail for event in planned.plan.hold_events][1:] == [
        "escrow holds 100.00 INR, the payout needs 120.00",
        "escrow holds 100.00 INR, the payout needs 0.01; 1 held before it",
    ]


def test_a_hold_turns_from_approval_to_budget_and_back_and_is_paid_in_the_end() -> None:
    ledger = PaperLedger(LARGE)
    ledger.post([of(1, 12_000, major=100)], now=NOW)
    ledger.approved_minor[KEY] = 12_000
    ledger.post([of(1, 12_000, major=100, minutes=1)], now=NOW + MINUTE)
    ledger.post([of(2, 5_000, major=100, minutes=1)], now=NOW + MINUTE)  # waits behind it

    # What it earns has changed: the approval was of another amount. Waiting for a person, it lets the other pass.
    planned = ledger.post(
        [of(1, 13_000, major=100, minutes=2), of(2, 5_000, major=100, minutes=2)], now=NOW + 2 * MINUTE
    )
    assert outcomes(planned) == {1: Outcome.OVER_APPROVAL_THRESHOLD, 2: Outcome.NEW}
    assert holds(planned) == [
        ("closed", hold_key(1, 2), APPROVAL),
        ("opened", hold_key(1, 3), APPROVAL),
        ("closed", hold_key(2), "paid"),
    ]

    ledger.approved_minor[KEY] = 13_000
    planned = ledger.post([of(1, 13_000, major=180, minutes=3)], now=NOW + 3 * MINUTE)
    assert (funded(planned), paid(planned)) == ([8_000], [KEY])
    assert holds(planned) == [("closed", hold_key(1, 3), "paid")]
    assert ledger.open_holds == {}


def test_an_approved_payout_comes_after_those_that_wait_for_budget() -> None:
    ledger = PaperLedger(LARGE)
    ledger.post([of(1, 12_000, major=100)], now=NOW)
    ledger.post([of(2, 9_999, major=100), of(3, 9_999, major=100)], now=NOW + MINUTE)
    ledger.approved_minor[KEY] = 12_000

    planned = ledger.post(
        [of(number, amount, minutes=2) for number, amount in ((1, 12_000), (3, 9_999))], now=NOW + 2 * MINUTE
    )

    # 1 waited the longest, but for a person; there is enough for both, and both are paid at once.
    assert paid(planned) == [payout_key(oid(3), 1), KEY]
    assert outcomes(planned) == {1: Outcome.NEW, 3: Outcome.NEW}


def test_having_waited_for_a_person_longer_is_no_place_before_those_that_wait_for_budget() -> None:
    ledger = PaperLedger(LARGE)
    ledger.post([of(1, 12_000, major=120)], now=NOW)
    ledger.post([of(2, 9_999, major=120), of(3, 9_999, major=120)], now=NOW + MINUTE)
    ledger.approved_minor[KEY] = 12_000

    # There is enough for 1 alone, and 3 does not even ask now.
    planned = ledger.post([of(1, 12_000, minutes=2)], now=NOW + 2 * MINUTE)

    assert outcomes(planned) == {1: Outcome.OVER_BUDGET}
    assert [event.detail for event in planned.plan.hold_events][1:] == [
        "escrow holds 800.01 INR, the payout needs 120.00; 1 held before it"
    ]
