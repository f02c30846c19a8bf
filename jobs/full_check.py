"""The full check: every participation against the ledger and its effects; repairs what is safe, names the rest."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from jobs.checking import CheckedPage, PageChecker
from jobs.pools import PoolFreezer
from jobs.projecting import Projector
from jobs.running import Interrupted, RunInProgress, RunRecorder
from jobs.settlement import Settler, retry_holds
from reconciler.domain.break_memory import BreakStatus, CheckMark
from reconciler.domain.breaks import Break, BreakKind, Severity
from reconciler.domain.campaign import CampaignTerms, MalformedCampaign
from reconciler.domain.decision import Policy
from reconciler.domain.ids import DocumentId
from reconciler.domain.settlement import PoolNotDue
from reconciler.domain.stranding import stranded
from reconciler.errors import UsageError
from reconciler.ports import (
    BatchStamp,
    BreakBook,
    Facts,
    Integrity,
    Journal,
    LedgerGuard,
    LedgerReads,
    Outbox,
    PaidTotals,
    Poster,
    Projection,
    Verifier,
)
from reconciler.reports.model import Completeness, Report, Sighting, Totals
from reconciler.reports.writer import ReportDirectory

log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]
"""Told how many participations were checked, and about how many there are."""


class Stopped(Interrupted):
    """The check was asked to end before it was through; nothing is reported."""


def new_report_id(now: datetime) -> str:
    """A report's identity: its time, so that names sort, and enough chance that two never meet."""
    return f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """``campaign_id``: only this campaign (plain identity). ``trigger``: who asked, kept with what is repaired.

    ``report_id``: the report's identity, where it was promised to somebody before.
    """

    trigger: str
    dry_run: bool = False
    campaign_id: str | None = None
    remembers: bool = True
    """False: breaks are compared with those remembered, and not kept. A rehearsal that a person asked for; a check that
    repairs nothing because paying is off or halted does see what is there, and remembers it."""
    report_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullCheck:
    """One check at a time, over everything, in bounded memory: a page of participations after the other."""

    facts: Facts
    ledger: LedgerReads
    journal: Journal
    outbox: Outbox
    projection: Projection
    projector: Projector
    verifier: Verifier
    policy: Policy
    guard: LedgerGuard
    recorder: RunRecorder
    reports: ReportDirectory
    book: BreakBook
    config_fingerprint: str
    page_size: int
    stopping: threading.Event

    def step(self, options: CheckOptions, progress: Progress = lambda _done, _all: None) -> tuple[Report, Path]:
        """Check once, write the report, and answer it with its path.

        Raises Outage, InvariantBroken, Stopped, or UsageError when the report cannot be written; then the newest report
        stays the one before.
        """
        self.reports.require_writable()
        with self.recorder.run("full_check", options.trigger) as run:
            report = self._check(run, options, progress)
            path = self.reports.write(report)
            if options.remembers:
                # After the report: breaks that nobody could read of must not count as known to the next check.
                self.book.record([one.found for one in report.sightings], _mark_of(report))
            run.end(report.verdict, {"report_id": report.report_id, **report.breaks_by_kind()})
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

    def _check(self, run: RunInProgress, options: CheckOptions, progress: Progress) -> Report:
        stamp = BatchStamp(run_id=run.run_id, trigger=options.trigger)
        # An older copy of the ledger would put older facts over newer ones.
        self.guard.check()
        if not options.dry_run:
            self.projector.drain()
        total = _Tally()
        with self._poster(dry_run=options.dry_run) as poster:
            settler = Settler(
                facts=self.facts,
                ledger=self.ledger,
                poster=poster,
                projector=None if options.dry_run else self.projector,
                policy=self.policy,
                guard=self.guard,
            )
            checker = PageChecker(
                facts=self.facts,
                ledger=self.ledger,
                outbox=self.outbox,
                projection=self.projection,
                projector=self.projector,
                settler=settler,
                dry_run=options.dry_run,
            )
            total.breaks += self._freeze_pools(PoolFreezer.beside(settler, self.recorder.clock), stamp)
            # In their order, which the pages below do not have: a budget that grew pays the oldest first.
            total.paid += retry_holds(settler, self.page_size, stamp)
            expected_count = self.facts.count()
            for page in self.facts.pages(self.page_size, options.campaign_id):
                if self.stopping.is_set():
                    raise Stopped
                total.add(checker.check(page, stamp))
                progress(total.completeness.participations, expected_count)
        if options.campaign_id is not None and not total.completeness.participations:
            raise UsageError(f"there is no participation of a campaign {options.campaign_id}")
        total.breaks += self._stranded(total)
        if options.campaign_id is None:
            total.breaks += self._malformed_campaigns()
        integrity = self.verifier.verify()
        total.breaks += [Break(kind=BreakKind(fault.kind), detail=fault.detail) for fault in integrity.faults]
        total.completeness.check()
        return self._report(run, options, total, integrity)

    def _poster(self, *, dry_run: bool) -> AbstractContextManager[Poster]:
        return self.journal.rehearsal() if dry_run else nullcontext(self.journal)

    def _freeze_pools(self, freezer: PoolFreezer, stamp: BatchStamp) -> list[Break]:
        """Freeze what is due as a whole; the breaks say which campaigns cannot be settled, and why."""
        waiting: list[tuple[CampaignTerms, PoolNotDue]] = []
        for page in self.facts.paying_campaigns():
            terms = [campaign for campaign in page if isinstance(campaign, CampaignTerms)]
            waiting += freezer.freeze_due(terms, stamp).waiting
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

    def _stranded(self, total: _Tally) -> list[Break]:
        now = self.recorder.clock()
        accrued = [campaign_id for campaign_id, minor in total.accrued_minor.items() if minor]
        campaigns = self.facts.campaigns(accrued)
        found = (
            stranded(
                terms,
                accrued_minor=total.accrued_minor[campaign_id],
                paid_minor=self.ledger.gross_paid_minor(campaign_id),
                policy=self.policy,
                now=now,
            )
            for campaign_id in accrued
            if isinstance(terms := campaigns.get(campaign_id.tagged), CampaignTerms)
        )
        return [one for one in found if one is not None]

    def _malformed_campaigns(self) -> list[Break]:
        return [
            Break(
                kind=BreakKind.MALFORMED,
                reason="campaign",
                campaign_id=str(campaign.campaign_id),
                detail="; ".join(map(str, campaign.problems)),
            )
            for page in self.facts.paying_campaigns()
            for campaign in page
            if isinstance(campaign, MalformedCampaign)
        ]

    def _report(self, run: RunInProgress, options: CheckOptions, total: _Tally, integrity: Integrity) -> Report:
        now = self.recorder.clock()
        mark = CheckMark(
            report_id=options.report_id or new_report_id(run.record.started_at),
            at=run.record.started_at,
            is_whole=options.campaign_id is None,
        )
        memory = self.book.compare(total.breaks, mark)
        sightings = [Sighting(found=one, standing=memory.standing_of(one)) for one in total.breaks]
        return Report(
            report_id=mark.report_id,
            kind="full_check" if options.campaign_id is None else "campaign_check",
            trigger=options.trigger,
            as_of=run.record.started_at,
            started_at=run.record.started_at,
            finished_at=now,
            dry_run=options.dry_run,
            config_fingerprint=self.config_fingerprint,
            completeness=total.completeness,
            totals=_totals(self.ledger.totals(options.campaign_id), total.unpaid_minor),
            sightings=sorted(sightings, key=_order),
            repairs={"paid": total.paid, "projected": total.projected},
            carried=memory.carried,
            integrity=integrity,
        )


class _Tally:
    """What was found so far. Breaks are kept one by one: they are few, or the least of the problems."""

    def __init__(self) -> None:
        self.completeness = Completeness()
        self.breaks: list[Break] = []
        self.accrued_minor: Counter[DocumentId] = Counter()
        self.unpaid_minor: Counter[str] = Counter()
        self.paid = 0
        self.projected = 0

    def add(self, page: CheckedPage) -> None:
        for part, count in page.parts.items():
            setattr(self.completeness, part, getattr(self.completeness, part) + count)
        self.completeness.participations += page.participations
        self.breaks += page.breaks
        self.accrued_minor.update(page.accrued_minor)
        self.unpaid_minor += page.unpaid_minor
        self.paid += page.paid
        self.projected += page.projected


def _totals(ledger_totals: Sequence[PaidTotals], unpaid_minor: Mapping[str, int]) -> list[Totals]:
    """Control totals a currency. What is held or due and unpaid explains why less was paid than expected."""
    paid = {one.currency: one for one in ledger_totals}
    totals = []
    for currency in sorted({*paid, *unpaid_minor}):
        found = paid.get(currency)
        paid_minor = found.paid_minor if found else 0
        held_minor = found.held_minor if found else 0
        waiting_minor = held_minor + unpaid_minor.get(currency, 0)
        totals.append(
            Totals(
                currency=currency,
                expected_minor=paid_minor + waiting_minor,
                paid_minor=paid_minor,
                held_minor=held_minor,
                reversed_minor=found.reversed_minor if found else 0,
                refunded_minor=0,
                explained_minor=waiting_minor,
                payouts_count=found.payouts_count if found else 0,
            )
        )
    return totals


def _mark_of(report: Report) -> CheckMark:
    return CheckMark(report_id=report.report_id, at=report.as_of, is_whole=report.is_whole)


def _order(sighting: Sighting) -> tuple[bool, int, str, str, str]:
    """What a person acknowledged stands apart, behind the rest."""
    found, is_apart = sighting.found, sighting.standing.status is BreakStatus.ACKNOWLEDGED
    return is_apart, -int(found.severity), found.kind.value, found.campaign_id, found.participation_id


def is_halting(report: Report) -> bool:
    """Whether a report says that paying must stop."""
    return any(one.found.severity is Severity.CRITICAL for one in report.sightings)
