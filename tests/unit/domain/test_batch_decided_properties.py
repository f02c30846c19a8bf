"""With fees, hold days, thresholds, approvals and rejections: the ledger keeps its promises batch after batch."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.accounts import kind_of
from reconciler.domain.batch import Outcome, PlannedBatch, PostingRules
from reconciler.domain.ids import payout_key, tie_break
from reconciler.domain.plan import NewPayout
from tests.support.decisions import oid
from tests.support.histories import Batch, histories
from tests.support.paper_ledger import FACTS_AGE_MAX, PaperLedger

KEYS = [payout_key(oid(number), 1) for number in range(1, 11)]


@dataclass(frozen=True, kw_only=True)
class Story:
    """Batches under some rules. Before each, some payouts are approved for what is asked (or not quite) or rejected."""

    rules: PostingRules
    batches: list[Batch]
    approvals: list[dict[str, int]]
    rejections: list[set[str]]


@st.composite
def stories(draw: st.DrawFn, *, one_reading: bool = False) -> Story:
    thresholds = st.dictionaries(st.sampled_from(["INR", "USD"]), st.integers(0, 500))
    rules = PostingRules(
        facts_age_max=FACTS_AGE_MAX, hold_days=draw(st.sampled_from([0, 7])), approval_threshold_minor=draw(thresholds)
    )
    fee_bps = draw(st.sampled_from([0, 1, 250, 5_000, 10_000]))
    batches, approvals, rejections = [], [], []
    for batch in draw(histories(one_reading=one_reading)):
        requests = [replace(one, due=replace(one.due, fee_bps=fee_bps)) for one in batch.requests]
        batches.append(replace(batch, requests=requests))
        approvals.append(
            {
                one.key: one.due.earned.gross_minor + draw(st.sampled_from([0, 0, 0, 1, -1]))
                for one in requests
                if draw(st.booleans())
            }
        )
        rejections.append(draw(st.sets(st.sampled_from(KEYS), max_size=1)))
    return Story(rules=rules, batches=batches, approvals=approvals, rejections=rejections)


def told(ledger: PaperLedger, story: Story) -> list[tuple[Batch, PaperLedger]]:
    """The batches of a story one after another, each with the ledger as people have left it before the batch."""
    steps: list[tuple[Batch, PaperLedger]] = []
    for batch, approvals, rejections in zip(story.batches, story.approvals, story.rejections, strict=True):
        ledger.approved_minor |= approvals
        ledger.rejected |= rejections - set(ledger.payouts)
        steps.append((batch, deepcopy(ledger)))
        post(ledger, batch)
    return steps


def post(ledger: PaperLedger, batch: Batch) -> PlannedBatch:
    return ledger.post(batch.requests, batch.withdrawals, now=batch.now)


def new_payouts(planned: PlannedBatch) -> list[NewPayout]:
    return [item for item in planned.plan.posted if isinstance(item, NewPayout)]


@given(stories())
def test_money_is_conserved_and_split_exactly(story: Story) -> None:
    for batch, ledger in told(PaperLedger(story.rules), story):
        planned = post(ledger, batch)  # which refuses an escrow below zero after any entry, and any key used twice

        for item in planned.plan.posted:
            assert sum(posting.amount_minor for posting in item.entry.postings) == 0
        for payout in new_payouts(planned):
            due = payout.request.due
            amounts = {kind_of(posting.account): posting.amount_minor for posting in payout.entry.postings}
            kept_in = "held" if story.rules.hold_days else "wallet"
            assert amounts.pop("escrow") == -due.earned.gross_minor
            assert amounts.pop(kept_in) + amounts.pop("fees", 0) == due.earned.gross_minor
            assert amounts == {}
            assert payout.release_at == (batch.now + timedelta(days=7) if story.rules.hold_days else None)
        sums: Counter[str] = Counter()
        for (account, currency), balance in ledger.balances.items():
            sums[currency] += balance
            assert balance >= 0 or kind_of(account) == "funding"
        assert not any(sums.values())
        for campaign_id, funding in ledger.fundings.items():
            paid_minor = ledger.paid_minor(campaign_id)
            assert 0 <= paid_minor <= funding.funded_minor
            assert paid_minor + ledger.escrow_minor(campaign_id) == funding.funded_minor


@given(stories())
def test_nothing_large_is_paid_without_its_approval_and_nothing_rejected_at_all(story: Story) -> None:
    for batch, ledger in told(PaperLedger(story.rules), story):
        planned = post(ledger, batch)

        for payout in new_payouts(planned):
            gross_minor = payout.request.due.earned.gross_minor
            threshold_minor = story.rules.approval_threshold_minor.get(payout.entry.currency)
            is_large = threshold_minor is not None and gross_minor >= threshold_minor
            assert not is_large or ledger.approved_minor[payout.entry.key] >= gross_minor
            assert payout.entry.key not in ledger.rejected


@given(stories())
def test_each_outcome_leaves_the_hold_that_it_names(story: Story) -> None:
    held = {Outcome.OVER_BUDGET, Outcome.OVER_APPROVAL_THRESHOLD}
    for batch, ledger in told(PaperLedger(story.rules), story):
        before = {hold.participation_id: hold for hold in ledger.open_holds.values()}
        planned = post(ledger, batch)

        assert planned.outcomes.keys() == {one.key for one in batch.requests}
        assert {key for key, outcome in planned.outcomes.items() if outcome is Outcome.NEW} == {
            payout.entry.key for payout in new_payouts(planned)
        }
        waiting = {hold.participation_id: hold for hold in ledger.open_holds.values()}
        for one in batch.requests:
            tagged, outcome = one.due.participation.participation_id.tagged, planned.outcomes[one.key]
            if outcome is Outcome.STALE:
                assert waiting.get(tagged) == before.get(tagged)
            else:
                assert (waiting[tagged].reason if tagged in waiting else None) == (outcome if outcome in held else None)


@given(stories())
def test_only_who_waits_for_budget_is_passed_by_nobody(story: Story) -> None:
    for batch, ledger in told(PaperLedger(story.rules), story):
        before = {hold.participation_id: hold for hold in ledger.open_holds.values() if hold.reason == "over_budget"}
        planned = post(ledger, batch)

        for payout in new_payouts(planned):
            tagged = payout.request.due.participation.participation_id.tagged
            opened_at = before[tagged].opened_at if tagged in before else batch.now
            assert all(
                (opened_at, tie_break(tagged)) < hold.order
                for hold in ledger.open_holds.values()
                if hold.campaign_id == payout.entry.campaign_id and hold.reason == "over_budget"
            )


@given(stories(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_makes_no_difference(story: Story, random: Random) -> None:
    for batch, ledger in told(PaperLedger(story.rules), story):
        shuffled = replace(
            batch,
            requests=random.sample(batch.requests, len(batch.requests)),
            withdrawals=random.sample(batch.withdrawals, len(batch.withdrawals)),
        )

        assert post(deepcopy(ledger), shuffled) == post(ledger, batch)


@given(stories(one_reading=True))
def test_the_same_batch_again_posts_nothing(story: Story) -> None:
    for batch, ledger in told(PaperLedger(story.rules), story):
        first, again = post(ledger, batch), post(ledger, batch)

        assert again.plan.is_empty
        assert again.outcomes == {
            key: Outcome.EXISTS if outcome is Outcome.NEW else outcome for key, outcome in first.outcomes.items()
        }


@given(stories(), st.integers(0, 4), st.dictionaries(st.sampled_from(["INR", "USD"]), st.integers(0, 600)))
def test_no_hour_ever_exceeds_its_limits(story: Story, count_max: int, amount_max_minor: dict[str, int]) -> None:
    rules = replace(story.rules, payouts_per_hour_max=count_max, amount_per_hour_max_minor=amount_max_minor)
    for batch, ledger in told(PaperLedger(rules), story):
        without = deepcopy(ledger)
        without.rules = story.rules
        planned, unlimited = post(ledger, batch), post(without, batch)

        # A history lasts half an hour at most.
        assert len(ledger.payouts) <= count_max
        for currency, limit_minor in amount_max_minor.items():
            assert (
                sum(
                    one.request.due.earned.gross_minor
                    for one in ledger.payouts.values()
                    if one.entry.currency == currency
                )
                <= limit_minor
            )
        if planned.halt is None:
            assert planned == unlimited
        else:
            assert new_payouts(unlimited)
            assert (planned.plan.posted, planned.plan.hold_events, planned.outcomes) == ([], [], {})
