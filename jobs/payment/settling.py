"""Settling some participations: read → decide → post → project. The one path to a payment.

The sweep hands pages of candidates to it, the full check what it found unpaid, the watch the documents that changed. It
reads everything anew and authoritatively, whatever the caller believed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from jobs.payment.overdue import Overdue
from jobs.payment.projecting import Projector
from reconciler.deciding import Decided, Deciding
from reconciler.domain.batch import HELD, Outcome
from reconciler.domain.decision import Decision, Due, NotDue, Reason
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import HoldWithdrawal, OpenHold, PayoutRequest
from reconciler.domain.participation import MalformedParticipation, Participation
from reconciler.ports.facts import Moment
from reconciler.ports.journal import BatchStamp, Poster, PostingBatch
from reconciler.ports.ledger_guard import LedgerGuard
from reconciler.ports.ledger_reads import SettledFacts

log = structlog.get_logger(__name__)

DECISIONS_AGAIN_MAX = 3
"""How often a page is decided again because its facts grew too old while it waited for the ledger's lock."""


@dataclass(slots=True, kw_only=True)
class SettleResult:
    """What became of some participations."""

    due: int = 0
    paid: int = 0
    paid_minor: Counter[str] = field(default_factory=Counter)
    """Currency → gross amount paid, in minor units."""
    held: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason → participations that are not to be paid."""
    projected: int = 0
    not_paid: list[NotDue] = field(default_factory=list)
    """Those with a reason that a person should see."""
    unreadable: list[MalformedParticipation] = field(default_factory=list)
    missing: list[DocumentId] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """Tagged participation → what the ledger made of the decision to pay it."""
    finished: list[DocumentId] = field(default_factory=list)
    """Those that have a payout, of now or from before: whatever happens to their documents, nothing is due any more."""
    campaigns: set[DocumentId] = field(default_factory=set)
    """The campaigns they name."""
    as_of: Moment | None = None
    """The oldest snapshot that was read; None without snapshots."""
    committed_s: float | None = None
    """When the last batch was committed, by the monotonic clock; None where nothing was posted."""

    def add(self, other: SettleResult) -> None:
        """Count another page in. What it lists one by one is not carried on: a sweep may be long."""
        self.due += other.due
        self.paid += other.paid
        self.paid_minor += other.paid_minor
        self.held += other.held
        self.skipped += other.skipped
        self.projected += other.projected


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """``projector`` is None in a dry run: nothing was paid, so nothing is projected.

    ``overdue`` records who is due and what became of them; None where nothing is paid, or where nobody asks.
    """

    deciding: Deciding
    poster: Poster
    projector: Projector | None
    guard: LedgerGuard
    overdue: Overdue | None = None

    def settle(self, participation_ids: Sequence[DocumentId], stamp: BatchStamp) -> SettleResult:
        """Settle a page of participations. Raises Outage or InvariantBroken; what was paid before that stays paid."""
        settled = SettleResult()
        waiting = list(participation_ids)
        for _ in range(DECISIONS_AGAIN_MAX):
            if not waiting:
                break
            waiting = self._settle_once(waiting, stamp, settled)
        settled.skipped["facts_too_old"] += len(waiting)
        settled.skipped += Counter()
        return settled

    def _settle_once(
        self, participation_ids: Sequence[DocumentId], stamp: BatchStamp, settled: SettleResult
    ) -> list[DocumentId]:
        """One round; returns those whose facts had grown too old when the lock was there."""
        page = self.deciding.facts.read(participation_ids)
        readable = [one for one in page.participations if isinstance(one, Participation)]
        settled.as_of = page.as_of if settled.as_of is None else min(settled.as_of, page.as_of or (0, 0))
        settled.campaigns.update(one.campaign_id for one in readable)
        settled.unreadable += [one for one in page.participations if isinstance(one, MalformedParticipation)]
        settled.missing += page.missing
        decided = self.deciding.decide(page)
        known = decided.known
        due = [decision for decision in decided.decisions if isinstance(decision, Due)]
        not_due = [decision for decision in decided.decisions if isinstance(decision, NotDue)]
        requests = [PayoutRequest(due=one, facts_at=page.facts_at) for one in due]
        batch = PostingBatch(
            requests=requests,
            withdrawals=_withdrawals(decided),
            voids=_voids(not_due, known),
            facts_at=page.facts_at,
        )
        for decision in not_due:
            _count_not_due(settled, decision)
        attempted = [one.participation.participation_id for one in due]
        if self.overdue is not None:
            self.overdue.saw(attempted)
            self.overdue.answered(set(participation_ids).difference(attempted))
        settled.skipped[Reason.MALFORMED] += len(page.participations) - len(readable)
        if batch.is_empty:
            return []
        self.guard.check()
        posted = self.poster.post(batch, stamp)
        settled.committed_s = time.monotonic()
        settled.paid_minor.update(posted.paid_minor)
        again = [
            request.due.participation.participation_id
            for request in requests
            if not _count_outcome(settled, request, posted.outcomes[request.key])
        ]
        if self.overdue is not None:
            undecided = set(again)
            self.overdue.answered(one for one in attempted if one not in undecided)
        if self.projector is not None and posted.payout_sequences:
            settled.projected += self.projector.project(posted.payout_sequences)
        return again


def say_paid(settled: SettleResult, stamp: BatchStamp, *, dry_run: bool) -> None:
    """One line a page of payments."""
    if settled.paid:
        log.info(
            "paid participations",
            action="payouts_posted",
            run_id=stamp.run_id,
            trigger=stamp.trigger,
            paid=settled.paid,
            paid_minor=dict(settled.paid_minor),
            dry_run=dry_run,
        )


def retry_holds(settler: Settler, page_size: int, stamp: BatchStamp) -> int:
    """Settle everything that is held, in the order in which it is retried; returns how many are paid now."""
    held = [DocumentId.from_tagged(hold.participation_id) for hold in settler.deciding.ledger.open_holds()]
    pages = (held[start : start + page_size] for start in range(0, len(held), page_size))
    return sum(settler.settle(page, stamp).paid for page in pages)


def _withdrawals(decided: Decided) -> list[HoldWithdrawal]:
    """Holds of whatever is not due in the campaign that it is held in: they must not stand before others."""
    page, held = decided.page, decided.known.held
    reasons = {one.participation.participation_id: _why_withdrawn(one, held) for one in decided.decisions}
    reasons |= dict.fromkeys(page.missing, "participation_missing")
    unreadable = (one for one in page.participations if isinstance(one, MalformedParticipation))
    reasons |= {one.participation_id: Reason.MALFORMED.value for one in unreadable if one.participation_id is not None}
    return [
        HoldWithdrawal(
            participation_id=participation_id,
            campaign_id=DocumentId.from_tagged(held[participation_id.tagged].campaign_id),
            reason=reason,
            hold_key=held[participation_id.tagged].hold_key,
        )
        for participation_id, reason in reasons.items()
        if reason is not None and participation_id.tagged in held
    ]


def _why_withdrawn(decision: Decision, held: Mapping[str, OpenHold]) -> str | None:
    """None for one that is due where it is held."""
    if isinstance(decision, NotDue):
        return decision.reason.value
    hold = held.get(decision.participation.participation_id.tagged)
    return None if hold is None or hold.campaign_id == decision.terms.campaign_id.tagged else "campaign_changed"


def _voids(not_due: Sequence[NotDue], known: SettledFacts) -> list[DocumentId]:
    """Members of a pool who were forfeited before their share was posted: it is void for good."""
    forfeited = (one.participation.participation_id for one in not_due if one.reason is Reason.FORFEITED)
    return [one for one in forfeited if one.tagged in known.pool_lines and not known.pool_lines[one.tagged].is_void]


def _count_not_due(settled: SettleResult, decision: NotDue) -> None:
    settled.skipped[decision.reason.value] += 1
    if decision.reason in (Reason.ALREADY_PAID, Reason.REVERSED):
        settled.finished.append(decision.participation.participation_id)
    if decision.reason not in (Reason.ALREADY_PAID, Reason.BELOW_TARGET):
        settled.not_paid.append(decision)


def _count_outcome(settled: SettleResult, request: PayoutRequest, outcome: Outcome) -> bool:
    """Count one outcome; False when the request has to be decided again."""
    if outcome is Outcome.STALE:
        return False
    participation = request.due.participation
    settled.outcomes[participation.participation_id.tagged] = outcome
    settled.due += 1
    if outcome in (Outcome.NEW, Outcome.EXISTS):
        settled.finished.append(participation.participation_id)
    if outcome is Outcome.NEW:
        settled.paid += 1
    elif outcome in HELD:
        settled.held += 1
    elif outcome is Outcome.EXISTS:
        settled.skipped[Reason.ALREADY_PAID] += 1
    else:
        settled.skipped[outcome.value] += 1
        if outcome is Outcome.EXISTS_DIFFERENT:
            log.error(
                "a payout of another identity holds this participation's key",
                action="exists_different",
                payout_key=request.key,
            )
    return True
