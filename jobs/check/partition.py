"""Checking one partition: the vectors clear what is plainly in order, and the exact path judges the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from jobs.check.exact import PageChecker
from jobs.check.tally import Tally
from reconciler.comparison.ledger_side import LedgerFrame
from reconciler.comparison.partition import Compared, compare
from reconciler.domain.ids import DocumentId
from reconciler.domain.judging import Part, judge_unreadable
from reconciler.domain.judging_payouts import without_document
from reconciler.ports.effect_states import EffectStates
from reconciler.ports.facts import Facts
from reconciler.ports.journal import BatchStamp
from reconciler.ports.population import PopulationReads
from reconciler.ports.scanning import ScannedPartition


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckBounds:
    """What is checked: ``cut`` is the sequence the sums go up to, ``earlier`` who was due at an earlier check."""

    cut: int
    campaign_id: str | None
    earlier: Mapping[str, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionChecker:
    """``page_size``: participations that are read, judged and repaired together."""

    facts: Facts
    reads: PopulationReads
    states: EffectStates
    pages: PageChecker
    page_size: int

    def check(self, scanned: ScannedPartition, bounds: CheckBounds, stamp: BatchStamp) -> Tally:
        """Check a partition and repair what is safe. Raises Outage or InvariantBroken."""
        # After the documents were read: whoever was paid meanwhile is looked at again, and nobody is taken for unpaid.
        ledger = self.reads.partition(scanned, bounds.campaign_id)
        columns = scanned.columns
        wanted = {one for one, is_plain in zip(columns.campaign_ids, columns.is_plain, strict=True) if is_plain}
        terms = self.facts.campaigns([DocumentId.from_tagged(one) for one in sorted(wanted)])
        compared = compare(columns, ledger, terms, self.pages.settler.deciding.policy, cut=bounds.cut)
        tally = Tally(scanned=scanned.size, expected_minor=compared.expected_minor)
        self._clear(tally, compared)
        unreadable = Tally()
        for malformed in scanned.unreadable:
            unreadable.count(judge_unreadable(malformed))
        tally.add(unreadable)
        self._judge(tally, compared.remarkable, scanned.read_at, bounds, stamp)
        for page in _some(compared.orphans, self.page_size):
            self._name_orphans(tally, page)
        return tally

    def check_waiting(self, waiting: Mapping[str, datetime], stamp: BatchStamp) -> Tally:
        """Those that were left to a sweep, at the end: it came, and they are paid now; or it is still to come."""
        tally = Tally()
        for some in _some(sorted(waiting), self.page_size):
            page = self.facts.read([DocumentId.from_tagged(one) for one in some])
            earliest = min(waiting[one] for one in some)
            checked = self.pages.check(page, stamp, earliest, waiting)
            self.pages.leave_in_flight(page, checked)
            checked.parts[Part.IN_FLIGHT] += len(some) - len(page.participations)
            tally.add(checked)
        return tally

    def judge_alone(self, stamp: BatchStamp) -> Callable[[DocumentId], Tally]:
        """What judges one participation anew by the exact path, as if it had just been met."""

        def judge(participation_id: DocumentId) -> Tally:
            page = self.facts.read([participation_id])
            return self.pages.check(page, stamp, page.facts_at, {})

        return judge

    def check_text_identities(self, bounds: CheckBounds) -> Tally:
        """Payouts of participations whose identity is text: no range of the ledger holds them."""
        tally, after = Tally(), ""
        while tagged := self.reads.text_participations(after, self.page_size, bounds.campaign_id):
            after = tagged[-1]
            rows = self.reads.rows_of(tagged)
            tally.expected_minor.update(LedgerFrame(rows, cut=bounds.cut).expected_minor)
            self._name_orphans(tally, tagged)
        return tally

    def _clear(self, tally: Tally, compared: Compared) -> None:
        """Count what is in order; what other effects say otherwise joins the remarkable ones."""
        paid = compared.paid
        odd_lines = self.states.odd_lines(paid.lines)
        locked = self.states.locked(paid.locks)
        odd = {
            one for one, (key, _, _) in zip(paid.line_participations, paid.lines, strict=True) if key in odd_lines
        } | {one for one, lock in zip(paid.participation_ids, paid.locks, strict=True) if lock in locked}
        compared.remarkable += sorted(odd)
        tally.parts[Part.MATCHED] += len(paid.participation_ids) - len(odd)
        tally.parts[Part.NOT_DUE] += compared.not_due
        tally.parts[Part.SETTLED_BEFORE_US] += compared.settled_before_us
        tally.accrued_minor.update(compared.accrued_minor)
        tally.accrued_count.update(compared.accrued_count)
        tally.accrued_impressions.update(compared.accrued_impressions)

    def _judge(
        self, tally: Tally, tagged: Sequence[str], read_at: datetime, bounds: CheckBounds, stamp: BatchStamp
    ) -> None:
        for some in _some(tagged, self.page_size):
            page = self.facts.read([DocumentId.from_tagged(one) for one in some])
            checked = self.pages.check(page, stamp, read_at, bounds.earlier)
            # It went away, or its campaign moved, between the two reads: the next check sees what it is then.
            checked.parts[Part.IN_FLIGHT] += len(some) - len(page.participations)
            tally.add(checked)

    def _name_orphans(self, tally: Tally, tagged: Sequence[str]) -> None:
        """Name payouts whose participation the scan did not meet, where no such document exists at all."""
        rows = self.reads.rows_of(tagged)
        missing = {one.tagged for one in self.facts.read([DocumentId.from_tagged(one) for one in tagged]).missing}
        for one in sorted(missing):
            tally.breaks += without_document([row for row in rows if row.participation_id == one])


def _some(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (values[start : start + size] for start in range(0, len(values), size))
