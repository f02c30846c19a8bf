"""Explanations: never of another opinion than the decision, and every number and rounding in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.batch import Outcome, PlannedBatch
from reconciler.domain.campaign import MalformedCampaign, PaymentType
from reconciler.domain.decision import (
    Due,
    NotDue,
    ParticipationFacts,
    Policy,
    PoolShare,
    Reason,
    Rule,
    Scope,
    Settled,
    decide,
)
from reconciler.domain.earnings import Overdelivery, earnings
from reconciler.domain.explanation import Explanation, RuleResult, Step, explain
from reconciler.domain.findings import Case
from reconciler.domain.parsing import FieldProblem, Unreadable
from reconciler.domain.plan import BatchPlan, HoldEvent
from reconciler.domain.posted import PostedPayout
from reconciler.domain.recomputation import FrozenPool, decimal_text, recompute
from reconciler.domain.rederivation import AmountFacts, amounts_of
from reconciler.domain.settlement import PoolDue, PoolNotDue
from tests.support.ledger_history import START, member, terms_of, text_id

CAP = Policy(overdelivery=Overdelivery.CAP_AT_TARGET, rules=frozenset({Rule.IMPRESSIONS_TARGET_REACHED}))
PAY = replace(CAP, overdelivery=Overdelivery.PAY)
WHOLE = replace(CAP, scope=Scope.CAMPAIGN)
TERMS = terms_of(budget=3300)
MALFORMED = MalformedCampaign(
    campaign_id=text_id("c1"), status="active", problems=(FieldProblem(field="budget", why="is not a number"),)
)
POOL = PoolShare(settlement_key="settlement:str:c1:1", rule=Rule.CAMPAIGN_ENDED, share_minor=110_000, impressions=700)
FROZEN = FrozenPool(
    settlement_key="settlement:str:c1:1",
    rule="campaign_ended",
    payment_type="cpm",
    rate="1650",
    overdelivery="cap_at_target",
    target=2000,
    impressions=2100,
    pool_minor=330_000,
    currency="INR",
    facts_at=START,
    weights={"str:p1": 700, "str:p2": 700, "str:p3": 700},
    shares_minor={"str:p1": 110_000, "str:p2": 110_000, "str:p3": 110_000},
)


def facts(impressions: int = 2000, campaign: Any = TERMS, **changes: Any) -> ParticipationFacts:
    """The reference case, due unless changed."""
    found = ParticipationFacts(
        participation=member("p1", "s1", impressions=impressions), campaign=campaign, settled=Settled.NOTHING
    )
    return replace(found, **changes)


def of_participation(found: ParticipationFacts, **changes: Any) -> ParticipationFacts:
    return replace(found, participation=replace(found.participation, **changes))


def explained(found: ParticipationFacts, policy: Policy = CAP, **more: Any) -> Explanation:
    return explain(
        Case(
            participation_id="str:p1",
            policy=policy,
            fixed_impressions_per_unit=1000,
            now=START,
            facts=found,
            decision=decide(found, policy),
            **more,
        )
    )


def step(explanation: Explanation, rule: str) -> Step:
    [found] = [one for one in explanation.steps if one.rule == rule]
    return found


def stored(**changes: Any) -> PostedPayout:
    row: dict[str, Any] = {
        "payout_key": "payout:str:p1:1",
        "sequence": 2,
        "kind": "payout",
        "n": 1,
        "participation_id": "str:p1",
        "campaign_id": "str:c1",
        "streamer_id": "s1",
        "brand_id": "str:b1",
        "impressions": 2500,
        "target": 2000,
        "payment_type": "cpm",
        "rate": "1650",
        "overdelivery": "cap_at_target",
        "impressions_paid": 2000,
        "rounding": "half_up",
        "gross_minor": 330_000,
        "fee_bps": 250,
        "fee_minor": 8_250,
        "amount_minor": 321_750,
        "currency": "INR",
        "rule": "impressions_target_reached",
        "trigger": "sweep",
        "run_id": "run-1",
        "facts_at": START,
        "created_at": START + timedelta(seconds=1),
        "release_at": None,
        "settlement_key": None,
        "reverses": None,
        "decision_key": None,
    }
    return PostedPayout(**row | changes)


def test_what_is_due_passes_every_rule_and_shows_the_formula_and_both_roundings() -> None:
    found = explained(facts(2500), replace(CAP, fee_bps=250))

    assert (found.reason, found.payout_key) == ("due", "payout:str:p1:1")
    assert found.answer == "It is due 3217.50 INR by impressions_target_reached, and the next sweep pays it."
    assert {one.verdict for one in found.steps} == {RuleResult.PASSED, RuleResult.OFF}
    assert step(found, "impressions_target_reached").finding == (
        "2500 of 2000 impressions; the target is what the budget buys: ⌊3300.00 INR / 1650 × 1000⌋ = 2000, rounded down"
    )
    assert step(found, "amount").formula == "min(2500, 2000) impressions × 1650 INR / 1000 = 3300 INR"
    assert step(found, "amount").rounding == "exact, nothing to round: 3300.00 INR"
    assert step(found, "platform_fee").formula == "250 basis points of 3300.00 INR = 82.5 INR"
    assert step(found, "platform_fee").finding == "the platform keeps 82.50 INR, the streamer receives 3217.50 INR"


def test_a_rounded_amount_shows_its_exact_value() -> None:
    terms = replace(TERMS, rate=Fraction("1650.555555555"), budget_minor=100_000, target_impressions=605)

    found = explained(facts(607, terms), PAY)

    assert step(found, "amount").formula == "607 impressions × 1650.555555555 INR / 1000 = 1001.887222221885 INR"
    assert step(found, "amount").rounding == "rounded half-up to the minor unit, once: 1001.89 INR"


def test_a_fixed_rate_and_a_target_of_its_own_say_so() -> None:
    terms = replace(TERMS, payment_type=PaymentType.FIXED, rate=Fraction(500), target_impressions=1234)

    found = explained(facts(1234, terms))

    assert step(found, "impressions_target_reached").finding.endswith(
        "the target is the campaign's own (its budget would buy ⌊3300.00 INR × 1000⌋ = 3300000)"
    )
    assert step(found, "amount").formula == "the fixed rate, 500 INR = 500 INR"


def test_a_currency_without_minor_units_is_shown_without_them() -> None:
    terms = replace(terms_of(currency="JPY", budget=3300), rate=Fraction("1650.5"))

    found = explained(facts(2001, terms), PAY)

    assert step(found, "amount").formula == "2001 impressions × 1650.5 JPY / 1000 = 3302.6505 JPY"
    assert step(found, "amount").rounding == "rounded half-up to the minor unit, once: 3303 JPY"


@pytest.mark.parametrize(
    ("found", "policy", "reason", "rule"),
    [
        (facts(settled=Settled.PAID), CAP, "already_paid", "ledger"),
        (facts(settled=Settled.REVERSED), CAP, "reversed", "ledger"),
        (facts(settled=Settled.REJECTED), CAP, "rejected_by_person", "ledger"),
        (facts(settled=Settled.ADOPTED), CAP, "settled_before_us", "ledger"),
        (of_participation(facts(), marked_paid=True), CAP, "marked_paid_elsewhere", "marked_paid"),
        (facts(campaign=None), CAP, "campaign_missing", "campaign"),
        (facts(campaign=replace(TERMS, status="draft")), CAP, "campaign_not_active", "campaign_status"),
        (of_participation(facts(), status="removed"), CAP, "participation_not_active", "participation_status"),
        (of_participation(facts(), forfeited=True), CAP, "forfeited", "forfeited"),
        (facts(campaign=MALFORMED), CAP, "malformed", "well_formed"),
        (of_participation(facts(), impressions=Unreadable("is missing")), CAP, "malformed", "well_formed"),
        (of_participation(facts(), status=None), CAP, "malformed", "well_formed"),
        (facts(), WHOLE, "below_target", "pool"),
        (facts(pool=replace(POOL, share_minor=None)), CAP, "pool_settled", "pool"),
        (facts(pool=replace(POOL, is_void=True)), CAP, "forfeited", "pool"),
        (facts(1999), CAP, "below_target", "impressions_target_reached"),
        (facts(), replace(CAP, rules=frozenset()), "below_target", "impressions_target_reached"),
        (facts(credited_elsewhere=True), CAP, "marked_paid_elsewhere", "credited_elsewhere"),
        (facts(streamer_paid_for="str:p9"), CAP, "duplicate_participation", "one_payout_a_streamer"),
        (facts(pinned_currency="JPY"), CAP, "currency_changed", "currency"),
        (facts(10**12, replace(TERMS, rate=Fraction(10**9))), PAY, "malformed", "amount"),
    ],
)
def test_each_reason_stops_at_its_rule(found: ParticipationFacts, policy: Policy, reason: str, rule: str) -> None:
    told = explained(found, policy)

    assert told.reason == reason
    assert [one.rule for one in told.steps if one.verdict is RuleResult.STOPPED] == [rule]
    at = [one.rule for one in told.steps].index(rule)
    assert {one.verdict for one in told.steps[:at]} <= {RuleResult.PASSED, RuleResult.OFF}
    assert RuleResult.PASSED not in {one.verdict for one in told.steps[at + 1 :]}


def test_the_numbers_of_what_stands_in_the_way_are_named() -> None:
    below = explained(facts(1999))
    assert step(below, "impressions_target_reached").finding.startswith("1999 of 2000 impressions")
    assert below.answer == "It is not paid: below_target (1999 of 2000 impressions)."
    assert step(explained(facts(campaign=MALFORMED)), "well_formed").finding == "campaign: budget is not a number"
    assert (
        explained(facts(campaign=MALFORMED)).answer == "It is not paid: malformed (campaign: budget is not a number)."
    )
    unreadable = of_participation(facts(), impressions=Unreadable("is negative"))
    assert step(explained(unreadable), "well_formed").finding == "participation: impressions is negative"
    assert step(explained(facts(streamer_paid_for="str:p9")), "one_payout_a_streamer").finding.endswith("for str:p9")
    pinned = explained(facts(pinned_currency="JPY"))
    assert step(pinned, "currency").finding == "the campaign was funded in JPY, and is now kept in INR"


def test_rules_that_are_off_are_named_with_their_switch() -> None:
    off = [(one.rule, one.finding) for one in explained(facts()).steps if one.verdict is RuleResult.OFF]

    assert off == [
        ("budget_exhausted", "completion.budget_exhausted is off"),
        ("campaign_ended", "completion.campaign_ended is off"),
        ("campaign_inactive", "completion.campaign_inactive is off"),
    ]


def test_a_rule_that_settles_whole_campaigns_says_what_it_would_do() -> None:
    policy = replace(CAP, rules=frozenset({Rule.IMPRESSIONS_TARGET_REACHED, Rule.CAMPAIGN_ENDED}))
    terms = replace(TERMS, end_date=START - timedelta(days=1))
    due = PoolDue(
        terms=terms,
        rule=Rule.CAMPAIGN_ENDED,
        overdelivery=Overdelivery.CAP_AT_TARGET,
        impressions=100,
        pool_minor=16_500,
        lines=(),
    )
    waits = PoolNotDue(reason=Reason.POOL_INCOMPLETE, detail="malformed members: p9")

    holds = step(explained(facts(100, terms), policy, pool=due), "campaign_ended")
    held_up = step(explained(facts(100, terms), policy, pool=waits), "campaign_ended")

    assert holds.finding.endswith("end date 2026-02-28 12:00:00 UTC, now 2026-03-01 12:00:00 UTC; it holds now")
    assert held_up.finding.endswith("; it does not settle the campaign now")


def test_scope_campaign_says_what_becomes_of_the_whole_campaign() -> None:
    waits = PoolNotDue(reason=Reason.BELOW_TARGET, detail="1200 of 2000 impressions together")

    found = step(explained(facts(1200), WHOLE, pool=waits), "pool")

    assert found.finding == (
        "scope campaign: all participations together decide; now: below_target (1200 of 2000 impressions together)"
    )


def test_a_share_of_a_frozen_pool_is_explained_by_the_whole_pool() -> None:
    found = explained(facts(9, pool=POOL), pools={FROZEN.settlement_key: FROZEN})

    assert found.answer.startswith("It is due 1100.00 INR by campaign_ended")
    assert step(found, "impressions_target_reached").finding == (
        "9 impressions today; the frozen settlement decided, by campaign_ended"
    )
    assert step(found, "amount").formula == "3300.00 INR × 700 / 2100 impressions"
    assert step(found, "amount").rounding == "largest remainder of 3: 110000 minor units → 110000"


def test_what_the_ledger_would_answer_is_the_last_rule() -> None:
    event = HoldEvent(
        hold_key="hold:str:p1:1",
        event="opened",
        participation_id="str:p1",
        campaign_id="str:c1",
        streamer_id="s1",
        reason="over_budget",
        detail="escrow holds 0.00 INR, the payout needs 3300.00",
        amount_minor=330_000,
        currency="INR",
    )
    held = PlannedBatch(plan=BatchPlan(hold_events=[event]), outcomes={"payout:str:p1:1": Outcome.OVER_BUDGET})
    fits = PlannedBatch(plan=BatchPlan(), outcomes={"payout:str:p1:1": Outcome.NEW})
    limit = PlannedBatch(plan=BatchPlan(), outcomes={}, halt="2 payouts within an hour would exceed 1")

    over, new, halted = (explained(facts(), foreseen=one) for one in (held, fits, limit))

    assert over.answer == "It is due 3300.00 INR, and the ledger would not pay it now: over_budget."
    assert over.steps[-1].verdict is RuleResult.STOPPED
    assert over.steps[-1].finding == (
        "the ledger would answer over_budget: escrow holds 0.00 INR, the payout needs 3300.00"
    )
    assert new.steps[-1].verdict is RuleResult.PASSED
    assert new.answer.endswith("and the next sweep pays it.")
    assert (halted.steps[-1].rule, halted.steps[-1].verdict) == ("safety_limits", RuleResult.STOPPED)


def test_a_payout_is_explained_from_its_stored_facts_not_from_todays() -> None:
    found = explained(facts(9_999, replace(TERMS, rate=Fraction(7)), settled=Settled.PAID), stored=[stored()])

    assert found.answer == "It was paid 3217.50 INR at 2026-03-01 12:00:01 UTC by impressions_target_reached."
    [paid] = found.paid
    assert paid.holds
    assert paid.recomputed is not None
    assert paid.recomputed.gross.formula == "min(2500, 2000) impressions × 1650 INR / 1000 = 3300 INR"
    amounts = (paid.recomputed.gross.amount_minor, paid.recomputed.fee.amount_minor, paid.recomputed.net_minor)
    assert amounts == (330_000, 8_250, 321_750)
    assert "2500 impressions, target 2000, cpm rate 1650, overdelivery cap_at_target" in paid.finding


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gross_minor": 330_001}, "the stored gross is 330001 minor units, and the stored facts give 330000"),
        ({"fee_minor": 8_251}, "the stored fee is 8251 minor units, and the stored facts give 8250"),
        ({"amount_minor": 1}, "the stored net is 1 minor units, and the stored facts give 321750"),
        ({"impressions": 1000}, "the stored gross is 330000 minor units, and the stored facts give 165000"),
        ({"rate": "1651"}, "the stored gross is 330000 minor units, and the stored facts give 330200"),
        ({"overdelivery": "pay"}, "the stored gross is 330000 minor units, and the stored facts give 412500"),
        ({"kind": "reversal"}, "the stored net is 321750 minor units, and the stored facts give -321750"),
    ],
)
def test_stored_amounts_that_do_not_follow_from_the_stored_facts_are_named(changes: dict[str, Any], named: str) -> None:
    [paid] = explained(facts(settled=Settled.PAID), stored=[stored(**changes)]).paid

    assert not paid.holds
    assert paid.recomputed is not None
    assert named in paid.recomputed.differences


def test_stored_facts_that_nobody_can_compute_with_are_told_not_raised() -> None:
    broken = [stored(rate="often"), stored(currency="???"), stored(settlement_key="settlement:str:c9:1")]

    problems = [paid.problem for paid in explained(facts(settled=Settled.PAID), stored=broken).paid]

    assert len(problems) == 3
    assert all(one.startswith("the stored facts cannot be computed with: ") for one in problems)


def test_a_reversal_holds_with_its_amounts_negative() -> None:
    back = stored(kind="reversal", gross_minor=-330_000, fee_minor=-8_250, amount_minor=-321_750)

    [first, second] = explained(facts(settled=Settled.REVERSED), stored=[stored(), back]).paid

    assert first.holds
    assert second.holds
    assert second.finding.startswith("taken back -3217.50 INR")


def test_a_stored_share_is_recomputed_from_all_lines_of_its_settlement() -> None:
    share = stored(
        settlement_key=FROZEN.settlement_key,
        impressions=700,
        gross_minor=110_000,
        fee_bps=0,
        fee_minor=0,
        amount_minor=110_000,
    )
    uneven = replace(FROZEN, pool_minor=330_001)

    [paid] = explained(facts(settled=Settled.PAID), stored=[share], pools={FROZEN.settlement_key: FROZEN}).paid
    assert paid.holds
    assert recompute(share, FROZEN).differences == ()
    assert recompute(share, uneven).differences == (
        "the frozen share is 110000, and the pool gives 110001",
        "the frozen pool is 330001, and its facts give 330000",
        "the stored gross is 110000 minor units, and the stored facts give 110001",
        "the stored net is 110000 minor units, and the stored facts give 110001",
    )


def test_a_participation_that_is_gone_still_has_its_payouts_explained() -> None:
    found = explain(
        Case(participation_id="str:p1", policy=CAP, fixed_impressions_per_unit=1000, now=START, stored=[stored()])
    )

    assert (found.reason, found.steps, found.payout_key) == ("participation_missing", (), "payout:str:p1:1")
    assert found.paid[0].holds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(0), "0"),
        (Fraction(3300), "3300"),
        (Fraction(1, 8), "0.125"),
        (Fraction(-5, 4), "-1.25"),
        (Fraction(1, 1024), "0.0009765625"),
        (Fraction(2, 3), "2/3"),
        (Fraction(1, 30), "1/30"),
    ],
)
def test_exact_numbers_are_written_exactly(value: Fraction, text: str) -> None:
    assert decimal_text(value) == text


@given(st.fractions())
def test_no_number_loses_a_digit_when_it_is_written(value: Fraction) -> None:
    assert Fraction(decimal_text(value)) == value


FLAGS = st.sampled_from([False, False, True, Unreadable("is text")])
CAMPAIGNS = (TERMS, TERMS, TERMS, replace(TERMS, status="draft"), replace(TERMS, rate=Fraction(10**9)), MALFORMED, None)


@st.composite
def any_facts(draw: st.DrawFn) -> ParticipationFacts:
    impressions = draw(st.sampled_from([0, 1999, 2000, 2500, 10**12, Unreadable("is missing")]))
    status = draw(st.sampled_from(["active", "active", "completed", "removed", None]))
    found = facts(
        campaign=draw(st.sampled_from(CAMPAIGNS)),
        settled=draw(st.sampled_from([Settled.NOTHING, Settled.NOTHING, Settled.NOTHING, *Settled])),
        credited_elsewhere=draw(st.booleans()),
        streamer_paid_for=draw(st.sampled_from([None, None, "str:p9"])),
        pinned_currency=draw(st.sampled_from([None, "INR", "JPY"])),
        pool=draw(st.sampled_from([None, None, POOL, replace(POOL, share_minor=None), replace(POOL, is_void=True)])),
    )
    return of_participation(
        found, impressions=impressions, status=status, forfeited=draw(FLAGS), marked_paid=draw(FLAGS)
    )


POLICIES = st.builds(
    Policy,
    overdelivery=st.sampled_from(Overdelivery),
    rules=st.frozensets(st.sampled_from(Rule)),
    scope=st.sampled_from(Scope),
    fee_bps=st.integers(0, 10_000),
)


@given(any_facts(), POLICIES)
def test_an_explanation_is_of_the_same_opinion_as_the_decision(found: ParticipationFacts, policy: Policy) -> None:
    decision = decide(found, policy)
    told = explained(found, policy)

    stopped = [one for one in told.steps if one.verdict is RuleResult.STOPPED]
    assert len(stopped) == (1 if isinstance(decision, NotDue) else 0)
    assert told.reason == (decision.reason.value if isinstance(decision, NotDue) else "due")
    if isinstance(decision, Due) and found.pool is None:
        gross = divmod(decision.earned.gross_minor, 100)
        assert step(told, "amount").rounding.endswith(f": {gross[0]}.{gross[1]:02d} INR")


@given(
    st.sampled_from(PaymentType),
    st.integers(1, 10**12),
    st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)),
    st.sampled_from(Overdelivery),
    st.sampled_from(["INR", "JPY", "KWD"]),
    st.integers(0, 10_000),
)
def test_recomputing_agrees_with_earning_and_with_the_proof_of_the_ledger(
    payment_type: PaymentType,
    rate: int,
    counted: tuple[int, int],
    overdelivery: Overdelivery,
    currency: str,
    fee_bps: int,
) -> None:
    impressions, target = counted
    terms = replace(
        TERMS,
        payment_type=payment_type,
        rate=Fraction(rate, 10**9 if payment_type is PaymentType.CPM else 1),
        target_impressions=target,
        currency=currency,
    )
    again = recompute(
        stored(
            payment_type=payment_type.value,
            rate=terms.rate_text,
            impressions=impressions,
            target=target,
            overdelivery=overdelivery.value,
            currency=currency,
            fee_bps=fee_bps,
        )
    )
    derived = amounts_of(
        AmountFacts(payment_type.value, terms.rate_text, impressions, target, overdelivery.value, currency, fee_bps)
    )

    assert again.gross.amount_minor == earnings(terms, impressions, overdelivery).gross_minor == derived.gross_minor
    assert (again.fee.amount_minor, again.net_minor) == (derived.fee_minor, derived.net_minor)
