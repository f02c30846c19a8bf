"""Whatever is asked for, in whatever order, as budgets rise and fall: the ledger's promises hold after each batch."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.batch import Outcome, PlannedBatch
from reconciler.domain.ids import tie_break
from reconciler.domain.plan import NewPayout
from tests.support.decisions import NOW, of_amount, request, terms
from tests.support.histories import Batch, histories
from tests.support.paper_ledger import PaperLedger


def post(ledger: PaperLedger, batch: Batch) -> PlannedBatch:
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
        assert new == {item.entry.key for item in plan.plan.posted if isinstance(item, NewPayout)}
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

        for item in plan.plan.posted:
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

        assert again.plan.posted == []
        assert again.plan.hold_events == []
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
