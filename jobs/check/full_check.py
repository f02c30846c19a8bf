"""The full check: every participation against the ledger and its effects; repairs what is safe, names the rest."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from jobs.check.accounts import AccountChecker
from jobs.check.budgets import BudgetChecker
from jobs.check.census import CampaignCensus
from jobs.check.completeness import CompletenessProof
from jobs.check.effects import EffectsChecker
from jobs.check.exact import PageChecker
from jobs.check.lock import only_check
from jobs.check.partition import CheckBounds, PartitionChecker
from jobs.check.statuses import breaks_of_statuses
from jobs.check.tally import Tally
from jobs.check.totals import control_totals, unexplained
from jobs.check.waiting import MoneyInWaiting, withheld_rows
from jobs.check.whole_campaigns import WholeCampaigns
from jobs.payment.pools import PoolFreezer
from jobs.payment.projecting import Projector
from jobs.payment.settling import Settler, retry_holds
from jobs.process.running import Interrupted, RunInProgress, RunRecorder
from reconciler.domain.break_memory import CheckMark
from reconciler.domain.breaks import Break, BreakKind, BreakStatus
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.decision import Policy, Rule, Scope
from reconciler.domain.ids import DocumentId
from reconciler.domain.settlement import PoolNotDue
from reconciler.errors import Defect, InvariantBroken, Outage, UsageError
from reconciler.ports.break_records import BreakRecords
from reconciler.ports.check_runs import CheckKey, CheckLease, CheckRuns, DonePartition, SweepWatch, WatchedPosition
from reconciler.ports.effect_states import EffectStates
from reconciler.ports.facts import Facts
from reconciler.ports.integrity import Integrity, Verifier
from reconciler.ports.journal import BatchStamp, Journal, Poster
from reconciler.ports.ledger_guard import LedgerGuard
from reconciler.ports.ledger_reads import LedgerReads
from reconciler.ports.outbox import Outbox
from reconciler.ports.population import PopulationReads
from reconciler.ports.projection import Projection
from reconciler.ports.scanning import FactScan, RecordedBudgets
from reconciler.ports.watch import KeptPosition
from reconciler.reports.model import Report, Sighting, Totals, Waiting
from reconciler.reports.writer import ReportDirectory
from reconciler.status import StatusBoard

log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]
"""Told how many participations were checked, and about how many there are."""

SECTION = "full_check"
"""Where the status board shows a check."""


class Stopped(Interrupted):
    """The check was asked to end before it was through; nothing is reported, and a later one goes on from there."""


def new_report_id(now: datetime) -> str:
    """A report's identity: its time, so that names sort, and enough chance that two never meet."""
    return f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """``campaign_id``: only this campaign (plain identity). ``trigger``: who asked, kept with what is repaired.

    ``report_id``: what the report is to be called, where somebody was told already.
    """

    trigger: str
    dry_run: bool = False
    campaign_id: str | None = None
    report_id: str | None = None
    is_halted: bool = False
    """Paying is halted: the check says so, whatever it finds."""
    remembers: bool = True
    """False: breaks are compared with those remembered, and not kept. A rehearsal that a person asked for; a check that
    repairs nothing because paying is off or halted does see what is there, and remembers it."""
    writes_progress: bool = False
    """Whether progress is written into the ledger's database. A rehearsal holds that database's lock, on SQLite against
    this very process too: then it is told when the rehearsal is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """``partition_size``: participations compared at once. ``page_size``: those judged one by one that are read and
    repaired together. ``resume_within``: how old the last partition of an interrupted check may be to go on from it.
    ``lease_ttl_s``: after how long a check that was killed no longer keeps others away. ``recorded_budgets``: whether
    what is left of budgets has to follow from what was recorded."""

    partition_size: int
    page_size: int
    resume_within: timedelta
    lease_ttl_s: float
    recorded_budgets: bool = False
    effects_within: timedelta = timedelta(minutes=5)
    """How soon after a payment MongoDB has to show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullCheck:
    """One check at a time, over everything, in bounded memory: a partition of participations after the other."""

    facts: Facts
    scan: FactScan
    states: EffectStates
    reads: PopulationReads
    ledger: LedgerReads
    journal: Journal
    outbox: Outbox
    projection: Projection
    projector: Projector
    verifier: Verifier
    sweeps: SweepWatch
    watched: WatchedPosition
    budgets: RecordedBudgets
    check_runs: CheckRuns
    lease: CheckLease
    break_records: BreakRecords
    policy: Policy
    guard: LedgerGuard
    recorder: RunRecorder
    reports: ReportDirectory
    status: StatusBoard
    money: MoneyInWaiting
    config_fingerprint: str
    limits: CheckLimits
    stopping: threading.Event

    def step(self, options: CheckOptions, progress: Progress = lambda _done, _all: None) -> tuple[Report, Path]:
        """Check once, write the report, and answer it with its path.

        Raises Outage, InvariantBroken, Stopped, CheckRunning, or UsageError when the report cannot be written; then the
        newest report stays the one before.
        """
        self.reports.require_writable()
        with only_check(self.lease, self.limits.lease_ttl_s):
            interrupted = self.check_runs.close_interrupted()
            if interrupted:
                log.warning(
                    "an earlier check had ended before it was through", action="check_interrupted", checks=interrupted
                )
            with self.recorder.run("full_check", options.trigger) as run, self._shown(run, options):
                work = _Work(self, run, options, progress)
                report = work.run()
                path = self.reports.write(report)
                if options.remembers:
                    # After the report: breaks that nobody could read of must not count as known to the next check.
                    self.break_records.record([one.found for one in report.sightings], _mark_of(report))
                self.check_runs.finish(work.waiting)
                run.end(report.verdict, {"report_id": report.report_id, **report.breaks_by_kind()})
        self.status.record(SECTION, verdict=report.verdict)
        log.info(
            "checked everything",
            action="check_finished",
            report_id=report.report_id,
            verdict=report.verdict,
            participations=report.completeness.participations,
            breaks=report.breaks_by_kind(),
            repairs=dict(report.repairs),
        )
        return report, path

    @contextmanager
    def _shown(self, run: RunInProgress, options: CheckOptions) -> Iterator[None]:
        """On the status board from beginning to end, also of a check that fails."""
        self.status.record(
            SECTION,
            running=True,
            report_id=report_id_of(run, options),
            done=0,
            expected=self.facts.count(),
            started_at=run.record.started_at,
            finished_at=None,
            verdict=None,
        )
        try:
            yield
        except BaseException:
            self.status.record(SECTION, verdict="failed")
            raise
        finally:
            self.status.record(SECTION, running=False, finished_at=self.recorder.clock())


class _Rehearsed:
    """Lets decisions be rehearsed on a ledger that must not pay: all of it is rolled back."""

    def check(self) -> None:
        """Nothing stays of what is posted, so nothing can go wrong."""

    def advance(self, sequence: int) -> None:
        """Nobody is told anything."""


class _Work:
    """One check from its beginning to its report."""

    def __init__(self, check: FullCheck, run: RunInProgress, options: CheckOptions, progress: Progress) -> None:
        self._check = check
        self._run = run
        self._options = options
        self._progress = progress
        self._stamp = BatchStamp(run_id=run.run_id, trigger=options.trigger)
        self._total = Tally()
        self._cut = 0
        self._guard = check.guard
        self._overdue: frozenset[str] = frozenset()
        self._key = CheckKey(
            config_fingerprint=check.config_fingerprint,
            campaign_id=options.campaign_id or "",
            dry_run=options.dry_run,
        )
        self.waiting: dict[str, datetime] = {}
        """Who is due and left to a sweep that is still to come."""

    def run(self) -> Report:
        check, total = self._check, self._total
        collections = check.scan.collections()
        self._look_behind()
        options = self._options
        effects = self._effects()
        late = effects.check(options.campaign_id)
        total.breaks += late.breaks
        total.projected += late.projected
        self._overdue = frozenset(late.participations)
        if not options.dry_run:
            check.projector.drain()
        is_torn = False
        try:
            with self._poster() as poster:
                self._population(poster)
        except Defect:
            # Where a posted row was taken away, what the rest says is due cannot be posted: that is what to tell then.
            if not check.verifier.verify().faults:
                raise
            is_torn = True
        if options.dry_run and options.writes_progress:
            self._progress(total.scanned, total.scanned)
        if options.campaign_id is not None and not total.scanned and not is_torn:
            raise UsageError(f"there is no participation of a campaign {options.campaign_id}")
        self._count_campaigns()
        accounts = self._accounts()
        total.add(accounts.check_wallets(options.campaign_id))
        total.add(accounts.check_campaigns(options.campaign_id))
        if options.campaign_id is None:
            total.breaks += effects.lagging_wallets() + effects.blocked_releases(total.breaks)
        total.breaks += self._budgets().check(options.campaign_id)
        now = check.recorder.clock()
        waiting, stranded = check.money.waiting(total, now, options.campaign_id)
        total.breaks += stranded
        integrity = check.verifier.verify()
        # Amounts of payouts were named one by one, beside their documents; those of whole settlements were not.
        faults = [one for one in integrity.faults if one.kind != BreakKind.AMOUNT_DIFFERS or one.sequence is None]
        total.breaks += [
            Break(kind=BreakKind(one.kind), reason=_where(one.sequence), detail=one.detail) for one in faults
        ]
        totals = self._totals()
        total.breaks += unexplained(totals)
        # Of a collection that was dropped meanwhile everything would be missing, and none of it would be true.
        gone = [name for name, identity in collections.items() if check.scan.collections().get(name) != identity]
        if gone:
            reason = f"the collection {gone[0]} went away while it was being checked"
            raise Outage("mongodb", reason, has_answered=True)
        return self._report(integrity, totals, waiting)

    def _count_campaigns(self) -> None:
        """Name what a person has to know of campaigns, and of collections that hold nothing to check."""
        check, campaign_id, census = self._check, self._options.campaign_id, CampaignCensus()
        census.look(check.facts.all_campaigns(), campaign_id)
        self._total.add(Tally(breaks=census.breaks))
        self._total.breaks += breaks_of_statuses(self._total, census.unknown_words)
        missing = {role: one.detail for role, one in check.scan.missing_collections().items() if one.is_suspect}
        counts = {"participations": self._total.scanned, "campaigns": census.count}
        missing |= {
            name: "the collection holds no document"
            for name, count in counts.items()
            if not count and name not in missing
        }
        self._total.breaks += [
            Break(kind=BreakKind.NOTHING_CHECKED, reason=name, detail=detail) for name, detail in missing.items()
        ]

    def _look_behind(self) -> None:
        """An older copy of the ledger would put older facts over newer ones: then the check only tells."""
        try:
            self._check.guard.check()
        except InvariantBroken as broken:
            if broken.invariant != BreakKind.LEDGER_BEHIND:
                raise
            self._options, self._guard = replace(self._options, dry_run=True), _Rehearsed()
            self._total.breaks.append(Break(kind=BreakKind.LEDGER_BEHIND, detail=broken.detail))

    def _poster(self) -> AbstractContextManager[Poster]:
        journal = self._check.journal
        return journal.rehearsal(has_limits=False) if self._options.dry_run else nullcontext(journal)

    def _population(self, poster: Poster) -> None:
        """Every participation, a partition at a time; from where an interrupted check of the same kind left off."""
        check, options, total = self._check, self._options, self._total
        partitions = self._partitions(poster)
        total.breaks += self._freeze_pools(PoolFreezer.beside(partitions.pages.settler, check.recorder.clock))
        # In their order, which the partitions do not have: a budget that grew pays the oldest first.
        total.paid += retry_holds(partitions.pages.settler, check.limits.page_size, self._stamp)
        done = check.check_runs.done(self._key, check.recorder.clock() - check.limits.resume_within)
        self._cut, after = self._go_on_from(done)
        bounds = CheckBounds(cut=self._cut, campaign_id=options.campaign_id, earlier=check.check_runs.waiting())
        expected, number = check.facts.count(), len(done)
        with check.scan.partitions(
            check.limits.partition_size, campaign_id=options.campaign_id, after=after
        ) as scanned:
            for partition in scanned:
                if check.stopping.is_set():
                    raise Stopped
                tally = partitions.check(partition, bounds, self._stamp)
                total.add(tally)
                number += 1
                if partition.up_to is not None and partition.is_resumable:
                    self._keep(number, partition.up_to, tally)
                if not (options.dry_run and options.writes_progress):
                    self._progress(total.scanned, expected)
                check.status.record(SECTION, done=total.scanned, expected=max(expected, total.scanned))
        total.add(partitions.check_text_identities(bounds))
        last = partitions.check_waiting(total.waiting, self._stamp)
        # A check of one campaign says nothing of who waits in the others.
        others = bounds.earlier if options.campaign_id is not None else {}
        total.waiting = {}
        total.add(last)
        self._prove(partitions, {**others, **last.waiting})

    def _prove(self, partitions: PartitionChecker, waiting: dict[str, datetime]) -> None:
        """Make sure that nobody was forgotten, and keep who waits."""
        check, total = self._check, self._total
        policy = check.policy
        if policy.scope is Scope.STREAMER and Rule.IMPRESSIONS_TARGET_REACHED in policy.rules:
            proof = CompletenessProof(facts=check.facts, scan=check.scan, reads=check.reads)
            found = proof.prove(total, waiting, self._options.campaign_id, partitions.judge_alone(self._stamp))
            waiting |= found.waiting
            total.add(found)
        elif policy.scope is Scope.CAMPAIGN:
            freezer = PoolFreezer.beside(partitions.pages.settler, check.recorder.clock)
            whole = WholeCampaigns(facts=check.facts, freezer=freezer)
            whole.count_kept(total, check.recorder.clock(), self._options.campaign_id)
        self.waiting, total.waiting = waiting, {}

    def _go_on_from(self, done: list[DonePartition]) -> tuple[int, DocumentId | None]:
        """The sequence that sums go up to, and the participation to go on behind."""
        if not done:
            return self._check.reads.sequence(), None
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
            number=number, up_to=up_to.tagged, tally=tally.as_json() | {"cut": self._cut}, breaks=tally.breaks
        )
        self._check.check_runs.keep(self._key, kept)

    def _partitions(self, poster: Poster) -> PartitionChecker:
        check, dry_run = self._check, self._options.dry_run
        settler = Settler(
            facts=check.facts,
            ledger=check.ledger,
            poster=poster,
            projector=None if dry_run else check.projector,
            policy=check.policy,
            guard=self._guard,
        )
        pages = PageChecker(
            reads=check.reads,
            ledger=check.ledger,
            outbox=check.outbox,
            projection=check.projection,
            projector=check.projector,
            settler=settler,
            sweeps=check.sweeps,
            dry_run=dry_run,
            overdue=self._overdue,
        )
        return PartitionChecker(
            facts=check.facts,
            reads=check.reads,
            states=check.states,
            pages=pages,
            page_size=check.limits.page_size,
        )

    def _effects(self) -> EffectsChecker:
        check = self._check
        return EffectsChecker(
            outbox=check.outbox,
            reads=check.reads,
            projector=check.projector,
            within=check.limits.effects_within,
            dry_run=self._options.dry_run,
        )

    def _accounts(self) -> AccountChecker:
        check = self._check
        return AccountChecker(
            facts=check.facts,
            scan=check.scan,
            reads=check.reads,
            states=check.states,
            projection=check.projection,
            projector=check.projector,
            dry_run=self._options.dry_run,
        )

    def _budgets(self) -> BudgetChecker:
        check = self._check
        return BudgetChecker(
            facts=check.facts, reads=check.reads, budgets=check.budgets, is_on=check.limits.recorded_budgets
        )

    def _freeze_pools(self, freezer: PoolFreezer) -> list[Break]:
        """Freeze what is due as a whole; the breaks say which campaigns cannot be settled, and why."""
        waiting: list[tuple[CampaignTerms, PoolNotDue]] = []
        if not self._check.policy.has_pools:
            return []
        for page in self._check.facts.paying_campaigns():
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

    def _totals(self) -> list[Totals]:
        check, campaign_id = self._check, self._options.campaign_id
        held: Counter[str] = Counter()
        for hold in check.ledger.open_holds():
            if campaign_id in (None, DocumentId.from_tagged(hold.campaign_id).value):
                held[hold.currency] += hold.amount_minor
        return control_totals(check.reads.sums(self._cut, campaign_id), held, self._total)

    def _report(self, integrity: Integrity, totals: list[Totals], waiting: Waiting) -> Report:
        check, run, options, total = self._check, self._run, self._options, self._total
        is_whole = options.campaign_id is None
        report_id = report_id_of(run, options)
        memory = check.break_records.compare(
            total.breaks, CheckMark(report_id=report_id, at=run.record.started_at, is_whole=is_whole)
        )
        sightings = [Sighting(found=one, tracked=memory.tracked[one.break_id]) for one in total.breaks]
        now = check.recorder.clock()
        return Report(
            report_id=report_id,
            kind="full_check" if is_whole else "campaign_check",
            trigger=options.trigger,
            as_of=run.record.started_at,
            started_at=run.record.started_at,
            finished_at=now,
            dry_run=options.dry_run,
            config_fingerprint=check.config_fingerprint,
            completeness=total.completeness,
            totals=totals,
            sightings=sorted(sightings, key=_order),
            repairs={"paid": total.paid, "projected": total.projected},
            carried=memory.carried,
            is_halted=options.is_halted,
            integrity=integrity,
            timezone=check.money.timezone,
            waiting=waiting,
            withheld=withheld_rows(total),
            paid_by_day=check.money.paid_by_day(now, options.campaign_id),
            settled_before_us=check.money.settled_before(options.campaign_id),
            resume_token_age_s=_age_s(check.watched.load(), now),
        )


def report_id_of(run: RunInProgress, options: CheckOptions) -> str:
    """The identity announced, or one of the time and the run."""
    return options.report_id or f"{run.record.started_at:%Y%m%dT%H%M%SZ}-{run.run_id[:8]}"


def _age_s(kept: KeptPosition, now: datetime) -> float | None:
    """How far the kept position lies back; None where none is kept, or where it does not say up to when it was read."""
    reached_at = kept.position.reached_at if kept.position else None
    # By the server's clock, which may be ahead of ours.
    return None if reached_at is None else max(0.0, round((now - reached_at).total_seconds(), 3))


def _where(sequence: int | None) -> str:
    return "" if sequence is None else f"entry {sequence}"


def _mark_of(report: Report) -> CheckMark:
    return CheckMark(report_id=report.report_id, at=report.as_of, is_whole=report.is_whole)


def _order(sighting: Sighting) -> tuple[bool, int, str, str, str]:
    """What a person acknowledged stands apart, behind the rest."""
    found, is_apart = sighting.found, sighting.tracked.status is BreakStatus.ACKNOWLEDGED
    return is_apart, -int(found.severity), found.kind.value, found.campaign_id, found.participation_id
