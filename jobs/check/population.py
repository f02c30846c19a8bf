"""Every participation, a partition at a time and in bounded memory, from where an interrupted check left off."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from jobs.check.completeness import CompletenessProof
from jobs.check.options import SECTION, CheckOptions, Progress, Stopped
from jobs.check.partition import CheckBounds, PartitionChecker
from jobs.check.tally import Tally
from jobs.check.whole_campaigns import WholeCampaigns
from jobs.payment.pools import PoolFreezer
from jobs.payment.settling import Settler, retry_holds
from reconciler.clock import Clock
from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.decision import Rule, Scope
from reconciler.domain.ids import DocumentId
from reconciler.ports.check_runs import CheckKey, CheckRuns, DonePartition
from reconciler.ports.facts import Facts
from reconciler.ports.journal import BatchStamp, Journal, Poster
from reconciler.ports.ledger_guard import LedgerGuard
from reconciler.ports.population import PopulationReads
from reconciler.ports.scanning import FactScan
from reconciler.status import StatusBoard

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PopulationChecker:
    """What a pass over everybody works with.

    ``partition_size``: participations compared at once. ``resume_within``: how old the last partition of an interrupted
    check may be to go on from it.
    """

    facts: Facts
    scan: FactScan
    reads: PopulationReads
    journal: Journal
    partitions: PartitionChecker
    check_runs: CheckRuns
    status: StatusBoard
    clock: Clock
    config_fingerprint: str
    partition_size: int
    resume_within: timedelta
    stopping: threading.Event


class PopulationPass:
    """One pass over everybody. ``total`` grows while it runs; ``cut`` is the sequence that its sums go up to."""

    def __init__(
        self, checker: PopulationChecker, options: CheckOptions, stamp: BatchStamp, progress: Progress, total: Tally
    ) -> None:
        self._checker = checker
        self._options = options
        self._stamp = stamp
        self._progress = progress
        self._total = total
        self._key = CheckKey(
            config_fingerprint=checker.config_fingerprint,
            campaign_id=options.campaign_id or "",
            dry_run=options.dry_run,
        )
        self.cut = 0
        self.waiting: dict[str, datetime] = {}
        """Who is due and left to a sweep that is still to come."""

    def run(self, guard: LedgerGuard, overdue: frozenset[str]) -> None:
        """Check everybody. ``overdue``: participations (tagged) with an effect that was not projected in time.

        Raises Outage, Defect, InvariantBroken or Stopped.
        """
        with self._poster() as poster:
            self._run(self._partitions(poster, guard, overdue))

    def _poster(self) -> AbstractContextManager[Poster]:
        journal = self._checker.journal
        return journal.rehearsal(has_limits=False) if self._options.dry_run else nullcontext(journal)

    def _partitions(self, poster: Poster, guard: LedgerGuard, overdue: frozenset[str]) -> PartitionChecker:
        partitions, dry_run = self._checker.partitions, self._options.dry_run
        settler = replace(partitions.pages.settler, poster=poster, guard=guard)
        if dry_run:
            settler = replace(settler, projector=None)
        return replace(partitions, pages=replace(partitions.pages, settler=settler, dry_run=dry_run, overdue=overdue))

    def _run(self, partitions: PartitionChecker) -> None:
        checker, options, total = self._checker, self._options, self._total
        settler = partitions.pages.settler
        total.breaks += self._freeze_pools(self._freezer(settler))
        # In their order, which the partitions do not have: a budget that grew pays the oldest first.
        total.paid += retry_holds(settler, partitions.page_size, self._stamp)
        done = checker.check_runs.done(self._key, checker.clock() - checker.resume_within)
        self.cut, after = self._go_on_from(done)
        bounds = CheckBounds(cut=self.cut, campaign_id=options.campaign_id, earlier=checker.check_runs.waiting())
        expected, number = checker.facts.count(), len(done)
        with checker.scan.partitions(checker.partition_size, campaign_id=options.campaign_id, after=after) as scanned:
            for partition in scanned:
                if checker.stopping.is_set():
                    raise Stopped
                tally = partitions.check(partition, bounds, self._stamp)
                total.add(tally)
                number += 1
                if partition.up_to is not None and partition.is_resumable:
                    self._keep(number, partition.up_to, tally)
                if not (options.dry_run and options.writes_progress):
                    self._progress(total.scanned, expected)
                checker.status.record(SECTION, done=total.scanned, expected=max(expected, total.scanned))
        total.add(partitions.check_text_identities(bounds))
        last = partitions.check_waiting(total.waiting, self._stamp)
        # A check of one campaign says nothing of who waits in the others.
        others = bounds.earlier if options.campaign_id is not None else {}
        total.waiting = {}
        total.add(last)
        self._prove(partitions, {**others, **last.waiting})

    def _freezer(self, settler: Settler) -> PoolFreezer:
        return PoolFreezer(deciding=settler.deciding, poster=settler.poster, clock=self._checker.clock)

    def _freeze_pools(self, freezer: PoolFreezer) -> list[Break]:
        """Freeze what is due as a whole; the breaks say which campaigns cannot be settled, and why."""
        if not freezer.deciding.policy.has_pools:
            return []
        waiting = []
        for page in self._checker.facts.paying_campaigns():
            terms = [campaign for campaign in page if isinstance(campaign, CampaignTerms)]
            waiting += freezer.freeze_due(terms, self._stamp).waiting
        return [
            Break(
                kind=BreakKind.HELD,
                reason=decision.reason.value,
                campaign_id=str(terms.campaign_id),
                currency=terms.currency,
                detail=decision.detail,
            )
            for terms, decision in waiting
        ]

    def _go_on_from(self, done: list[DonePartition]) -> tuple[int, DocumentId | None]:
        """The sequence that sums go up to, and the participation to go on behind."""
        if not done:
            return self._checker.reads.sequence(), None
        for partition in done:
            self._total.add(Tally.from_json(partition.tally, list(partition.breaks)))
        log.info(
            "going on where an interrupted check left off",
            action="check_resumed",
            partitions=len(done),
            participations=self._total.scanned,
        )
        return int(done[-1].tally["cut"]), DocumentId.from_tagged(done[-1].up_to)

    def _keep(self, number: int, up_to: DocumentId, tally: Tally) -> None:
        # In a rehearsal the ledger's lock is ours, and a second connection would wait for it; there is little to lose.
        if self._options.dry_run:
            return
        kept = DonePartition(
            number=number, up_to=up_to.tagged, tally=tally.as_json() | {"cut": self.cut}, breaks=tally.breaks
        )
        self._checker.check_runs.keep(self._key, kept)

    def _prove(self, partitions: PartitionChecker, waiting: Mapping[str, datetime]) -> None:
        """Make sure that nobody was forgotten, and keep who waits."""
        checker, total, settler = self._checker, self._total, partitions.pages.settler
        policy = settler.deciding.policy
        self.waiting = dict(waiting)
        if policy.scope is Scope.STREAMER and Rule.IMPRESSIONS_TARGET_REACHED in policy.rules:
            proof = CompletenessProof(facts=checker.facts, scan=checker.scan, reads=checker.reads)
            found = proof.prove(total, self.waiting, self._options.campaign_id, partitions.judge_alone(self._stamp))
            self.waiting |= found.waiting
            total.add(found)
        elif policy.scope is Scope.CAMPAIGN:
            whole = WholeCampaigns(facts=checker.facts, freezer=self._freezer(settler))
            whole.count_kept(total, checker.clock(), self._options.campaign_id)
        total.waiting = {}
