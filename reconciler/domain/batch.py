"""What one batch posts: fit, funding and holds, decided on what the ledger holds under its lock.

Pure: :class:`LedgerView` is what was read after the lock was taken, :class:`BatchPlan` what is to be written. The order
in which requests arrive makes no difference; only hold time and identity do, so that sweep and watch end alike.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from reconciler.domain import accounts
from reconciler.domain.accounts import Entry, Posting
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.decision import Due
from reconciler.domain.ids import DocumentId, fund_key, payout_fingerprint, payout_key, tie_break
from reconciler.domain.money import format_minor


class Outcome(StrEnum):
    """What became of one request, in order of precedence."""

    NEW = "new"
    """Posted: this is a payment."""
    EXISTS = "exists"
    """Posted before, by whomever: nothing is left to decide, and the posted amount stands."""
    EXISTS_DIFFERENT = "exists_different"
    """The key is taken by a payout of another identity: a break, set aside for a person."""
    DUPLICATE_PARTICIPATION = "duplicate_participation"
    """The streamer was paid in this campaign for another participation."""
    CURRENCY_CHANGED = "currency_changed"
    """The campaign was funded in another currency."""
    STALE = "stale"
    """Decided on facts too old by the time the lock was there: read and decide again."""
    OVER_BUDGET = "over_budget"
    """Held: escrow does not cover it, or an earlier hold comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequest:
    """A decision to pay that asks to be posted."""

    due: Due
    facts_at: datetime
    n: int = 1

    @property
    def key(self) -> str:
        """The payout's permanent key."""
        return payout_key(self.due.participation.participation_id, self.n)

    @property
    def fingerprint(self) -> str:
        """The payout's identity; see :func:`ids.payout_fingerprint`."""
        return payout_fingerprint(
            participation_id=self.due.participation.participation_id,
            campaign_id=self.due.participation.campaign_id,
            streamer_id=self.due.participation.streamer_id,
            currency=self.due.terms.currency,
            n=self.n,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldWithdrawal:
    """A participation that is held and no longer due: its hold must not stand before others."""

    participation_id: DocumentId
    campaign_id: DocumentId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHold:
    """A payout that waits for budget. ``opened_at`` decides the order, then the participation's identity."""

    hold_key: str
    participation_id: str
    campaign_id: str
    streamer_id: str
    opened_at: datetime
    amount_minor: int
    currency: str

    @property
    def order(self) -> tuple[datetime, tuple[bool, str]]:
        """Who is first when money arrives."""
        return self.opened_at, tie_break(self.participation_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """The last budget seen of a campaign, and what all fundings together moved into escrow."""

    n: int
    currency: str
    budget_minor: int
    funded_minor: int
    facts_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerView:
    """What the ledger holds about the participations and campaigns of one batch, read under the lock."""

    fingerprints: Mapping[str, str]
    """Payout key → fingerprint, for those requests that exist."""
    paid_participations: Mapping[tuple[str, str], str]
    """(campaign, streamer) → tagged participation that was paid."""
    fundings: Mapping[str, Funding]
    escrow_minor: Mapping[tuple[str, str], int]
    """(escrow account, currency) → balance."""
    open_holds: Sequence[OpenHold]
    """Every open hold of the campaigns of the batch."""
    holds_count: Mapping[str, int]
    """Tagged participation → holds it ever had, open or closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldEvent:
    """A hold that opens or closes."""

    hold_key: str
    event: str
    participation_id: str
    campaign_id: str
    streamer_id: str
    reason: str
    detail: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFunding:
    """A budget seen, with the entry that moves the difference."""

    entry: Entry
    campaign_id: str
    n: int
    currency: str
    budget_minor: int
    amount_minor: int
    facts_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPayout:
    """A payment, with the entry that makes it."""

    entry: Entry
    request: PayoutRequest


@dataclass(slots=True, kw_only=True)
class BatchPlan:
    """All that one batch writes, in order, and what became of each request (by payout key)."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    posted: list[NewFunding | NewPayout] = field(default_factory=list)
    hold_events: list[HoldEvent] = field(default_factory=list)


def plan_batch(
    requests: Iterable[PayoutRequest],
    withdrawals: Iterable[HoldWithdrawal],
    view: LedgerView,
    *,
    now: datetime,
    facts_age_max: timedelta,
) -> BatchPlan:
    """Decide what a batch posts. ``now`` is the time after the lock was taken."""
    plan = BatchPlan()
    holds = {hold.participation_id: hold for hold in view.open_holds}
    for withdrawal in sorted(withdrawals, key=lambda one: tie_break(one.participation_id.tagged)):
        hold = holds.pop(withdrawal.participation_id.tagged, None)
        if hold is not None:
            plan.hold_events.append(_closed(hold, reason=withdrawal.reason))
    by_campaign: dict[str, list[PayoutRequest]] = defaultdict(list)
    for request in _newest_of_each(requests):
        by_campaign[request.due.participation.campaign_id.tagged].append(request)
    for campaign_id in sorted(by_campaign):
        campaign_holds = {key: hold for key, hold in holds.items() if hold.campaign_id == campaign_id}
        _Campaign(plan, view, campaign_holds, now=now, facts_age_max=facts_age_max).settle(by_campaign[campaign_id])
    return plan


def _newest_of_each(requests: Iterable[PayoutRequest]) -> Iterable[PayoutRequest]:
    """One request a payout. Asked for twice it is still one, and the newest facts speak for it."""
    newest: dict[str, PayoutRequest] = {}
    for request in requests:
        known = newest.get(request.key)
        if known is None or request.facts_at > known.facts_at:
            newest[request.key] = request
    return newest.values()


class _Campaign:
    """One campaign's part of a batch: fund once, then pay in order until something does not fit."""

    def __init__(
        self,
        plan: BatchPlan,
        view: LedgerView,
        holds: dict[str, OpenHold],
        *,
        now: datetime,
        facts_age_max: timedelta,
    ) -> None:
        self._plan = plan
        self._view = view
        self._waiting = holds
        self._now = now
        self._oldest_facts = now - facts_age_max
        self._paid_streamers = dict(view.paid_participations)
        self._pinned_currencies = {campaign_id: funding.currency for campaign_id, funding in view.fundings.items()}
        self._escrow_minor = 0

    def settle(self, requests: list[PayoutRequest]) -> None:
        requests.sort(key=self._order)
        eligible = [request for request in requests if self._without_money(request) is None]
        if eligible:
            self._fund(max(eligible, key=lambda request: request.facts_at))
        for request in requests:
            outcome = self._without_money(request)
            if outcome is not None and outcome is not Outcome.STALE:
                self._drop_hold(request, reason=outcome.value)
            self._plan.outcomes[request.key] = outcome or self._pay_or_hold(request)

    def _order(self, request: PayoutRequest) -> tuple[bool, datetime, tuple[bool, str]]:
        participation_id = request.due.participation.participation_id.tagged
        hold = self._waiting.get(participation_id)
        return (hold is None, hold.opened_at if hold else self._now, tie_break(participation_id))

    def _without_money(self, request: PayoutRequest) -> Outcome | None:
        """An outcome that needs no look at the budget."""
        participation = request.due.participation
        fingerprint = self._view.fingerprints.get(request.key)
        if fingerprint is not None:
            return Outcome.EXISTS if fingerprint == request.fingerprint else Outcome.EXISTS_DIFFERENT
        pair = (participation.campaign_id.tagged, participation.streamer_id)
        if request.n == 1 and pair in self._paid_streamers:
            return Outcome.DUPLICATE_PARTICIPATION
        currency = request.due.terms.currency
        if self._pinned_currencies.get(participation.campaign_id.tagged, currency) != currency:
            return Outcome.CURRENCY_CHANGED
        if request.facts_at < self._oldest_facts:
            return Outcome.STALE
        return None

    def _fund(self, newest: PayoutRequest) -> None:
        """Move the budget, or what changed of it since it was last seen, into escrow.

        A cut takes back what escrow still holds, and no more. What could not be taken back is remembered by comparing
        with the sum of all fundings: a later increase first makes up for it, so that a campaign is never funded with
        more than its budget.
        """
        terms = newest.due.terms
        campaign_id = terms.campaign_id.tagged
        # Pinned from here on for this very batch too: others of it may have been decided on a currency since changed.
        self._pinned_currencies[campaign_id] = terms.currency
        escrow = accounts.escrow(terms.campaign_id)
        self._escrow_minor = self._view.escrow_minor.get((escrow, terms.currency), 0)
        last = self._view.fundings.get(campaign_id)
        if last is not None and (last.budget_minor == terms.budget_minor or newest.facts_at <= last.facts_at):
            return
        wanted_minor = terms.budget_minor - (last.funded_minor if last else 0)
        amount_minor = max(wanted_minor, -self._escrow_minor)
        n = last.n + 1 if last else 1
        self._plan.posted.append(
            NewFunding(
                entry=_fund_entry(terms, n, amount_minor),
                campaign_id=campaign_id,
                n=n,
                currency=terms.currency,
                budget_minor=terms.budget_minor,
                amount_minor=amount_minor,
                facts_at=newest.facts_at,
            )
        )
        self._escrow_minor += amount_minor

    def _pay_or_hold(self, request: PayoutRequest) -> Outcome:
        participation = request.due.participation
        gross_minor = request.due.earned.gross_minor
        own_hold = self._waiting.get(participation.participation_id.tagged)
        ahead = [hold for hold in self._waiting.values() if own_hold is None or hold.order < own_hold.order]
        if ahead or gross_minor > self._escrow_minor:
            if own_hold is None:
                self._open_hold(request, behind=len(ahead))
            return Outcome.OVER_BUDGET
        self._drop_hold(request, reason="paid")
        self._plan.posted.append(NewPayout(entry=_payout_entry(request), request=request))
        self._escrow_minor -= gross_minor
        self._paid_streamers[participation.campaign_id.tagged, participation.streamer_id] = (
            participation.participation_id.tagged
        )
        return Outcome.NEW

    def _drop_hold(self, request: PayoutRequest, *, reason: str) -> None:
        """Close the request's hold, if it has one: what is decided must not stand before others."""
        hold = self._waiting.pop(request.due.participation.participation_id.tagged, None)
        if hold is not None:
            self._plan.hold_events.append(_closed(hold, reason=reason))

    def _open_hold(self, request: PayoutRequest, *, behind: int) -> None:
        participation, currency = request.due.participation, request.due.terms.currency
        gross_minor = request.due.earned.gross_minor
        tagged = participation.participation_id.tagged
        detail = (
            f"escrow holds {format_minor(self._escrow_minor, currency)} {currency}, "
            f"the payout needs {format_minor(gross_minor, currency)}"
        )
        if behind:
            detail += f"; {behind} held before it"
        hold = OpenHold(
            hold_key=f"hold:{tagged}:{self._view.holds_count.get(tagged, 0) + 1}",
            participation_id=tagged,
            campaign_id=participation.campaign_id.tagged,
            streamer_id=participation.streamer_id,
            opened_at=self._now,
            amount_minor=gross_minor,
            currency=currency,
        )
        self._waiting[tagged] = hold
        self._plan.hold_events.append(_hold_event(hold, "opened", reason="over_budget", detail=detail))


def _fund_entry(terms: CampaignTerms, n: int, amount_minor: int) -> Entry:
    return Entry(
        key=fund_key(terms.campaign_id, n),
        kind="fund",
        campaign_id=terms.campaign_id.tagged,
        currency=terms.currency,
        reason=f"budget seen: {format_minor(terms.budget_minor, terms.currency)} {terms.currency}",
        postings=(
            Posting(account=accounts.funding(terms.brand_id), amount_minor=-amount_minor),
            Posting(account=accounts.escrow(terms.campaign_id), amount_minor=amount_minor),
        ),
    )


def _payout_entry(request: PayoutRequest) -> Entry:
    participation, terms = request.due.participation, request.due.terms
    gross_minor = request.due.earned.gross_minor
    return Entry(
        key=request.key,
        kind="payout",
        campaign_id=participation.campaign_id.tagged,
        participation_id=participation.participation_id.tagged,
        streamer_id=participation.streamer_id,
        currency=terms.currency,
        reason=request.due.rule.value,
        postings=(
            Posting(account=accounts.escrow(terms.campaign_id), amount_minor=-gross_minor),
            Posting(account=accounts.wallet(participation.streamer_id), amount_minor=gross_minor),
        ),
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
