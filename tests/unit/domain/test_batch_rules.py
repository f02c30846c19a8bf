"""What settings and the ledger's state make of a batch: fees, hold days, limits, pools, refunds, adoptions, voids."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from reconciler.domain import accounts
from reconciler.domain.accounts import Posting
from reconciler.domain.batch import Outcome, PlannedBatch, PostingRules, plan_batch
from reconciler.domain.ids import DocumentId, IdKind, payout_key
from reconciler.domain.ledger_snapshot import FrozenLine, HoldWithdrawal, PayoutRequest
from reconciler.domain.plan import BatchPlan, NewDecision, NewPayout
from tests.support.batches import MINUTE, asked, budget, funded, hold_key, holds, outcomes, paid
from tests.support.decisions import CAMPAIGN_ID, NOW, of_amount, oid, request, terms
from tests.support.paper_ledger import HOUR, RULES, PaperLedger
from tests.support.pools import SETTLEMENT_KEY

CAMPAIGN = CAMPAIGN_ID.tagged


def with_fee(one: PayoutRequest, fee_bps: int) -> PayoutRequest:
    return replace(one, due=replace(one.due, fee_bps=fee_bps))


def payouts(planned: PlannedBatch) -> list[NewPayout]:
    return [item for item in planned.plan.posted if isinstance(item, NewPayout)]


@pytest.mark.parametrize("hold_days", [0, 7])
@pytest.mark.parametrize(
    ("fee_bps", "gross_minor", "to_streamer", "to_platform"),
    [
        (0, 10_000, 10_000, None),  # without a fee there is no leg of nothing
        (250, 10_000, 9_750, 250),
        (5_000, 1, 0, 1),
        (4_999, 1, 1, None),
        (10_000, 10_000, 0, 10_000),
        (250, 0, 0, None),
    ],
)
def test_a_payout_leaves_escrow_whole_and_is_split_between_streamer_and_platform(
    fee_bps: int, gross_minor: int, to_streamer: int, to_platform: int | None, hold_days: int
) -> None:
    ledger = PaperLedger(replace(RULES, hold_days=hold_days))
    planned = ledger.post([with_fee(of_amount(asked(1, 900), gross_minor), fee_bps)], now=NOW)

    to = accounts.held if hold_days else accounts.wallet
    legs = [
        Posting(account=accounts.escrow(CAMPAIGN_ID), amount_minor=-gross_minor),
        Posting(account=to(oid(1).value), amount_minor=to_streamer),
    ]
    if to_platform is not None:
        legs.append(Posting(account="platform:fees", amount_minor=to_platform))
    assert [payout.entry.postings for payout in payouts(planned)] == [tuple(legs)]
    assert ledger.escrow_minor(CAMPAIGN) == 90_000 - gross_minor


def test_the_gross_amount_has_to_fit_not_the_net() -> None:
    planned = PaperLedger().post([with_fee(of_amount(asked(1, 100), 10_001), 5_000)], now=NOW)

    assert outcomes(planned) == {1: Outcome.OVER_BUDGET}


@pytest.mark.parametrize(
    ("hold_days", "release_at"), [(0, None), (1, NOW + timedelta(days=1)), (365, NOW + timedelta(days=365))]
)
def test_earnings_are_held_for_so_many_days_from_the_posting(hold_days: int, release_at: object) -> None:
    ledger = PaperLedger(replace(RULES, hold_days=hold_days))
    planned = ledger.post([asked(1, 900, minutes=-3)], now=NOW)

    assert [payout.release_at for payout in payouts(planned)] == [release_at]
    kept_in = accounts.held if hold_days else accounts.wallet
    assert ledger.balances[kept_in(oid(1).value), "INR"] == 10_000


BY_COUNT = replace(RULES, payouts_per_hour_max=3)
BY_AMOUNT = replace(RULES, amount_per_hour_max_minor={"INR": 30_000, "USD": 10_000})
TOO_MANY = "4 payouts within an hour would exceed safety.payouts_per_hour_max 3"
TOO_MUCH = "400.00 INR within an hour would exceed safety.amount_per_hour_max 300.00"
LIMITS = [pytest.param(BY_COUNT, TOO_MANY, id="count"), pytest.param(BY_AMOUNT, TOO_MUCH, id="amount")]


@pytest.mark.parametrize(("rules", "cause"), LIMITS)
@pytest.mark.parametrize("before", [0, 2, 3])
def test_exactly_the_limit_is_paid_and_one_more_halts_with_nothing_else_planned(
    rules: PostingRules, cause: str, before: int
) -> None:
    ledger = PaperLedger(rules)
    ledger.post([asked(number, 900) for number in range(1, before + 1)], now=NOW)
    ledger.post([asked(number, 900) for number in range(before + 1, 4)], now=NOW + MINUTE)
    assert len(ledger.payouts) == 3

    halted = PaperLedger(rules)
    halted.post([asked(number, 900) for number in range(1, before + 1)], now=NOW)
    now = NOW + MINUTE
    planned = halted.post([asked(number, 900) for number in range(before + 1, 5)], now=now, voids=[oid(8)])

    halt = NewDecision(
        decision_key=f"halt:{now:%Y-%m-%dT%H:%M}:00.000000",
        kind="halt",
        subject="paying",
        decided_by="reconciler",
        reason=f"safety_limit: {cause}",
    )
    assert planned == PlannedBatch(plan=BatchPlan(decisions=[halt]), outcomes={}, halt=cause)
    assert len(halted.payouts) == before


@pytest.mark.parametrize(("rules", "cause"), LIMITS)
def test_what_was_paid_an_hour_ago_no_longer_counts(rules: PostingRules, cause: str) -> None:
    ledger = PaperLedger(rules)
    ledger.post([asked(number, 900) for number in (1, 2, 3)], now=NOW)

    later = [asked(4, 900, minutes=59)]
    assert ledger.plan(later, now=NOW + HOUR - timedelta(microseconds=1)).halt == cause
    assert ledger.plan(later, now=NOW + HOUR).halt is None


@pytest.mark.parametrize(("rules", "cause"), LIMITS)
def test_a_batch_that_pays_nothing_new_never_halts(rules: PostingRules, cause: str) -> None:
    ledger = PaperLedger(rules)
    ledger.post([asked(number, 300) for number in (1, 2, 3)], now=NOW)
    ledger.rules = replace(rules, payouts_per_hour_max=0, amount_per_hour_max_minor={"INR": 0})

    planned = ledger.post([asked(number, 300) for number in (1, 2, 3, 4)], now=NOW + MINUTE, voids=[oid(9)])

    exists = dict.fromkeys((1, 2, 3), Outcome.EXISTS)
    assert (planned.halt, outcomes(planned)) == (None, exists | {4: Outcome.OVER_BUDGET})
    assert len(planned.plan.decisions) == 1


def test_amounts_are_limited_a_currency_and_gross() -> None:
    in_usd = budget(900, currency="USD")
    other = [with_fee(request(number, in_usd), 5_000) for number in (1, 2)]
    ledger = PaperLedger(BY_AMOUNT)

    assert outcomes(ledger.plan(other[:1], now=NOW)) == {1: Outcome.NEW}
    assert (
        ledger.plan(other, now=NOW).halt == "200.00 USD within an hour would exceed safety.amount_per_hour_max 100.00"
    )
    in_jpy = [request(number, budget(900, currency="JPY")) for number in range(1, 10)]
    assert ledger.plan(in_jpy, now=NOW).halt is None


def test_without_limits_any_number_is_paid() -> None:
    planned = PaperLedger().post([asked(number, 10_000) for number in range(1, 101)], now=NOW)

    assert set(outcomes(planned).values()) == {Outcome.NEW}


def test_in_a_pooled_campaign_only_the_settlement_s_lines_and_people_pay() -> None:
    ledger = PaperLedger()
    ledger.pooled.add(CAMPAIGN)
    alone, line = asked(1, 900), line_of(2)
    ledger.lines |= frozen(line)
    rejected_before = replace(asked(3, 900), decision_key="repay:3")
    again = replace(asked(4, 900), n=2, decision_key="repay:4")

    planned = ledger.post([alone, line, rejected_before, again], now=NOW)

    assert outcomes(planned) == {1: Outcome.STALE, 2: Outcome.NEW, 3: Outcome.NEW, 4: Outcome.NEW}
    elsewhere = request(5, terms(oid(0xCB)))
    assert outcomes(ledger.post([elsewhere], now=NOW)) == {5: Outcome.NEW}


def test_a_payout_overtaken_by_a_settlement_keeps_its_hold_until_it_is_decided_again() -> None:
    ledger = PaperLedger()
    ledger.post([asked(1, 50)], now=NOW)
    ledger.pooled.add(CAMPAIGN)

    planned = ledger.post([asked(1, 50)], now=NOW + MINUTE)

    assert (outcomes(planned), holds(planned)) == ({1: Outcome.STALE}, [])
    assert hold_key(1) in ledger.open_holds


@pytest.mark.parametrize("major", [300, 900])
def test_a_refunded_campaign_is_not_funded_again(major: int) -> None:
    ledger = PaperLedger()
    ledger.post([asked(1, 300)], now=NOW)
    ledger.refund(CAMPAIGN)

    planned = ledger.post([asked(2, major, minutes=1)], now=NOW + MINUTE)

    assert (funded(planned), outcomes(planned)) == ([], {2: Outcome.OVER_BUDGET})


@pytest.mark.parametrize(
    ("adopted_minor", "first_minor"), [(0, 30_000), (12_000, 18_000), (30_000, 0), (30_001, 0), (99_999, 0)]
)
def test_what_was_settled_before_us_is_not_funded_again(adopted_minor: int, first_minor: int) -> None:
    ledger = PaperLedger()
    ledger.adopted_minor[CAMPAIGN, "INR"] = adopted_minor

    planned = ledger.post([of_amount(asked(1, 300), 0)], now=NOW)

    assert funded(planned) == [first_minor]
    assert ledger.fundings[CAMPAIGN].budget_minor == 30_000  # the budget seen is the document's


@pytest.mark.parametrize(("major", "moved"), [(400, [10_000]), (300, []), (200, [-10_000]), (50, [-18_000])])
def test_later_budgets_are_reduced_by_it_too(major: int, moved: list[int]) -> None:
    ledger = PaperLedger()
    ledger.adopted_minor[CAMPAIGN, "INR"] = 12_000
    ledger.post([of_amount(asked(1, 300), 0)], now=NOW)

    planned = ledger.post([of_amount(asked(2, major, minutes=1), 0)], now=NOW + MINUTE)

    assert funded(planned) == moved


def test_a_share_is_voided_once() -> None:
    ledger = PaperLedger()
    text = DocumentId(IdKind.STRING, "p")

    planned = ledger.post([], now=NOW, voids=[text, oid(2), oid(1), oid(2)])

    assert planned.plan == BatchPlan(
        decisions=[
            NewDecision(
                decision_key=f"void:{one.tagged}",
                kind="void",
                subject=one.tagged,
                decided_by="reconciler",
                reason="forfeited before its share of the pool was posted",
            )
            for one in (oid(1), oid(2), text)
        ]
    )
    assert ledger.post([], now=NOW + MINUTE, voids=[oid(1), text]).plan.is_empty
    assert len(ledger.post([], now=NOW + MINUTE, voids=[oid(1), oid(3)]).plan.decisions) == 1


def test_a_void_share_s_hold_is_withdrawn_with_it() -> None:
    ledger = PaperLedger()
    ledger.post([asked(1, 50), of_amount(asked(2, 50), 1)], now=NOW)
    withdrawn = HoldWithdrawal(participation_id=oid(1), campaign_id=CAMPAIGN_ID, reason="forfeited")

    planned = plan_batch(
        [of_amount(asked(2, 50), 1)], [withdrawn], ledger.snapshot(NOW), RULES, NOW + MINUTE, voids=iter([oid(1)])
    )

    assert paid(planned) == [payout_key(oid(2), 1)]
    assert [one.decision_key for one in planned.plan.decisions] == [f"void:{oid(1).tagged}"]


def line_of(number: int) -> PayoutRequest:
    """A share of a frozen settlement that asks to be paid."""
    alone = asked(number, 900)
    return replace(alone, due=replace(alone.due, settlement_key=SETTLEMENT_KEY))


def frozen(*lines: PayoutRequest) -> dict[str, FrozenLine]:
    """What the ledger holds of some shares."""
    return {
        one.due.participation.participation_id.tagged: FrozenLine(
            settlement_key=SETTLEMENT_KEY,
            campaign_id=CAMPAIGN,
            streamer_id=one.due.participation.streamer_id,
            share_minor=one.due.earned.gross_minor,
        )
        for one in lines
    }


def test_a_void_share_is_not_paid_whether_it_was_void_before_or_is_from_now_on() -> None:
    ledger = PaperLedger()
    ledger.pooled.add(CAMPAIGN)
    ledger.lines |= frozen(line_of(1), line_of(2))

    planned = ledger.post([line_of(1), line_of(2)], now=NOW, voids=[oid(1)])
    assert outcomes(planned) == {1: Outcome.STALE, 2: Outcome.NEW}

    assert outcomes(ledger.post([line_of(1)], now=NOW + MINUTE)) == {1: Outcome.STALE}


def test_a_share_that_was_paid_is_never_void() -> None:
    ledger = PaperLedger()
    ledger.pooled.add(CAMPAIGN)
    ledger.lines |= frozen(line_of(1))
    ledger.post([line_of(1)], now=NOW)

    assert ledger.post([], now=NOW + MINUTE, voids=[oid(2)]).plan.decisions
    known = replace(ledger.snapshot(NOW), fingerprints={line_of(1).key: line_of(1).fingerprint})
    assert plan_batch([], (), known, RULES, NOW + MINUTE, voids=[oid(1)]).plan.is_empty


@pytest.mark.parametrize(("currency", "outcome"), [("INR", Outcome.NEW), ("USD", Outcome.CURRENCY_CHANGED)])
def test_a_settlement_pins_the_currency_before_the_first_funding(currency: str, outcome: Outcome) -> None:
    pooled = replace(
        PaperLedger().snapshot(NOW),
        pooled=frozenset({CAMPAIGN}),
        pool_currency={CAMPAIGN: currency},
        lines=frozen(line_of(1)),
    )

    assert outcomes(plan_batch([line_of(1)], (), pooled, RULES, NOW)) == {1: outcome}


def test_a_repayment_is_no_second_payment_of_the_participation_or_of_its_streamer() -> None:
    snapshot, by_person = PaperLedger().snapshot(NOW), replace(asked(1, 900), n=2, decision_key="repay:1")
    pair = (CAMPAIGN, oid(1).value)

    assert outcomes(plan_batch([by_person], (), snapshot, RULES, NOW)) == {1: Outcome.NEW}
    paid_again = replace(snapshot, unreversed=frozenset({oid(1).tagged}))
    assert outcomes(plan_batch([by_person], (), paid_again, RULES, NOW)) == {1: Outcome.STALE}
    for_another = replace(snapshot, numbers={pair: {1: oid(2).tagged}})
    assert outcomes(plan_batch([by_person], (), for_another, RULES, NOW)) == {1: Outcome.DUPLICATE_PARTICIPATION}
    for_itself = replace(snapshot, numbers={pair: {1: oid(1).tagged}})
    assert outcomes(plan_batch([by_person], (), for_itself, RULES, NOW)) == {1: Outcome.NEW}


def test_a_repayment_goes_beyond_what_was_reversed_for_another_participation_of_the_streamer() -> None:
    """The platform made the document anew: nothing stands, and the number is one that nobody had."""
    snapshot, pair = PaperLedger().snapshot(NOW), (CAMPAIGN, oid(1).value)
    by_person = replace(asked(1, 900), n=2, decision_key="repay:1")

    for numbers, outcome in (
        ({1: None}, Outcome.NEW),
        ({1: None, 2: None}, Outcome.STALE),
        ({1: None, 2: oid(2).tagged}, Outcome.DUPLICATE_PARTICIPATION),
    ):
        assert outcomes(plan_batch([by_person], (), replace(snapshot, numbers={pair: numbers}), RULES, NOW)) == {
            1: outcome
        }


def test_a_share_is_repaid_once_too() -> None:
    """Two people at once under different numbers: what stands is looked at for shares as for all else."""
    line = replace(line_of(1), n=3, decision_key="repay:1")
    snapshot = replace(PaperLedger().snapshot(NOW), lines=frozen(line_of(1)), pooled=frozenset({CAMPAIGN}))

    assert outcomes(plan_batch([line], (), snapshot, RULES, NOW)) == {1: Outcome.NEW}
    paid_meanwhile = replace(snapshot, unreversed=frozenset({oid(1).tagged}))
    assert outcomes(plan_batch([line], (), paid_meanwhile, RULES, NOW)) == {1: Outcome.STALE}


@pytest.mark.parametrize("changed", [{"campaign_id": "oid:cb"}, {"streamer_id": "another"}, {"share_minor": 1}, None])
def test_a_share_is_paid_as_it_was_frozen_or_not_at_all(changed: dict[str, Any] | None) -> None:
    line = frozen(line_of(1))[oid(1).tagged]
    lines = {} if changed is None else {oid(1).tagged: replace(line, **changed)}
    snapshot = replace(PaperLedger().snapshot(NOW), lines=lines)

    assert outcomes(plan_batch([line_of(1)], (), snapshot, RULES, NOW)) == {1: Outcome.POOL_MEMBER_CHANGED}


def test_who_has_a_share_in_another_campaign_is_decided_again_before_it_is_paid_here() -> None:
    elsewhere = replace(frozen(line_of(1))[oid(1).tagged], campaign_id="oid:cb")
    snapshot = replace(PaperLedger().snapshot(NOW), lines={oid(1).tagged: elsewhere})

    assert outcomes(plan_batch([asked(1, 900)], (), snapshot, RULES, NOW)) == {1: Outcome.STALE}
