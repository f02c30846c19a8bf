"""The full check: every participation against the ledger and its effects; repairs what is safe, names the rest."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog

from jobs.check.accounts import AccountChecker
from jobs.check.budgets import BudgetChecker
from jobs.check.census import CampaignCensus
from jobs.check.effects import EffectsChecker
from jobs.check.lock import CheckLock
from jobs.check.options import SECTION, CheckOptions, Progress
from jobs.check.population import PopulationChecker, PopulationPass
from jobs.check.reporting import CheckReporting
from jobs.check.tally import Tally
from jobs.check.totals import unexplained
from jobs.process.running import RunInProgress, RunRecorder
from reconciler.domain.breaks import Break, BreakKind
from reconciler.errors import Defect, InvariantBroken, Outage, UsageError
from reconciler.ports.check_runs import CheckRuns
from reconciler.ports.integrity import Integrity
from reconciler.ports.journal import BatchStamp
from reconciler.ports.ledger_guard import LedgerGuard
from reconciler.reports.model import Report
from reconciler.status import StatusBoard

log = structlog.get_logger(__name__)


def new_report_id(now: datetime) -> str:
    """A report's identity: its time, so that names sort, and enough chance that two never meet."""
    return f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FullCheck:
    """One check at a time, over everything: each field is one part of it. ``verify`` proves the ledger from itself."""

    population: PopulationChecker
    census: CampaignCensus
    effects: EffectsChecker
    accounts: AccountChecker
    budgets: BudgetChecker
    verify: Callable[[], Integrity]
    reporting: CheckReporting
    check_runs: CheckRuns
    guard: LedgerGuard
    lock: CheckLock
    recorder: RunRecorder
    status: StatusBoard

    def step(self, options: CheckOptions, progress: Progress = lambda _done, _all: None) -> tuple[Report, Path]:
        """Check once, write the report, and return it with its path.

        Raises Outage, InvariantBroken, Stopped, CheckRunning, or UsageError when the report cannot be written; then the
        newest report stays the one before.
        """
        self.reporting.directory.require_writable()
        with self.lock.held():
            interrupted = self.check_runs.close_interrupted()
            if interrupted:
                log.warning(
                    "an earlier check had ended before it was through", action="check_interrupted", checks=interrupted
                )
            with self.recorder.run("full_check", options.trigger) as run, self._shown(run, options):
                work = _Work(self, run, options, progress)
                report = work.run()
                path = self.reporting.directory.write(report)
                if options.remembers:
                    self.reporting.remember(report)
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
            report_id=options.report_id_of(run),
            done=0,
            expected=self.population.facts.count(),
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
        """Nothing is projected."""


class _Work:
    """One check from its beginning to its report."""

    def __init__(self, check: FullCheck, run: RunInProgress, options: CheckOptions, progress: Progress) -> None:
        self._check = check
        self._run = run
        self._options = options
        self._progress = progress
        self._total = Tally()
        self.waiting: dict[str, datetime] = {}

    def run(self) -> Report:
        check, total = self._check, self._total
        collections = check.population.scan.collections()
        guard = self._look_behind()
        options = self._options
        overdue = self._late_effects(options)
        cut, is_torn = self._population(options, guard, overdue)
        if options.dry_run and options.writes_progress:
            self._progress(total.scanned, total.scanned)
        if options.campaign_id is not None and not total.scanned and not is_torn:
            raise UsageError(f"there is no participation of a campaign {options.campaign_id}")
        check.census.look(total, options.campaign_id)
        total.add(check.accounts.check_wallets(options.campaign_id, dry_run=options.dry_run))
        total.add(check.accounts.check_campaigns(options.campaign_id, dry_run=options.dry_run))
        if options.campaign_id is None:
            total.breaks += check.effects.lagging_wallets() + check.effects.blocked_releases(total.breaks)
        total.breaks += check.budgets.check(options.campaign_id)
        waiting, stranded = check.reporting.money.waiting(total, check.recorder.clock(), options.campaign_id)
        total.breaks += stranded
        integrity = check.verify()
        # Amounts of payouts were named one by one, beside their documents; those of whole settlements were not.
        faults = [one for one in integrity.faults if one.kind != BreakKind.AMOUNT_DIFFERS or one.sequence is None]
        total.breaks += [
            Break(kind=BreakKind(one.kind), reason=_where(one.sequence), detail=one.detail) for one in faults
        ]
        totals = check.reporting.totals(cut, options.campaign_id, total)
        total.breaks += unexplained(totals)
        # Of a collection that was dropped meanwhile everything would be missing, and none of it would be true.
        now = check.population.scan.collections()
        gone = [name for name, identity in collections.items() if now.get(name) != identity]
        if gone:
            reason = f"the collection {gone[0]} went away while it was being checked"
            raise Outage("mongodb", reason, has_answered=True)
        return check.reporting.report(self._run, options, total, (integrity, totals, waiting))

    def _look_behind(self) -> LedgerGuard:
        """An older copy of the ledger would put older facts over newer ones: then the check only names breaks."""
        try:
            self._check.guard.check()
        except InvariantBroken as broken:
            if broken.invariant != BreakKind.LEDGER_BEHIND:
                raise
            self._options = replace(self._options, dry_run=True)
            self._total.breaks.append(Break(kind=BreakKind.LEDGER_BEHIND, detail=broken.detail))
            return _Rehearsed()
        return self._check.guard

    def _late_effects(self, options: CheckOptions) -> frozenset[str]:
        """Name and project what is late, and then what the queue holds; returns the participations that stay late."""
        effects = self._check.effects
        late = effects.check(options.campaign_id, dry_run=options.dry_run)
        self._total.breaks += late.breaks
        self._total.projected += late.projected
        if not options.dry_run:
            effects.projector.drain()
        return frozenset(late.participations)

    def _population(self, options: CheckOptions, guard: LedgerGuard, overdue: frozenset[str]) -> tuple[int, bool]:
        """Check everybody; returns the sequence that sums go up to, and whether a posted row was taken away."""
        stamp = BatchStamp(run_id=self._run.run_id, trigger=options.trigger)
        everybody = PopulationPass(self._check.population, options, stamp, self._progress, self._total)
        is_torn = False
        try:
            everybody.run(guard, overdue)
        except Defect:
            # Where a posted row was taken away, what the rest says is due cannot be posted: that is what to name then.
            if not self._check.verify().faults:
                raise
            is_torn = True
        self.waiting = everybody.waiting
        return everybody.cut, is_torn


def _where(sequence: int | None) -> str:
    return "" if sequence is None else f"entry {sequence}"
