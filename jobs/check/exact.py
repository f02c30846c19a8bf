"""The exact path: participations one by one, what each should be, what it is, and which part of the whole it is.

What the vectors of :mod:`reconciler.comparison.partition` do not clear comes here, read anew and authoritatively:
nothing is reported on what a long scan saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime

from jobs.check.tally import Tally
from jobs.payment.projecting import Projector
from jobs.payment.settling import Settler, SettleResult
from reconciler.domain.batch import Outcome
from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.decision import Decision, Due, NotDue, ParticipationFacts, Reason
from reconciler.domain.ids import DocumentId
from reconciler.domain.judging import (
    Part,
    break_of_effect,
    judge_held,
    judge_malformed,
    judge_not_due,
    judge_outcome,
    judge_unreadable,
)
from reconciler.domain.judging_payouts import breaks_beside_document, breaks_of_rows
from reconciler.domain.participation import MalformedParticipation, Participation
from reconciler.domain.rederivation import PayoutRow
from reconciler.ports.facts import FactsPage
from reconciler.ports.journal import BatchStamp
from reconciler.ports.ledger_reads import SettledFacts
from reconciler.ports.outbox import Outbox
from reconciler.ports.population import PopulationReads
from reconciler.ports.projection import Projection


@dataclass(frozen=True, slots=True, kw_only=True)
class PageChecker:
    """Checks pages. What looks due is settled, which reads it again before anything is said or paid.

    ``must_be_paid``: whether a whole sweep began and ended since a time, or nobody sweeps. Until then,
    who is due is only on the way.
    """

    reads: PopulationReads
    outbox: Outbox
    projection: Projection
    projector: Projector
    settler: Settler
    must_be_paid: Callable[[datetime], bool]
    dry_run: bool
    overdue: Set[str] = frozenset()
    """Tagged participations with an effect that was not projected in time."""

    def check(self, page: FactsPage, stamp: BatchStamp, read_at: datetime, earlier: Mapping[str, datetime]) -> Tally:
        """Check one page and repair what is safe. Raises Outage or InvariantBroken.

        ``read_at``: when this check first read them; ``earlier``: tagged participations that were due at an earlier
        reading already → when that was.
        """
        checked = Tally()
        readable = [one for one in page.participations if isinstance(one, Participation)]
        for malformed in page.participations:
            if isinstance(malformed, MalformedParticipation):
                checked.count(judge_unreadable(malformed))
        decided = self.settler.deciding.decide(page)
        decisions, known = decided.decisions, decided.known
        facts_of = {one.participation.participation_id: one for one in decided.facts}
        due_since = {one.participation_id.tagged: earlier.get(one.participation_id.tagged, read_at) for one in readable}
        due = self._due_by_now(checked, decisions, known, due_since)
        settled = self.settler.settle(list(due), stamp) if due else SettleResult()
        settled_now = self._count_settled(checked, settled, due, facts_of)
        with_payouts: dict[DocumentId, Participation] = {}
        reversed_: dict[str, ParticipationFacts] = {}
        policy = self.settler.deciding.policy
        for decision in decisions:
            participation = decision.participation
            if isinstance(decision, Due):
                continue
            facts = facts_of[participation.participation_id]
            if decision.reason in (Reason.ALREADY_PAID, Reason.REVERSED):
                with_payouts[participation.participation_id] = participation
                if decision.reason is Reason.REVERSED:
                    reversed_[participation.participation_id.tagged] = facts
            else:
                checked.count(judge_not_due(decision, facts, policy))
        with_payouts |= {one.participation_id: one for one in settled_now}
        self._check_payouts(checked, list(with_payouts.values()), reversed_, page)
        return checked

    def _due_by_now(
        self,
        checked: Tally,
        decisions: Sequence[Decision],
        known: SettledFacts,
        due_since: Mapping[str, datetime],
    ) -> dict[DocumentId, Due]:
        """Those due that this check has to pay, since no sweep did; the others wait, or are held already."""
        now: dict[DocumentId, Due] = {}
        due = [one for one in decisions if isinstance(one, Due)]
        # Asked once a time: those of one partition were all read at the same.
        times = {due_since[one.participation.participation_id.tagged] for one in due}
        is_overdue = {since: self.must_be_paid(since) for since in times}
        for decision in due:
            participation_id = decision.participation.participation_id
            since = due_since[participation_id.tagged]
            hold = known.held.get(participation_id.tagged)
            if is_overdue[since]:
                now[participation_id] = decision
            elif hold is not None:
                checked.count(judge_held(decision, hold.reason))
            else:
                checked.waiting[participation_id.tagged] = since
        return now

    def leave_in_flight(self, page: FactsPage, checked: Tally) -> None:
        """Count those who are still due as on their way to a payment; everybody else was counted by :meth:`check`."""
        waiting = [
            one
            for one in page.participations
            if isinstance(one, Participation) and one.participation_id.tagged in checked.waiting
        ]
        for decision in self.settler.deciding.decide(replace(page, participations=waiting)).decisions:
            checked.parts[Part.IN_FLIGHT] += 1
            if isinstance(decision, Due):
                checked.due_minor[decision.terms.currency] += decision.earned.gross_minor
                checked.in_flight_minor[decision.terms.currency] += decision.earned.gross_minor

    def _count_settled(
        self,
        checked: Tally,
        settled: SettleResult,
        due: Mapping[DocumentId, Due],
        facts_of: Mapping[DocumentId, ParticipationFacts],
    ) -> list[Participation]:
        """Count what the settlement made of those that looked due; returns those that are paid now."""
        paid: list[Participation] = []
        again = {one.participation.participation_id: one for one in settled.not_paid}
        for participation_id, decision in due.items():
            outcome = settled.outcomes.get(participation_id.tagged)
            if outcome is not None:
                judged = judge_outcome(decision, outcome, pays=not self.dry_run)
                checked.count(judged)
                if judged.part is None:
                    paid.append(decision.participation)
                    checked.paid += outcome is Outcome.NEW
            elif participation_id in again:
                changed = again[participation_id]
                facts = replace(facts_of[participation_id], participation=changed.participation)
                checked.count(judge_not_due(changed, facts, self.settler.deciding.policy))
            else:
                # It changed, or went away, between the two reads: the next check sees what it is now.
                checked.parts[Part.IN_FLIGHT] += 1
        return paid

    def _check_payouts(
        self,
        checked: Tally,
        paid: Sequence[Participation],
        reversed_: Mapping[str, ParticipationFacts],
        page: FactsPage,
    ) -> None:
        """Compare payouts with their own facts, with documents, and with the effects that documents show."""
        if not paid:
            return
        ids = [one.participation_id.tagged for one in paid]
        rows: dict[str, list[PayoutRow]] = {one: [] for one in ids}
        for row in self.reads.rows_of(ids):
            rows[row.participation_id].append(row)
        found = [one for tagged in ids for one in breaks_of_rows(rows[tagged])]
        found += self._beside_documents(paid, rows, page)
        checked.breaks += found
        shown = {one.participation_id for one in found if one.is_open}
        broken = {one.participation_id.tagged for one in paid if str(one.participation_id) in shown}
        broken |= self._check_effects(checked, ids) | self.overdue
        projected = {task.participation_id.tagged for task in self.outbox.projected(ids)}
        for one in paid:
            tagged = one.participation_id.tagged
            if tagged in broken:
                checked.parts[Part.BROKEN] += 1
            elif one.problems:
                checked.count(judge_malformed(one))
            elif tagged in reversed_:
                taken_back = NotDue(participation=one, reason=Reason.REVERSED)
                checked.count(judge_not_due(taken_back, reversed_[tagged], self.settler.deciding.policy))
            else:
                checked.parts[Part.MATCHED if tagged in projected else Part.IN_FLIGHT] += 1

    def _beside_documents(
        self, paid: Sequence[Participation], rows: Mapping[str, Sequence[PayoutRow]], page: FactsPage
    ) -> list[Break]:
        """What documents say otherwise than payouts. Those of the page may be older than the payout: read again."""
        suspected = [one.participation_id for one in paid if any(_beside(one, rows[one.participation_id.tagged], page))]
        if not suspected:
            return []
        fresh = self.settler.deciding.facts.read(suspected)
        return [
            found
            for one in fresh.participations
            if isinstance(one, Participation)
            for found in _beside(one, rows[one.participation_id.tagged], fresh)
        ]

    def _check_effects(self, checked: Tally, ids: Sequence[str]) -> set[str]:
        """Find effects that documents no longer show, and project them again; returns who stays broken."""
        tasks = self.outbox.projected(ids)
        stale = dict(self.projection.find_stale(tasks))
        if stale:
            # A reversal or a repayment may have come between the two reads: only what is stale twice is stale.
            tasks = self.outbox.projected(ids)
            again = self.projection.find_stale([task for task in tasks if task.sequence in stale])
            stale = {sequence: what for sequence, what in again.items() if sequence in stale}
        still_stale: dict[int, str] = dict(stale)
        in_order: set[int] = set()
        if stale and not self.dry_run:
            self.outbox.again(list(stale))
            self.projector.project(list(stale))
            projected_again = self.outbox.projected(ids)
            still_stale = dict(self.projection.find_stale(projected_again))
            in_order = {task.sequence for task in projected_again} - still_stale.keys()
            checked.projected += len(stale.keys() & in_order)
        by_sequence = {task.sequence: task for task in tasks}
        for sequence, what in stale.items():
            checked.breaks.append(
                break_of_effect(
                    BreakKind.PROJECTION_STALE,
                    by_sequence[sequence],
                    what,
                    reason=what.partition(":")[0],
                    repaired=sequence in in_order,
                )
            )
        blocked = self.outbox.blocked(ids)
        for one in blocked:
            found = break_of_effect(
                BreakKind.EFFECT_BLOCKED, one.task, str(one.blocked), reason=one.blocked.obstacle.value
            )
            checked.breaks.append(found)
        broken = {by_sequence[sequence].participation_id.tagged for sequence in still_stale if sequence in by_sequence}
        return broken | {one.task.participation_id.tagged for one in blocked}


def _beside(participation: Participation, rows: Sequence[PayoutRow], page: FactsPage) -> Iterator[Break]:
    return breaks_beside_document(rows, participation, page.campaigns.get(participation.campaign_id.tagged))
