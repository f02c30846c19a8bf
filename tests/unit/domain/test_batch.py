"""What one batch posts: outcomes in order of precedence, and funding as budgets change."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import combinations

import pytest

from reconciler.domain import accounts
from reconciler.domain.accounts import Entry, Posting
from reconciler.domain.batch import Outcome, PlannedBatch, PostingRules, plan_batch
from reconciler.domain.ids import fund_key, payout_key
from reconciler.domain.ledger_snapshot import Funding, LedgerSnapshot, OpenHold
from reconciler.domain.plan import BatchPlan, NewFunding, NewPayout
from tests.support.batches import MINUTE, asked, budget, funded, outcomes, paid
from tests.support.decisions import BRAND_ID, CAMPAIGN_ID, NOW, of_amount, oid, request, terms
from tests.support.paper_ledger import FACTS_AGE_MAX, RULES, PaperLedger
from tests.support.pools import SETTLEMENT_KEY

CAMPAIGN = CAMPAIGN_ID.tagged
PAID_BEFORE = {(CAMPAIGN, oid(1).value): "oid:other"}
IN_USD = Funding(n=1, currency="USD", budget_minor=1, funded_minor=1, facts_at=NOW - MINUTE)
ANOTHERS_HOLD = OpenHold(
    hold_key="hold:oid:9:1",
    participation_id=oid(9).tagged,
    campaign_id=CAMPAIGN,
    streamer_id=oid(9).value,
    opened_at=NOW - MINUTE,
    amount_minor=1,
    currency="INR",
)
NOTHING = LedgerSnapshot(
    fingerprints={}, paid_participations={}, fundings={}, escrow_minor={}, open_holds=(), holds_count={}
)


def test_the_first_payout_of_a_campaign_funds_it_and_pays() -> None:
    the_request = request(1, terms())
    plan = plan_batch([the_request], [], NOTHING, RULES, NOW)

    streamer = oid(1).value
    fund = Entry(
        key=fund_key(CAMPAIGN_ID, 1),
        kind="fund",
        currency="INR",
        reason="budget seen: 3300.00 INR",
        campaign_id=CAMPAIGN,
        postings=(
            Posting(account=accounts.funding(BRAND_ID), amount_minor=-330_000),
            Posting(account=accounts.escrow(CAMPAIGN_ID), amount_minor=330_000),
        ),
    )
    payout = Entry(
        key=payout_key(oid(1), 1),
        kind="payout",
        currency="INR",
        reason="impressions_target_reached",
        campaign_id=CAMPAIGN,
        participation_id=oid(1).tagged,
        streamer_id=streamer,
        postings=(
            Posting(account=accounts.escrow(CAMPAIGN_ID), amount_minor=-330_000),
            Posting(account=accounts.wallet(streamer), amount_minor=330_000),
        ),
    )
    new_funding = NewFunding(
        entry=fund, campaign_id=CAMPAIGN, n=1, currency="INR", budget_minor=330_000, amount_minor=330_000, facts_at=NOW
    )
    new_payout = NewPayout(entry=payout, request=the_request, release_at=None)
    assert plan == PlannedBatch(
        plan=BatchPlan(posted=[new_funding, new_payout]), outcomes={payout.key: Outcome.NEW}, halt=None
    )


STALE = NOW - FACTS_AGE_MAX - timedelta(microseconds=1)
OUTCOMES_IN_ORDER: tuple[tuple[Outcome, dict[str, object]], ...] = (
    (Outcome.EXISTS, {"fingerprints": {payout_key(oid(1), 1): request(1, terms()).fingerprint}}),
    (Outcome.EXISTS_DIFFERENT, {"fingerprints": {payout_key(oid(1), 1): "another"}}),
    (Outcome.REJECTED_BY_PERSON, {"rejected": frozenset({payout_key(oid(1), 1)})}),
    (Outcome.SETTLED_BEFORE_US, {"adopted": frozenset({oid(1).tagged})}),
    (Outcome.DUPLICATE_PARTICIPATION, {"paid_participations": PAID_BEFORE}),
    (Outcome.POOL_MEMBER_CHANGED, {"settlement_key": SETTLEMENT_KEY}),
    (Outcome.CURRENCY_CHANGED, {"fundings": {CAMPAIGN: IN_USD}}),
    (Outcome.STALE, {"facts_at": STALE}),
    (Outcome.STALE, {"pooled": frozenset({CAMPAIGN})}),
    (
        Outcome.OVER_PACE,
        {"too_fast": frozenset({oid(1).tagged}), "rules": replace(RULES, impressions_per_minute_max=10)},
    ),
    (Outcome.OVER_APPROVAL_THRESHOLD, {"rules": replace(RULES, approval_threshold_minor={"INR": 330_000})}),
    (
        Outcome.ACCOUNT_FULL,
        {
            "balance_minor": {
                (accounts.wallet(request(1, terms()).due.participation.streamer_id), "INR"): accounts.BALANCE_MINOR_MAX
            }
        },
    ),
    (Outcome.OVER_BUDGET, {"open_holds": [ANOTHERS_HOLD]}),
)


def outcome_with(*changes: dict[str, object]) -> Outcome:
    changed: dict[str, object] = {}
    for change in changes:
        changed |= change
    facts_at = changed.pop("facts_at", NOW)
    the_request = replace(request(1, terms()), facts_at=facts_at)  # type: ignore[arg-type]
    share_of = changed.pop("settlement_key", None)
    assert share_of is None or isinstance(share_of, str)
    the_request = replace(the_request, due=replace(the_request.due, settlement_key=share_of))
    rules = changed.pop("rules", RULES)
    assert isinstance(rules, PostingRules)
    known = replace(NOTHING, **changed)  # type: ignore[arg-type]
    plan = plan_batch([the_request], [], known, rules, NOW)
    assert bool(paid(plan)) is (plan.outcomes[the_request.key] is Outcome.NEW)
    return plan.outcomes[the_request.key]


@pytest.mark.parametrize(("outcome", "change"), OUTCOMES_IN_ORDER)
def test_each_obstacle_has_its_outcome(outcome: Outcome, change: dict[str, object]) -> None:
    assert outcome_with(change) is outcome


@pytest.mark.parametrize(
    ("first", "later"), [pair for pair in combinations(OUTCOMES_IN_ORDER, 2) if not {*pair[0][1]} & {*pair[1][1]}]
)
def test_each_outcome_comes_before_every_later_one(
    first: tuple[Outcome, dict[str, object]], later: tuple[Outcome, dict[str, object]]
) -> None:
    assert outcome_with(first[1], later[1]) is first[0]


def test_outcomes_are_listed_in_order_of_precedence() -> None:
    assert [Outcome.NEW, *dict.fromkeys(outcome for outcome, _ in OUTCOMES_IN_ORDER)] == list(Outcome)


def test_facts_of_just_the_age_allowed_still_pay() -> None:
    assert outcome_with({"facts_at": NOW - FACTS_AGE_MAX}) is Outcome.NEW


def test_the_amount_and_the_facts_are_not_part_of_what_exists() -> None:
    ledger = PaperLedger()
    ledger.post([request(1, terms())], now=NOW)
    again = of_amount(request(1, terms(budget=9_900), facts_at=NOW + MINUTE), 412_500)

    plan = ledger.post([again], now=NOW + MINUTE)

    assert plan == PlannedBatch(
        plan=BatchPlan(), outcomes={again.key: Outcome.EXISTS}
    )  # no funding either: nothing new needs it


def test_escrow_follows_the_budget_and_never_takes_in_more_than_it() -> None:
    ledger = PaperLedger()
    steps: tuple[tuple[int, list[int], int, Outcome], ...] = (
        # budget, funded by this batch, in escrow after its payout of 100.00, and its outcome
        (300, [30_000], 20_000, Outcome.NEW),  # first: the whole budget
        (500, [20_000], 30_000, Outcome.NEW),  # an increase: the difference
        (500, [], 20_000, Outcome.NEW),  # the same
        (450, [-5_000], 5_000, Outcome.NEW),  # a cut that escrow covers
        (100, [-5_000], 0, Outcome.OVER_BUDGET),  # one it does not: what is there, and the payout is held
        (350, [0], 0, Outcome.OVER_BUDGET),  # an increase that only makes up for what could not be taken back
        (450, [5_000], 5_000, Outcome.OVER_BUDGET),  # 450 less 400 paid
        (499, [4_900], 9_900, Outcome.OVER_BUDGET),
        (500, [100], 0, Outcome.NEW),  # and now the held payout fits
    )
    for step, (major, amounts, escrow_minor, outcome) in enumerate(steps):
        number = min(step, 4) + 1
        plan = ledger.post([asked(number, major, minutes=step)], now=NOW + step * MINUTE)

        assert (funded(plan), ledger.escrow_minor(CAMPAIGN), outcomes(plan)) == (
            amounts,
            escrow_minor,
            {number: outcome},
        ), f"budget {major}"
    assert ledger.fundings[CAMPAIGN].funded_minor == ledger.paid_minor(CAMPAIGN) == 50_000


@pytest.mark.parametrize("minutes", [0, -1, -4])
def test_facts_not_newer_than_the_last_funding_do_not_fund(minutes: int) -> None:
    ledger = PaperLedger()
    ledger.post([asked(1, 300)], now=NOW)

    plan = ledger.post([asked(2, 900, minutes=minutes)], now=NOW)

    assert (funded(plan), outcomes(plan)) == ([], {2: Outcome.NEW})
    assert ledger.fundings[CAMPAIGN].budget_minor == 30_000


def test_the_newest_facts_of_a_batch_fund_it() -> None:
    plan = PaperLedger().post(
        [asked(1, 900, minutes=-2), asked(2, 100, minutes=-1), asked(3, 500, minutes=-3)], now=NOW
    )

    assert funded(plan) == [10_000]
    assert outcomes(plan) == {1: Outcome.NEW, 2: Outcome.OVER_BUDGET, 3: Outcome.OVER_BUDGET}


def test_facts_that_do_not_count_do_not_fund() -> None:
    ledger = PaperLedger()
    plan = ledger.post([asked(1, 900, minutes=-6)], now=NOW)

    assert plan == PlannedBatch(plan=BatchPlan(), outcomes={payout_key(oid(1), 1): Outcome.STALE})


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_payout_asked_for_twice_is_one_and_the_newer_facts_speak(newest_first: bool) -> None:
    newer, older = asked(1, 300), of_amount(asked(1, 500, minutes=-1), 7)
    plan = PaperLedger().post([newer, older] if newest_first else [older, newer], now=NOW)

    assert outcomes(plan) == {1: Outcome.NEW}
    assert [item.entry.postings[1].amount_minor for item in plan.plan.posted] == [30_000, 10_000]


def test_a_repayment_is_no_duplicate_of_what_it_repays() -> None:
    ledger = PaperLedger()
    ledger.post([asked(1, 300)], now=NOW)

    assert ledger.post([replace(asked(1, 300), n=2)], now=NOW).outcomes == {payout_key(oid(1), 2): Outcome.NEW}


@pytest.mark.parametrize(("newest", "currency"), [(1, "INR"), (2, "USD")])
def test_the_newest_facts_of_a_first_batch_pin_the_currency(newest: int, currency: str) -> None:
    requests = [
        request(number, budget(300, currency=code), facts_at=NOW if number == newest else NOW - MINUTE)
        for number, code in ((1, "INR"), (2, "USD"))
    ]
    ledger = PaperLedger()

    plan = ledger.post(requests, now=NOW)

    assert outcomes(plan) == {newest: Outcome.NEW, 3 - newest: Outcome.CURRENCY_CHANGED}
    assert ledger.fundings[CAMPAIGN].currency == currency


def test_campaigns_do_not_stand_in_each_other_s_way() -> None:
    other = terms(oid(0xCB), budget=200, payment_rate=100, target_impressions=1_000)
    ledger = PaperLedger()
    plan = ledger.post([asked(1, 50), request(2, other, streamer=1), request(3, other)], now=NOW)

    assert outcomes(plan) == {1: Outcome.OVER_BUDGET, 2: Outcome.NEW, 3: Outcome.NEW}
    assert (ledger.escrow_minor(CAMPAIGN), ledger.escrow_minor(oid(0xCB).tagged)) == (5_000, 0)
