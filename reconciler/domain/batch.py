"""What one batch posts: fit, funding, approvals and holds, decided on what the ledger holds under its lock.

Pure: :class:`LedgerSnapshot` is what was read after the lock was taken, :class:`BatchPlan` what is to be written. The
order in which requests arrive makes no difference; only hold time and identity do, so that sweep and watch end alike.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler.clock import CLOCKS_DIFFER_MAX, is_of_the_future
from reconciler.domain import accounts
from reconciler.domain.entries import payout_entry
from reconciler.domain.funding import budget_change, new_funding
from reconciler.domain.ids import DocumentId, payout_key, tie_break
from reconciler.domain.ledger_snapshot import HoldWithdrawal, LedgerSnapshot, OpenHold, PayoutRequest
from reconciler.domain.money import amount_text, format_minor
from reconciler.domain.participation import Participation
from reconciler.domain.plan import BatchPlan, HoldEvent, NewPayout, halting_plan, void_of
from reconciler.domain.review import FOR_A_PERSON, ReviewLimits, approved_part


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
    POOL_MEMBER_CHANGED = "pool_member_changed"
    """Its share was frozen for another campaign, streamer or amount than is asked for."""
    CURRENCY_CHANGED = "currency_changed"
    """The campaign was funded in another currency."""
    STALE = "stale"
    """Decided on facts too old, or overtaken, by the time the lock was there: read and decide again."""
    OVER_PACE = "over_pace"
    """Held: it reached its target faster than people watch, and a person has to look at it."""
    OVER_APPROVAL_THRESHOLD = "over_approval_threshold"
    """Held: a person has to approve this amount."""
    ACCOUNT_FULL = "account_full"
    """Held: an account would be taken beyond what the ledger can hold."""
    OVER_BUDGET = "over_budget"
    """Held: escrow does not cover it, or an earlier hold comes first."""


HELD = frozenset({Outcome.OVER_PACE, Outcome.OVER_APPROVAL_THRESHOLD, Outcome.ACCOUNT_FULL, Outcome.OVER_BUDGET})
"""Outcomes that are holds: the payout waits, whole."""

HOLD_KEPT_FOR = timedelta(minutes=10)
"""So long the amount of a hold for a person stands while views go on raising it: else each view would be two rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostingRules:
    """The settings that posting depends on. Amounts are minor units by currency; an absent currency has no limit."""

    facts_age_max: timedelta
    hold_days: int = 0
    approval_threshold_minor: Mapping[str, int] = field(default_factory=dict)
    payouts_per_hour_max: int | None = None
    amount_per_hour_max_minor: Mapping[str, int] = field(default_factory=dict)
    impressions_per_minute_max: int | None = None
    """A participation that ran faster is held for a person; None: nobody's pace is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """A plan with what became of each request, by payout key. ``halt`` is set where the plan is to halt paying."""

    plan: BatchPlan
    outcomes: Mapping[str, Outcome]
    halt: str | None = None


def plan_batch(
    requests: Iterable[PayoutRequest],
    withdrawals: Iterable[HoldWithdrawal],
    ledger: LedgerSnapshot,
    rules: PostingRules,
    now: datetime,
    voids: Iterable[DocumentId] = (),
) -> PlannedBatch:
    """Decide what a batch posts. ``now`` is the time after the lock was taken."""
    plan, outcomes = BatchPlan(), dict[str, Outcome]()
    new_voids = [one for one in sorted(set(voids)) if one.tagged not in ledger.voids]
    ledger = replace(ledger, voids=ledger.voids.union(one.tagged for one in new_voids))
    holds = {hold.participation_id: hold for hold in ledger.open_holds}
    for withdrawal in sorted(withdrawals, key=lambda one: tie_break(one.participation_id.tagged)):
        hold = holds.get(withdrawal.participation_id.tagged)
        if hold is not None and withdrawal.hold_key in (None, hold.hold_key):
            del holds[hold.participation_id]
            plan.hold_events.append(_closed(hold, reason=withdrawal.reason))
    by_campaign: dict[str, list[PayoutRequest]] = defaultdict(list)
    for request in _newest_of_each(requests):
        participation = request.due.participation
        by_campaign[participation.campaign_id.tagged].append(request)
        hold = holds.get(participation.participation_id.tagged)
        # On facts too old it is decided again first, and may turn out not to have moved at all.
        is_fresh = request.facts_at >= now - rules.facts_age_max
        if hold is not None and hold.campaign_id != participation.campaign_id.tagged and is_fresh:
            del holds[hold.participation_id]
            plan.hold_events.append(_closed(hold, reason="campaign_changed"))
    holds_of: dict[str, dict[str, OpenHold]] = defaultdict(dict)
    for participation_id, hold in holds.items():
        holds_of[hold.campaign_id][participation_id] = hold
    limits = accounts.BalanceLimits(ledger.balance_minor)
    for campaign_id in sorted(by_campaign):
        _Campaign(plan, ledger, rules, holds_of[campaign_id], now, limits).settle(by_campaign[campaign_id], outcomes)
    # A share that was paid before it was forfeited is not void: that takes a reversal.
    plan.decisions += [void_of(one) for one in new_voids if payout_key(one, 1) not in ledger.fingerprints]
    exceeded = _limit_exceeded(plan, ledger, rules)
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


def _limit_exceeded(plan: BatchPlan, ledger: LedgerSnapshot, rules: PostingRules) -> str | None:
    new = [item for item in plan.posted if isinstance(item, NewPayout)]
    count = ledger.recent.payouts_count + len(new)
    if new and rules.payouts_per_hour_max is not None and count > rules.payouts_per_hour_max:
        return f"{count} payouts within an hour would exceed safety.payouts_per_hour_max {rules.payouts_per_hour_max}"
    paid_minor = Counter(ledger.recent.paid_minor)
    for item in new:
        paid_minor[item.entry.currency] += item.request.due.earned.gross_minor
    for currency, limit_minor in sorted(rules.amount_per_hour_max_minor.items()):
        if new and paid_minor[currency] > limit_minor:
            return (
                f"{amount_text(paid_minor[currency], currency)} within an hour would exceed "
                f"safety.amount_per_hour_max {format_minor(limit_minor, currency)}"
            )
    return None


class _Campaign:
    """One campaign's part of a batch: fund once, then pay in order until something does not fit."""

    def __init__(
        self,
        plan: BatchPlan,
        ledger: LedgerSnapshot,
        rules: PostingRules,
        holds: dict[str, OpenHold],
        now: datetime,
        limits: accounts.BalanceLimits,
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._rules = rules
        self._holds = holds
        self._now = now
        self._limits = limits
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
        participation, ledger = request.due.participation, self._ledger
        fingerprint = ledger.fingerprints.get(request.key)
        if fingerprint is not None:
            return Outcome.EXISTS if fingerprint == request.fingerprint else Outcome.EXISTS_DIFFERENT
        # A person's repayment goes beyond all of this and beyond a settlement, also as the first payout of one that was
        # rejected before.
        is_automatic = request.n == 1 and request.decision_key is None
        if is_automatic:
            if request.key in ledger.rejected:
                return Outcome.REJECTED_BY_PERSON
            if participation.participation_id.tagged in ledger.adopted:
                return Outcome.SETTLED_BEFORE_US
            if self._is_paid(participation):
                return Outcome.DUPLICATE_PARTICIPATION
        elif self._is_paid_for_another(participation):
            return Outcome.DUPLICATE_PARTICIPATION
        if request.due.settlement_key is not None and not self._is_own_line(request):
            return Outcome.POOL_MEMBER_CHANGED
        if self._is_other_currency(request):
            return Outcome.CURRENCY_CHANGED
        is_old = request.facts_at < self._now - self._rules.facts_age_max
        if is_old or self._is_overtaken(request, is_automatic=is_automatic):
            return Outcome.STALE
        return None

    def _is_own_line(self, request: PayoutRequest) -> bool:
        """Whether a share is asked for as it was frozen: never out of another campaign, nor for another streamer."""
        participation, line = request.due.participation, self._ledger.lines.get(_tagged(request))
        return line is not None and (
            (line.settlement_key, line.campaign_id, line.streamer_id, line.share_minor)
            == (
                request.due.settlement_key,
                participation.campaign_id.tagged,
                participation.streamer_id,
                request.due.earned.gross_minor,
            )
        )

    def _is_other_currency(self, request: PayoutRequest) -> bool:
        """Other than that of the first funding, or, for a share of a pool, than that in which it was frozen."""
        campaign_id, ledger = request.due.participation.campaign_id.tagged, self._ledger
        currency, funding = request.due.terms.currency, ledger.fundings.get(campaign_id)
        if request.due.settlement_key is not None and ledger.pool_currency.get(campaign_id, currency) != currency:
            return True
        return (funding.currency if funding else self._pinned_currency) not in (None, currency)

    def _is_overtaken(self, request: PayoutRequest, *, is_automatic: bool) -> bool:
        """Whether somebody else came first since it was decided: a settlement, a forfeiture, another repayment."""
        participation, ledger, tagged = request.due.participation, self._ledger, _tagged(request)
        numbers = ledger.numbers.get((participation.campaign_id.tagged, participation.streamer_id), {})
        if not is_automatic and (tagged in ledger.unreversed or request.n in numbers):
            return True
        if request.due.settlement_key is not None:
            return tagged in ledger.voids
        return is_automatic and (participation.campaign_id.tagged in ledger.pooled or tagged in ledger.lines)

    def _is_paid_for_another(self, participation: Participation) -> bool:
        """Whether a payment of this campaign stands for another participation of the streamer: a repayment does not
        go beyond that. One that was reversed is no obstacle: the platform may have made the document anew."""
        numbers = self._ledger.numbers.get((participation.campaign_id.tagged, participation.streamer_id), {})
        return not set(numbers.values()) <= {None, participation.participation_id.tagged}

    def _is_paid(self, participation: Participation) -> bool:
        """Whether the streamer was paid in this campaign, before or by this very batch."""
        pair = (participation.campaign_id.tagged, participation.streamer_id)
        return participation.streamer_id in self._paid_here or pair in self._ledger.paid_participations

    def _fund(self, newest: PayoutRequest) -> None:
        """Move the budget, or what changed of it since it was last seen, into escrow; never twice the same."""
        terms = newest.due.terms
        # Pinned from here on for this very batch too: others of it may have been decided on a currency since changed.
        self._pinned_currency = terms.currency
        escrow = accounts.escrow(terms.campaign_id)
        self._escrow_minor = self._ledger.escrow_minor.get((escrow, terms.currency), 0)
        last = self._ledger.fundings.get(terms.campaign_id.tagged)
        adopted_minor = self._ledger.adopted_minor.get((terms.campaign_id.tagged, terms.currency), 0)
        if last is not None and is_of_the_future(last.facts_at, self._now):
            # Seen by a clock that was wrong: what is seen now is newer.
            last = replace(last, facts_at=newest.facts_at - CLOCKS_DIFFER_MAX)
        amount_minor = budget_change(newest, last, self._escrow_minor, adopted_minor)
        if amount_minor is None:
            return
        n = last.n + 1 if last else 1
        funding = new_funding(newest, n, amount_minor, last.movements if last else ())
        self._full = self._limits.lacking(funding.entry)
        if self._full is None:
            self._limits.take(funding.entry)
            self._plan.posted.append(funding)
            self._escrow_minor += amount_minor

    def _pay_or_hold(self, request: PayoutRequest) -> Outcome:
        own_hold = self._holds.get(_tagged(request))
        limits = ReviewLimits(
            per_minute_max=self._rules.impressions_per_minute_max,
            threshold_minor=self._rules.approval_threshold_minor.get(request.due.terms.currency),
        )
        review = limits.exceeded(request, self._now, was_too_fast=_tagged(request) in self._ledger.too_fast)
        if review is not None:
            due = approved_part(request.due, self._ledger.approved_minor.get(request.key))
            if due is None:
                outcome, detail = Outcome(review[0]), review[1]
                self._hold(request, own_hold, outcome, detail)
                return outcome
            request = replace(request, due=due)
        gross_minor = request.due.earned.gross_minor
        release_at = self._now + timedelta(days=self._rules.hold_days) if self._rules.hold_days else None
        if request.lost is not None:
            release_at = request.lost.release_at
        entry = payout_entry(request, is_held=release_at is not None)
        # A budget that its brand's account has no room for is why escrow lacks it.
        full = (self._full if gross_minor > self._escrow_minor else None) or self._limits.lacking(entry)
        if full is not None:
            self._hold(request, own_hold, Outcome.ACCOUNT_FULL, f"the ledger cannot hold more on {full}")
            return Outcome.ACCOUNT_FULL
        ahead = self._ahead_of(own_hold)
        if ahead or gross_minor > self._escrow_minor:
            self._hold(request, own_hold, Outcome.OVER_BUDGET, self._shortage(request, ahead))
            return Outcome.OVER_BUDGET
        self._drop_hold(request, reason="paid")
        self._limits.take(entry)
        self._plan.posted.append(NewPayout(entry=entry, request=request, release_at=release_at))
        self._escrow_minor -= gross_minor
        self._paid_here.add(request.due.participation.streamer_id)
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
            f"escrow holds {amount_text(self._escrow_minor, currency)}, "
            f"the payout needs {format_minor(gross_minor, currency)}"
        )
        if ahead:
            return f"{detail}; {ahead} held before it"
        last = self._ledger.fundings.get(request.due.terms.campaign_id.tagged)
        if last is None or not last.was_refunded:
            return detail
        escrow, brand = accounts.escrow(request.due.terms.campaign_id), accounts.funding(request.due.terms.brand_id)
        return f"{detail}; it was refunded, and only `ledger adjust --from {brand} --to {escrow}` funds it again"

    def _hold(self, request: PayoutRequest, own_hold: OpenHold | None, outcome: Outcome, detail: str) -> None:
        """Open a hold, unless one for this very reason and amount is open, or was until its amount grew just now."""
        participation, currency = request.due.participation, request.due.terms.currency
        tagged, gross_minor = participation.participation_id.tagged, request.due.earned.gross_minor
        number = self._ledger.holds_count.get(tagged, 0) + 1
        if own_hold is not None:
            is_same = (own_hold.reason, own_hold.currency) == (outcome.value, currency)
            is_young = own_hold.amount_minor <= gross_minor and self._now < own_hold.opened_at + HOLD_KEPT_FOR
            is_known = outcome.value not in FOR_A_PERSON or own_hold.amount_minor == gross_minor or is_young
            if is_same and is_known:
                return
            self._plan.hold_events.append(_closed(own_hold, reason=outcome.value))
        hold = OpenHold(
            hold_key=f"hold:{tagged}:{number}",
            participation_id=tagged,
            campaign_id=participation.campaign_id.tagged,
            streamer_id=participation.streamer_id,
            opened_at=self._now,
            amount_minor=gross_minor,
            currency=currency,
            reason=outcome.value,
        )
        self._holds[tagged] = hold
        self._plan.hold_events.append(_hold_event(hold, "opened", reason=outcome.value, detail=detail))


def _tagged(request: PayoutRequest) -> str:
    return request.due.participation.participation_id.tagged


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
