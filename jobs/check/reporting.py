"""What a check found, made into its report: breaks beside those remembered, totals, and money by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from jobs.check.options import CheckOptions
from jobs.check.tally import Tally
from jobs.check.totals import control_totals
from jobs.check.waiting import MoneyInWaiting, withheld_rows
from jobs.process.running import RunInProgress
from reconciler.clock import Clock
from reconciler.domain.break_memory import CheckMark
from reconciler.domain.breaks import BreakStatus
from reconciler.domain.ids import plain_id
from reconciler.ports.break_records import BreakRecords
from reconciler.ports.integrity import Integrity
from reconciler.ports.watch import KeptPosition
from reconciler.reports.model import Report, Sighting, Totals, Waiting
from reconciler.reports.writer import ReportDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReporting:
    """``watched``: how far the watch has read; it goes on moving while a check looks elsewhere."""

    money: MoneyInWaiting
    breaks: BreakRecords
    directory: ReportDirectory
    watched: Callable[[], KeptPosition]
    clock: Clock
    config_fingerprint: str

    def totals(self, cut: int, campaign_id: str | None, total: Tally) -> list[Totals]:
        """Control totals by two ways, of payouts up to ``cut``. Raises Outage."""
        held: Counter[str] = Counter()
        for hold in self.money.deciding.ledger.open_holds():
            if campaign_id in (None, plain_id(hold.campaign_id)):
                held[hold.currency] += hold.amount_minor
        return control_totals(self.money.reads.sums(cut, campaign_id), held, total)

    def report(
        self, run: RunInProgress, options: CheckOptions, total: Tally, parts: tuple[Integrity, list[Totals], Waiting]
    ) -> Report:
        """The report of a check that is through. Raises Outage, or InvariantBroken when somebody was counted twice."""
        integrity, totals, waiting = parts
        is_whole = options.campaign_id is None
        report_id = options.report_id_of(run)
        mark = CheckMark(report_id=report_id, at=run.record.started_at, is_whole=is_whole)
        memory = self.breaks.compare(total.breaks, mark)
        sightings = [Sighting(found=one, tracked=memory.tracked[one.break_id]) for one in total.breaks]
        now = self.clock()
        return Report(
            report_id=report_id,
            kind="full_check" if is_whole else "campaign_check",
            trigger=options.trigger,
            as_of=run.record.started_at,
            started_at=run.record.started_at,
            finished_at=now,
            dry_run=options.dry_run,
            config_fingerprint=self.config_fingerprint,
            completeness=total.completeness,
            totals=totals,
            sightings=sorted(sightings, key=_order),
            repairs={"paid": total.paid, "projected": total.projected},
            carried=memory.carried,
            is_halted=options.is_halted,
            integrity=integrity,
            timezone=self.money.timezone,
            waiting=waiting,
            withheld=withheld_rows(total),
            paid_by_day=self.money.paid_by_day(now, options.campaign_id),
            settled_before_us=self.money.settled_before(options.campaign_id),
            resume_token_age_s=_age_s(self.watched(), now),
        )

    def remember(self, report: Report) -> None:
        """Remember the breaks of a report that is on disk: a break that nobody could read must not count as known."""
        mark = CheckMark(report_id=report.report_id, at=report.as_of, is_whole=report.is_whole)
        self.breaks.record([one.found for one in report.sightings], mark)


def _age_s(kept: KeptPosition, now: datetime) -> float | None:
    """How far the kept position lies back; None where none is kept, or where it does not say up to when it was read."""
    reached_at = kept.position.reached_at if kept.position else None
    # By the server's clock, which may be ahead of ours.
    return None if reached_at is None else max(0.0, round((now - reached_at).total_seconds(), 3))


def _order(sighting: Sighting) -> tuple[bool, int, str, str, str]:
    """What a person acknowledged stands apart, behind the rest."""
    found, is_apart = sighting.found, sighting.tracked.status is BreakStatus.ACKNOWLEDGED
    return is_apart, -int(found.severity), found.kind.value, found.campaign_id, found.participation_id
