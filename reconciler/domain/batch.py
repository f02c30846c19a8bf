"""What one batch posts: fit, funding, approvals and holds, decided on what the ledger holds under its lock.

Pure: :class:`LedgerView` is what was read after the lock was taken, :class:`BatchPlan` what is to be written. The order
in which requests arrive makes no difference; only hold time and identity do, so that sweep and watch end alike.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler.clock import CLOCKS_DIFFER_MAX, is_of_the_future
from reconciler.domain import accounts
from reconciler.domain.entries import fund_entry, payout_entry
from reconciler.domain.ids import DocumentId, payout_key, tie_break
from reconciler.domain.ledger_view import Funding, HoldWithdrawal, LedgerView, OpenHold, PayoutRequest
from reconciler.domain.money import format_minor
from reconciler.domain.participation import Participation
from reconciler.domain.plan import BatchPlan, HoldEvent, NewDecision, NewFunding, NewPayout


class Outcome(StrEnum):
    """What became of one request, in order of precedence."""

    NEW = "new"
    """Posted: this is a payment."""
    EXISTS = "exists"
    """Posted before, by whomever: nothing is left to decide, and the posted amount stands."""
    EXISTS_DIFFERENT = "exists_different"
    """The key is taken by a payout of another identity: a break, set aside for a person."""
    REJECTED_BY_PERSON = "rejected_by_person"
    """A person decided that it is not to be paid."""
    SETTLED_BEFORE_US = "settled_before_us"
    """It was adopted as settled before this ledger began."""
    DUPLICATE_PARTICIPATION = "duplicate_participation"
    """The streamer was paid in this campaign for another participation."""
    CURRENCY_CHANGED = "currency_changed"
    """The campaign was funded in another currency."""
    STALE = "stale"
    """Decided on facts too old, or overtaken, by the time the lock was there: read and decide again."""
    OVER_APPROVAL_THRESHOLD = "over_approval_threshold"
    """Held: a person has to approve this amount."""
    ACCOUNT_FULL = "account_full"
    """Held: an account would be taken beyond what the ledger can hold."""
    OVER_BUDGET = "over_budget"
    """Held: escrow does not cover it, or an earlier hold comes first."""


HELD = frozenset({Outcome.OVER_APPROVAL_THRESHOLD, Outcome.ACCOUNT_FULL, Outcome.OVER_BUDGET})
"""Outcomes that are holds: the payout waits, whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostingRules:
    """The settings that posting depends on. Amounts are minor units by currency; an absent currency has no limit."""

    facts_age_max: timedelta
    hold_days: int = 0
    approval_threshold_minor: Mapping[str, int] = field(default_factory=dict)
    payouts_per_hour_max: int | None = None
    amount_per_hour_max_minor: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """A plan with what became of each request, by payout key. ``halt`` is set where the plan is to halt paying."""

    plan: BatchPlan
    outcomes: Mapping[str, Outcome]
    halt: str | None = None


def plan_batch(
    requests: Iterable[PayoutRequest],
    withdrawals: Iterable[HoldWithdrawal],
    view: LedgerView,
    rules: PostingRules,
    now: datetime,
    voids: Iterable[DocumentId] = (),
) -> PlannedBatch:
    """Decide what a batch posts. ``now`` is the time after the lock was taken."""
    plan, outcomes = BatchPlan(), dict[str, Outcome]()
    new_voids = [one for one in sorted(set(voids)) if one.tagged not in view.voids]
    view = replace(view, voids=view.voids.union(one.tagged for one in new_voids))
    holds = {hold.participation_id: hold for hold in view.open_holds}
    for withdrawal in sorted(withdrawals, key=lambda one: tie_break(one.participation_id.tagged)):
        hold = holds.pop(withdrawal.participation_id.tagged, None)
        if hold is not None:
            plan.hold_events.append(_closed(hold, reason=withdrawal.reason))
    by_campaign: dict[str, list[PayoutRequest]] = defaultdict(list)
    for request in _newest_of_each(requests):
        by_campaign[request.due.participation.campaign_id.tagged].append(request)
    holds_of: dict[str, dict[str, OpenHold]] = defaultdict(dict)
    for participation_id, hold in holds.items():
        holds_of[hold.campaign_id][participation_id] = hold
    room = accounts.Room(view.balance_minor)
    for campaign_id in sorted(by_campaign):
        _Campaign(plan, view, rules, holds_of[campaign_id], now, room).settle(by_campaign[campaign_id], outcomes)
    # A share that was paid before it was forfeited is not void: that takes a reversal.
    plan.decisions += [_void(one) for one in new_voids if payout_key(one, 1) not in view.fingerprints]
    exceeded = _limit_exceeded(plan, view, rules)
    if exceeded is not None:
        return PlannedBatch(plan=halting_plan("safety_limit", exceeded, now), outcomes={}, halt=exceeded)
    return PlannedBatch(plan=plan, outcomes=outcomes)


def _newest_of_each(requests: Iterable[PayoutRequest]) -> Iterable[PayoutRequest]:
    """One request a payout. Asked for twice it is still one, and the newest facts speak for it."""
    newest: dict[str, PayoutRequest] = {}
    for request in requests:
        known = newest.get(request.key)
        if known is None or request.facts_at > known.facts_at:
            newest[request.key] = request
    return newest.values()


def halting_plan(invariant: str, detail: str, now: datetime) -> BatchPlan:
    """A batch that pays nothing and says that paying has stopped, and why."""
    plan = BatchPlan()
    plan.decisions.append(
        NewDecision(
            decision_key=f"halt:{now:%Y-%m-%dT%H:%M:%S.%f}",
            kind="halt",
            subject="paying",
            decided_by="reconciler",
            reason=f"{invariant}: {detail}",
        )
    )
    return plan


def _void(participation_id: DocumentId) -> NewDecision:
    return NewDecision(
        decision_key=f"void:{participation_id.tagged}",
        kind="void",
        subject=participation_id.tagged,
        decided_by="reconciler",
        reason="forfeited before its share of the pool was posted",
    )


def _limit_exceeded(plan: BatchPlan, view: LedgerView, rules: PostingRules) -> str | None:
    new = [item for item in plan.posted if isinstance(item, NewPayout)]
    count = view.recent.payouts_count + len(new)
    if new and rules.payouts_per_hour_max is not None and count > rules.payouts_per_hour_max:
        return f"{count} payouts within an hour would exceed safety.payouts_per_hour_max {rules.payouts_per_hour_max}"
    paid_minor = Counter(view.recent.paid_minor)
    for item in new:
        paid_minor[item.entry.currency] += item.request.due.earned.gross_minor
    for currency, limit_minor in sorted(rules.amount_per_hour_max_minor.items()):
        if new and paid_minor[currency] > limit_minor:
            return (
                f"{format_minor(paid_minor[currency], currency)} {currency} within an hour would exceed "
                f"safety.amount_per_hour_max {format_minor(limit_minor, currency)}"
            )
    return None


class _Campaign:
    """One campaign's part of a batch: fund once, then pay in order until something does not fit."""

    def __init__(
        self,
        plan: BatchPlan,
        view: LedgerView,
        rules: PostingRules,
        holds: dict[str, OpenHold],
        now: datetime,
        room: accounts.Room,
    ) -> None:
        self._plan = plan
        self._view = view
        self._rules = rules
        self._holds = holds
        self._now = now
        self._room = room
        self._full: str | None = None
        self._paid_here: set[str] = set()
        self._pinned_currency: str | None = None
        self._escrow_minor = 0

    def settle(self, requests: list[PayoutRequest], outcomes: dict[str, Outcome]) -> None:
        requests.sort(key=self._order)
        eligible = [request for request in requests if self._without_money(request) is None]
        if eligible:
            self._fund(max(eligible, key=lambda request: request.facts_at))
        for request in requests:
            outcome = self._without_money(request)
            if outcome is not None and outcome is not Outcome.STALE:
                self._drop_hold(request, reason=outcome.value)
            outcomes[request.key] = outcome or self._pay_or_hold(request)

    def _order(self, request: PayoutRequest) -> tuple[bool, datetime, tuple[bool, str]]:
        participation_id = request.due.participation.participation_id.tagged
        hold = self._holds.get(participation_id)
        # Only who waits for budget has a turn. One that waited for approval comes after them, as a new one does.
        waits = hold is not None and hold.reason == Outcome.OVER_BUDGET.value
        return (not waits, hold.opened_at if hold and waits else self._now, tie_break(participation_id))

    def _without_money(self, request: PayoutRequest) -> Outcome | None:
        """An outcome that needs no look at the budget."""
        participation, view = request.due.participation, self._view
        fingerprint = view.fingerprints.get(request.key)
        if fingerprint is not None:
            return Outcome.EXISTS if fingerprint == request.fingerprint else Outcome.EXISTS_DIFFERENT
        # A person's repayment goes beyond all of this and beyond a settlement, also as the first payout of one that was
        # rejected before.
        is_automatic = request.n == 1 and request.decision_key is None
        if is_automatic:
            if request.key in view.rejected:
                return Outcome.REJECTED_BY_PERSON
            if participation.participation_id.tagged in view.adopted:
                return Outcome.SETTLED_BEFORE_US
            if self._is_paid(participation):
                return Outcome.DUPLICATE_PARTICIPATION
        elif self._is_paid_for_another(participation):
            return Outcome.DUPLICATE_PARTICIPATION
        if self._is_other_currency(request):
            return Outcome.CURRENCY_CHANGED
        is_old = request.facts_at < self._now - self._rules.facts_age_max
        if is_old or self._is_overtaken(request, is_automatic=is_automatic):
            return Outcome.STALE
        return None

    def _is_other_currency(self, request: PayoutRequest) -> bool:
        """Other than that of the first funding, or, for a share of a pool, than that in which it was frozen."""
        campaign_id, view = request.due.participation.campaign_id.tagged, self._view
        currency, funding = request.due.terms.currency, view.fundings.get(campaign_id)
        if request.due.settlement_key is not None and view.pool_currency.get(campaign_id, currency) != currency:
            return True
        return (funding.currency if funding else self._pinned_currency) not in (None, currency)

    def _is_overtaken(self, request: PayoutRequest, *, is_automatic: bool) -> bool:
        """Whether somebody else came first since it was decided: a settlement, a forfeiture, another repayment."""
        participation, view = request.due.participation, self._view
        tagged = participation.participation_id.tagged
        if request.due.settlement_key is not None:
            return tagged in view.voids
        if is_automatic:
            return participation.campaign_id.tagged in view.pooled
        return tagged in view.standing

    def _is_paid_for_another(self, participation: Participation) -> bool:
        """Whether the streamer was paid in this campaign for another participation: no repayment goes beyond that."""
        pair = (participation.campaign_id.tagged, participation.streamer_id)
        tagged = participation.participation_id.tagged
        return self._view.paid_participations.get(pair, tagged) != tagged

    def _is_paid(self, participation: Participation) -> bool:
        """Whether the streamer was paid in this campaign, before or by this very batch."""
        pair = (participation.campaign_id.tagged, participation.streamer_id)
        return participation.streamer_id in self._paid_here or pair in self._view.paid_participations

    def _fund(self, newest: PayoutRequest) -> None:
        """Move the budget, or what changed of it since it was last seen, into escrow; never twice the same."""
        terms = newest.due.terms
        # Pinned from here on for this very batch too: others of it may have been decided on a currency since changed.
        self._pinned_currency = terms.currency
        escrow = accounts.escrow(terms.campaign_id)
        self._escrow_minor = self._view.escrow_minor.get((escrow, terms.currency), 0)
        last = self._view.fundings.get(terms.campaign_id.tagged)
        adopted_minor = self._view.adopted_minor.get((terms.campaign_id.tagged, terms.currency), 0)
        if last is not None and is_of_the_future(last.facts_at, self._now):
            # Seen by a clock that was wrong: what is seen now is newer.
            last = replace(last, facts_at=newest.facts_at - CLOCKS_DIFFER_MAX)
        amount_minor = budget_change(newest, last, self._escrow_minor, adopted_minor)
        if amount_minor is None:
            return
        n = last.n + 1 if last else 1
        funding = new_funding(newest, n, amount_minor)
        self._full = self._room.lacking(funding.entry)
        if self._full is None:
            self._room.take(funding.entry)
            self._plan.posted.append(funding)
            self._escrow_minor += amount_minor

    def _pay_or_hold(self, request: PayoutRequest) -> Outcome:
        participation, currency = request.due.participation, request.due.terms.currency
        gross_minor = request.due.earned.gross_minor
        own_hold = self._holds.get(participation.participation_id.tagged)
        threshold_minor = self._rules.approval_threshold_minor.get(currency)
        is_large = threshold_minor is not None and gross_minor >= threshold_minor
        if is_large and request.decision_key is None and self._view.approved_minor.get(request.key) != gross_minor:
            detail = f"{format_minor(gross_minor, currency)} {currency} has to be approved by a person"
            self._hold(request, own_hold, Outcome.OVER_APPROVAL_THRESHOLD, detail)
            return Outcome.OVER_APPROVAL_THRESHOLD
        release_at = self._now + timedelta(days=self._rules.hold_days) if self._rules.hold_days else None
        entry = payout_entry(request, is_held=release_at is not None)
        # A budget that its brand's account has no room for is why escrow lacks it.
        full = (self._full if gross_minor > self._escrow_minor else None) or self._room.lacking(entry)
        if full is not None:
            self._hold(request, own_hold, Outcome.ACCOUNT_FULL, f"the ledger cannot hold more on {full}")
            return Outcome.ACCOUNT_FULL
        ahead = self._ahead_of(own_hold)
        if ahead or gross_minor > self._escrow_minor:
            self._hold(request, own_hold, Outcome.OVER_BUDGET, self._shortage(request, ahead))
            return Outcome.OVER_BUDGET
        self._drop_hold(request, reason="paid")
        self._room.take(entry)
        self._plan.posted.append(NewPayout(entry=entry, request=request, release_at=release_at))
        self._escrow_minor -= gross_minor
        self._paid_here.add(participation.streamer_id)
        return Outcome.NEW

    def _drop_hold(self, request: PayoutRequest, *, reason: str) -> None:
        """Close the request's hold, if it has one: what is decided must not stand before others."""
        hold = self._holds.pop(request.due.participation.participation_id.tagged, None)
        if hold is not None:
            self._plan.hold_events.append(_closed(hold, reason=reason))

    def _ahead_of(self, own_hold: OpenHold | None) -> int:
        """How many wait for this campaign's budget before one whose hold this is, or before a new one."""
        mine = own_hold if own_hold is not None and own_hold.reason == Outcome.OVER_BUDGET.value else None
        waiting = [hold for hold in self._holds.values() if hold.reason == Outcome.OVER_BUDGET.value]
        return sum(1 for hold in waiting if mine is None or hold.order < mine.order)

    def _shortage(self, request: PayoutRequest, ahead: int) -> str:
        currency = request.due.terms.currency
        gross_minor = request.due.earned.gross_minor
        detail = (
            f"escrow holds {format_minor(self._escrow_minor, currency)} {currency}, "
            f"the payout needs {format_minor(gross_minor, currency)}"
        )
        return f"{detail}; {ahead} held before it" if ahead else detail

    def _hold(self, request: PayoutRequest, own_hold: OpenHold | None, outcome: Outcome, detail: str) -> None:
        """Open a hold, unless one for this very reason and amount is open."""
        participation = request.due.participation
        tagged, gross_minor = participation.participation_id.tagged, request.due.earned.gross_minor
        number = self._view.holds_count.get(tagged, 0) + 1
        if own_hold is not None:
            is_same = own_hold.reason == outcome.value
            if is_same and (outcome is not Outcome.OVER_APPROVAL_THRESHOLD or own_hold.amount_minor == gross_minor):
                return
            self._plan.hold_events.append(_closed(own_hold, reason=outcome.value))
        hold = OpenHold(
            hold_key=f"hold:{tagged}:{number}",
            participation_id=tagged,
            campaign_id=participation.campaign_id.tagged,
            streamer_id=participation.streamer_id,
            opened_at=self._now,
            amount_minor=gross_minor,
            currency=request.due.terms.currency,
            reason=outcome.value,
        )
        self._holds[tagged] = hold
        self._plan.hold_events.append(_hold_event(hold, "opened", reason=outcome.value, detail=detail))


def budget_change(newest: PayoutRequest, last: Funding | None, escrow_minor: int, adopted_minor: int) -> int | None:
    """What a budget moves into escrow in minor units (negative: back); None when it was seen before.

    The budget is compared with the last one seen, never with the balance. A cut takes back what escrow still holds,
    and no more. What could not be taken back is remembered by comparing with the sum of all fundings: a later increase
    first makes up for it, so that a campaign is never funded with more than its budget. What was settled before this
    ledger began came out of the budget too.
    """
    budget_minor = newest.due.terms.budget_minor
    if last is None:
        return max(budget_minor - adopted_minor, 0)
    if last.was_refunded or last.budget_minor == budget_minor or newest.facts_at <= last.facts_at:
        return None
    return max(budget_minor - adopted_minor - last.funded_minor, -escrow_minor)


def new_funding(newest: PayoutRequest, n: int, amount_minor: int) -> NewFunding:
    """The funding that a request's terms lead to."""
    terms = newest.due.terms
    return NewFunding(
        entry=fund_entry(terms, n, amount_minor),
        campaign_id=terms.campaign_id.tagged,
        n=n,
        currency=terms.currency,
        budget_minor=terms.budget_minor,
        amount_minor=amount_minor,
        facts_at=newest.facts_at,
    )


def _closed(hold: OpenHold, *, reason: str) -> HoldEvent:
    return _hold_event(hold, "closed", reason=reason, detail="")


def _hold_event(hold: OpenHold, event: str, *, reason: str, detail: str) -> HoldEvent:
    return HoldEvent(
        hold_key=hold.hold_key,
        event=event,
        participation_id=hold.participation_id,
        campaign_id=hold.campaign_id,
        streamer_id=hold.streamer_id,
        reason=reason,
        detail=detail,
        amount_minor=hold.amount_minor,
        currency=hold.currency,
    )
