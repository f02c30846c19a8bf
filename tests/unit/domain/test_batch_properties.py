"""Whatever is asked for, in whatever order, as budgets rise and fall: the ledger's promises hold after each batch."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.batch import BatchPlan, HoldWithdrawal, NewPayout, Outcome, PayoutRequest
from reconciler.domain.ids import tie_break
from tests.support.decisions import NOW, of_amount, oid, request, terms
from tests.support.paper_ledger import PaperLedger

MINUTE = timedelta(minutes=1)
CAMPAIGNS = (oid(0xCA), oid(0xCB))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Requests and withdrawals as one sweep or watch would bring them."""

    now: datetime
    requests: list[PayoutRequest]
    withdrawals: list[HoldWithdrawal]


@st.composite
def requests_of(draw: st.DrawFn, now: datetime, *, one_reading: bool) -> list[PayoutRequest]:
    """Payouts of up to ten participations in two campaigns; every streamer has two of them.

    ``one_reading``: all were decided on documents read at one time, as a page is. Otherwise each on its own reading,
    older ones with another budget and now and then another currency, and a participation may be asked for twice.
    """
    readings = st.tuples(st.integers(0, 6), st.integers(1, 12), st.sampled_from(["INR", "INR", "INR", "USD"]))
    common = draw(readings)
    numbers = draw(st.lists(st.integers(1, 10), max_size=8, unique=one_reading))
    requests: dict[tuple[int, int], PayoutRequest] = {}
    for number in numbers:
        lag, budget, currency = common if one_reading else draw(readings)
        campaign = terms(CAMPAIGNS[number % 2], budget=budget, currency=currency, target_impressions=1)
        asked = request(number, campaign, streamer=number % 5, facts_at=now - lag * MINUTE)
        # Two of the same participation differ in the time of their reading: one reading has one answer.
        requests[number, lag] = of_amount(asked, draw(st.integers(0, 500)))
    return list(requests.values())


@st.composite
def histories(draw: st.DrawFn, *, one_reading: bool = False) -> list[Batch]:
    """Up to eight batches, a minute or more apart."""
    now, batches = NOW, []
    for _ in range(draw(st.integers(1, 8))):
        now += draw(st.integers(1, 3)) * MINUTE
        requests = draw(requests_of(now, one_reading=one_reading))
        asked = {one.due.participation.participation_id for one in requests}
        withdrawn = [oid(number) for number in draw(st.sets(st.integers(1, 10), max_size=2))]
        withdrawals = [
            HoldWithdrawal(participation_id=one, campaign_id=CAMPAIGNS[int(one.value, 16) % 2], reason="forfeited")
            for one in withdrawn
            if one not in asked
        ]
        batches.append(Batch(now=now, requests=requests, withdrawals=withdrawals))
    return batches


def post(ledger: PaperLedger, batch: Batch) -> BatchPlan:
    return ledger.post(batch.requests, batch.withdrawals, now=batch.now)


@given(histories())
def test_no_money_appears_or_is_paid_that_was_not_funded(history: list[Batch]) -> None:
    ledger = PaperLedger()
    for batch in history:
        post(ledger, batch)  # which refuses an escrow below zero after any entry, and any key used twice

        sums: Counter[str] = Counter()
        for (_, currency), balance in ledger.balances.items():
            sums[currency] += balance
        assert not any(sums.values())
        for campaign_id, funding in ledger.fundings.items():
            paid_minor = ledger.paid_minor(campaign_id)
            assert paid_minor + ledger.escrow_minor(campaign_id) == funding.funded_minor
            assert funding.funded_minor <= max(funding.budget_minor, paid_minor)


@given(histories())
def test_every_request_has_one_outcome_and_new_ones_are_posted(history: list[Batch]) -> None:
    ledger = PaperLedger()
    for batch in history:
        plan = post(ledger, batch)

        assert plan.outcomes.keys() == {one.key for one in batch.requests}
        new = {key for key, outcome in plan.outcomes.items() if outcome is Outcome.NEW}
        assert new == {item.entry.key for item in plan.posted if isinstance(item, NewPayout)}
        waiting = {hold.participation_id for hold in ledger.open_holds.values()}
        for one in batch.requests:
            if plan.outcomes[one.key] is Outcome.OVER_BUDGET:
                assert one.due.participation.participation_id.tagged in waiting
            elif plan.outcomes[one.key] is not Outcome.STALE:
                assert one.due.participation.participation_id.tagged not in waiting


@given(histories())
def test_nobody_is_paid_twice_or_before_their_turn(history: list[Batch]) -> None:
    ledger = PaperLedger()
    for batch in history:
        held_before = {hold.participation_id: hold for hold in ledger.open_holds.values()}
        plan = post(ledger, batch)

        for item in plan.posted:
            if not isinstance(item, NewPayout):
                continue
            tagged = item.request.due.participation.participation_id.tagged
            opened_at = held_before[tagged].opened_at if tagged in held_before else batch.now
            turn = (opened_at, tie_break(tagged))
            assert all(
                turn < hold.order for hold in ledger.open_holds.values() if hold.campaign_id == item.entry.campaign_id
            )
    streamers = Counter((one.entry.campaign_id, one.entry.streamer_id) for one in ledger.payouts.values())
    assert all(count == 1 for count in streamers.values())


@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_makes_no_difference(history: list[Batch], random: Random) -> None:
    ledger = PaperLedger()
    for batch in history:
        requests, withdrawals = list(batch.requests), list(batch.withdrawals)
        random.shuffle(requests)
        random.shuffle(withdrawals)
        shuffled = replace(batch, requests=requests, withdrawals=withdrawals)

        assert post(deepcopy(ledger), shuffled) == post(ledger, batch)


@given(histories(one_reading=True))
def test_the_same_batch_again_posts_nothing(history: list[Batch]) -> None:
    ledger = PaperLedger()
    for batch in history:
        first = post(ledger, batch)
        again = post(ledger, batch)

        assert again.posted == []
        assert again.hold_events == []
        assert again.outcomes == {
            key: Outcome.EXISTS if outcome is Outcome.NEW else outcome for key, outcome in first.outcomes.items()
        }


@given(
    st.lists(st.tuples(st.integers(1, 10), st.integers(0, 300)), min_size=1, max_size=8, unique_by=lambda one: one[0])
)
def test_with_budget_enough_everybody_is_paid_but_a_streamer_s_second(asked: list[tuple[int, int]]) -> None:
    campaign = terms(budget=24, target_impressions=1)
    ledger = PaperLedger()
    requests = [of_amount(request(number, campaign, streamer=number % 5), amount) for number, amount in asked]

    plan = ledger.post(requests, now=NOW)

    counted = Counter(plan.outcomes.values())
    streamers = {number % 5 for number, _ in asked}
    assert counted == Counter(new=len(streamers), duplicate_participation=len(asked) - len(streamers)) + Counter()
