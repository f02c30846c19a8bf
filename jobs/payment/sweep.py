"""The sweep: everyone who is past target is paid. State is truth; it needs no event to find them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import structlog

from jobs.payment.overdue import Overdue
from jobs.payment.pools import PoolFreezer
from jobs.payment.projecting import Projector
from jobs.payment.settling import Settler, SettleResult, say_paid
from jobs.process.running import RunRecorder
from reconciler.domain.campaign import CampaignTerms, MalformedCampaign
from reconciler.domain.decision import Scope
from reconciler.domain.ids import DocumentId
from reconciler.domain.participation import MalformedParticipation
from reconciler.errors import DatabaseFailure
from reconciler.ports.journal import AccountChange, BatchStamp, Journal, Poster, Rehearsal

log = structlog.get_logger(__name__)

REFUSED_MAX = 20
"""Participations that a sweep goes on without. With more of them the fault is not theirs, and trying all takes long."""

ACCOUNT_CHANGES_MAX = 1000
"""Accounts that a dry run shows; a larger one is summed up by its totals."""


@dataclass(slots=True, kw_only=True)
class SweepResult:
    """What one sweep did. ``complete`` is False when it was stopped, or ran into its deadline, between two pages."""

    run_id: str
    dry_run: bool
    settled: SettleResult = field(default_factory=SettleResult)
    settlements_frozen: int = 0
    malformed_campaigns: int = 0
    blocked: int = 0
    account_changes: Sequence[AccountChange] = ()
    """Of a dry run: accounts before and after."""
    complete: bool = True
    duration_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The document that ``--once --json`` prints; scripts depend on its keys."""
        return {
            "run_id": self.run_id,
            "dry_run": self.dry_run,
            "complete": self.complete,
            "due": self.settled.due,
            "paid": self.settled.paid,
            "paid_minor": dict(sorted(self.settled.paid_minor.items())),
            "held": self.settled.held,
            "skipped": {reason: count for reason, count in sorted(self.settled.skipped.items()) if count},
            "settlements_frozen": self.settlements_frozen,
            "malformed_campaigns": self.malformed_campaigns,
            "projected": self.settled.projected,
            "blocked": self.blocked,
            **({"accounts": [asdict(change) for change in self.account_changes]} if self.dry_run else {}),
            "duration_s": round(self.duration_s, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLimits:
    """``page_size``: participations a transaction. ``deadline_s``: after it the sweep ends between two pages."""

    page_size: int
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One sweep at a time: hold retries first, in their order, then whoever the due query finds."""

    settler: Settler
    journal: Journal
    projector: Projector
    recorder: RunRecorder
    limits: SweepLimits
    stopping: threading.Event
    overdue: Overdue

    def step(self, trigger: str, *, dry_run: bool = False) -> SweepResult:
        """Sweep once. Raises DatabaseFailure or InvariantBroken; what was paid until then stays paid.

        What a database refuses of single participations is raised at the end, when everybody else is paid.
        """
        recorder = RunRecorder(runs=None, clock=self.recorder.clock) if dry_run else self.recorder
        with recorder.run("sweep", trigger) as run, self._poster(dry_run=dry_run) as poster:
            projector = None if dry_run else self.projector
            settler = replace(self.settler, poster=poster, projector=projector)
            if dry_run:
                settler = replace(settler, overdue=None)
            if isinstance(poster, Rehearsal):
                settler = replace(settler, deciding=replace(settler.deciding, ledger=poster.ledger))
            freezer = PoolFreezer(deciding=settler.deciding, poster=poster, clock=self.recorder.clock)
            result = SweepResult(run_id=run.run_id, dry_run=dry_run)
            started = time.monotonic()
            settler.guard.check()
            if not dry_run:
                self.overdue.begin_round()
            everybody = _Pass(self, settler, freezer, result, BatchStamp(run_id=run.run_id, trigger=trigger))
            everybody.run()
            if result.complete and not dry_run:
                self.overdue.end_round()
            if isinstance(poster, Rehearsal):
                result.account_changes = poster.account_changes(ACCOUNT_CHANGES_MAX)
            if projector is not None:
                result.settled.projected += projector.drain()
            result.blocked = self.projector.outbox.counts().blocked
            result.duration_s = time.monotonic() - started
            if everybody.refused:
                raise everybody.refused[0]
            run.end("complete" if result.complete else "stopped", result.as_json())
        return result

    def _poster(self, *, dry_run: bool) -> AbstractContextManager[Poster]:
        return self.journal.rehearsal() if dry_run else nullcontext(self.journal)


class _Pass:
    """One pass over everything that may be due, a page at a time."""

    def __init__(
        self, sweep: Sweep, settler: Settler, freezer: PoolFreezer, result: SweepResult, stamp: BatchStamp
    ) -> None:
        self._sweep = sweep
        self._settler = settler
        self._freezer = freezer
        self._result = result
        self._stamp = stamp
        self._started = time.monotonic()
        self._seen_held: set[DocumentId] = set()
        self.refused: list[DatabaseFailure] = []
        """The failures of single participations that a database refused."""

    def run(self) -> None:
        self._retry_holds()
        for campaigns in self._settler.deciding.facts.paying_campaigns():
            terms = [campaign for campaign in campaigns if isinstance(campaign, CampaignTerms)]
            for malformed in campaigns:
                if isinstance(malformed, MalformedCampaign):
                    self._name_malformed("campaign", str(malformed.campaign_id), malformed.problems)
                    self._result.malformed_campaigns += 1
            self._result.settlements_frozen += self._freezer.freeze_due(terms, self._stamp).count
            if self._settler.deciding.policy.scope is Scope.CAMPAIGN:
                continue
            for page in self._settler.deciding.facts.candidates(terms, self._sweep.limits.page_size):
                if self._must_end():
                    return
                self._settle_candidates(page)
        self._pay_lines()

    def _pay_lines(self) -> None:
        """Pay the members of frozen settlements, those frozen by an earlier run that died among them."""
        after, size = "", self._sweep.limits.page_size
        while lines := self._settler.deciding.ledger.unposted_lines(after, size):
            if self._must_end():
                return
            self._settle([one for one in lines if one not in self._seen_held])
            after = lines[-1].tagged

    def _retry_holds(self) -> None:
        held = [DocumentId.from_tagged(hold.participation_id) for hold in self._settler.deciding.ledger.open_holds()]
        self._seen_held = set(held)
        size = self._sweep.limits.page_size
        for start in range(0, len(held), size):
            if self._must_end():
                return
            self._settle(held[start : start + size])

    def _settle_candidates(self, page: Sequence[DocumentId | MalformedParticipation]) -> None:
        for unreadable in page:
            if isinstance(unreadable, MalformedParticipation):
                self._name_malformed("participation", unreadable.shown_id, unreadable.problems)
                self._result.settled.skipped["malformed"] += 1
        self._settle([one for one in page if isinstance(one, DocumentId) and one not in self._seen_held])

    def _settle(self, participation_ids: Sequence[DocumentId]) -> None:
        """Settle a page. Where a database refuses it, find out whom it refuses: nobody else must wait for that."""
        if not participation_ids:
            return
        try:
            settled = self._settler.settle(participation_ids, self._stamp)
        except DatabaseFailure as failure:
            # The pages of a rehearsal are one transaction, which a refusal ends.
            if not failure.is_answer or self._result.dry_run:
                raise
            if len(participation_ids) == 1:
                self._set_aside(participation_ids[0], failure)
                return
            middle = len(participation_ids) // 2
            self._settle(participation_ids[:middle])
            self._settle(participation_ids[middle:])
            return
        for unreadable in settled.unreadable:
            self._name_malformed("participation", unreadable.shown_id, unreadable.problems)
        for decision in settled.not_paid:
            log.debug(
                "a participation past its target is not to be paid",
                action="not_paid",
                participation_id=str(decision.participation.participation_id),
                reason=decision.reason.value,
                detail=decision.detail or "; ".join(map(str, decision.problems)),
            )
        self._result.settled.add(settled)
        say_paid(settled, self._stamp, dry_run=self._result.dry_run)

    def _set_aside(self, participation_id: DocumentId, failure: DatabaseFailure) -> None:
        """Go on without one participation; where many are refused, it is not they who are to blame."""
        if len(self.refused) == REFUSED_MAX:
            raise failure
        self.refused.append(failure)
        log.error(
            "a database refuses what one participation needs; the others are paid",
            action="participation_refused",
            participation_id=str(participation_id),
            database=failure.database,
            reason=failure.reason,
        )

    def _name_malformed(self, document: str, shown_id: str, problems: Sequence[object]) -> None:
        log.debug(
            "a document cannot be read",
            action="malformed",
            document=document,
            id=shown_id,
            why="; ".join(map(str, problems)),
        )

    def _must_end(self) -> bool:
        limits = self._sweep.limits
        if self._sweep.stopping.is_set() or time.monotonic() - self._started > limits.deadline_s:
            self._result.complete = False
        return not self._result.complete
