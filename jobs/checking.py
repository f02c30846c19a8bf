"""Checking one page of participations: what each should be, what it is, and which part of the whole it belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jobs.projecting import Projector
from jobs.settlement import Settlement, Settler, facts_of
from reconciler.domain.batch import Outcome
from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.decision import Due, NotDue, Reason, decide
from reconciler.domain.earnings import earnings
from reconciler.domain.effects import ProjectionTask
from reconciler.domain.ids import DocumentId
from reconciler.domain.participation import MalformedParticipation, Participation
from reconciler.ports import BatchStamp, Facts, FactsPage, LedgerReads, Outbox, Projection, SettledFacts

_PART_OF_REASON = {
    Reason.BELOW_TARGET: "not_due",
    Reason.CAMPAIGN_NOT_ACTIVE: "not_due",
    Reason.PARTICIPATION_NOT_ACTIVE: "not_due",
    Reason.FORFEITED: "not_due",
    Reason.REVERSED: "not_due",
    Reason.REJECTED_BY_PERSON: "not_due",
    Reason.SETTLED_BEFORE_US: "settled_before_us",
    Reason.POOL_INCOMPLETE: "held",
    Reason.POOL_SETTLED: "not_due",
    Reason.MALFORMED: "malformed",
    Reason.OVER_BUDGET: "held",
}
"""Every other reason is a disagreement: the participation is ``broken``."""

_BREAK_OF_REASON = {
    Reason.MARKED_PAID_ELSEWHERE: BreakKind.MARKED_PAID_ELSEWHERE,
    Reason.CAMPAIGN_MISSING: BreakKind.CAMPAIGN_MISSING,
    Reason.MALFORMED: BreakKind.MALFORMED,
    Reason.DUPLICATE_PARTICIPATION: BreakKind.DUPLICATE_PARTICIPATION,
    Reason.CURRENCY_CHANGED: BreakKind.DUE_BUT_INELIGIBLE,
}

_PART_OF_OUTCOME = {
    Outcome.REJECTED_BY_PERSON: "not_due",
    Outcome.SETTLED_BEFORE_US: "settled_before_us",
}
"""Decided by a person between the check's reading and the ledger's lock: no disagreement."""

_BREAK_OF_OUTCOME = {
    Outcome.EXISTS_DIFFERENT: BreakKind.EXISTS_DIFFERENT,
    Outcome.DUPLICATE_PARTICIPATION: BreakKind.DUPLICATE_PARTICIPATION,
    Outcome.CURRENCY_CHANGED: BreakKind.DUE_BUT_INELIGIBLE,
    Outcome.OVER_APPROVAL_THRESHOLD: BreakKind.HELD,
    Outcome.OVER_BUDGET: BreakKind.HELD,
}


@dataclass(slots=True, kw_only=True)
class CheckedPage:
    """What one page held. ``parts`` counts each participation under exactly one part of the whole."""

    participations: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    breaks: list[Break] = field(default_factory=list)
    accrued_minor: Counter[DocumentId] = field(default_factory=Counter)
    """Campaign → what participations earned that did not reach their target, in minor units."""
    unpaid_minor: Counter[str] = field(default_factory=Counter)
    """Currency → what is due and stays unpaid without being held, in minor units."""
    paid: int = 0
    projected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PageChecker:
    """Checks pages. What looks due is settled, which reads it again before anything is said or paid."""

    facts: Facts
    ledger: LedgerReads
    outbox: Outbox
    projection: Projection
    projector: Projector
    settler: Settler
    dry_run: bool
    named_wallets: set[str] = field(default_factory=set)
    """Streamers whose wallet was named as negative by this check."""

    def check(self, page: FactsPage, stamp: BatchStamp) -> CheckedPage:
        """Check one page and repair what is safe. Raises Outage or InvariantBroken."""
        checked = CheckedPage(participations=len(page.participations))
        readable = [one for one in page.participations if isinstance(one, Participation)]
        for malformed in page.participations:
            if isinstance(malformed, MalformedParticipation):
                _count_unreadable(checked, malformed)
        decisions, known = self._decide(page, readable)
        due = {one.participation.participation_id: one for one in decisions if isinstance(one, Due)}
        settlement = self.settler.settle(list(due), stamp) if due else Settlement()
        settled_now = self._count_settled(checked, settlement, due)
        paid_before = []
        for decision in decisions:
            if isinstance(decision, NotDue) and decision.reason is Reason.ALREADY_PAID:
                paid_before.append(decision.participation)
            elif isinstance(decision, NotDue) and _keeps_a_share(decision, known):
                _count_unpaid_share(checked, decision, known)
            elif isinstance(decision, NotDue):
                _count_not_due(checked, decision)
                self._count_accrued(checked, decision, page)
        self._check_effects(checked, [*paid_before, *settled_now])
        reversed_ = [
            one.participation for one in decisions if isinstance(one, NotDue) and one.reason is Reason.REVERSED
        ]
        self._name_negative_wallets(checked, [*paid_before, *settled_now, *reversed_])
        return checked

    def _name_negative_wallets(self, checked: CheckedPage, with_payouts: Sequence[Participation]) -> None:
        """One break a wallet, at the first of its streamer's participations that is met."""
        first = {one.streamer_id: one for one in reversed(with_payouts) if one.streamer_id not in self.named_wallets}
        for streamer_id in self.projection.negative_wallets(first):
            self.named_wallets.add(streamer_id)
            checked.breaks.append(
                Break(
                    kind=BreakKind.WALLET_NEGATIVE,
                    reason="below_zero",
                    participation_id=str(first[streamer_id].participation_id),
                    campaign_id=str(first[streamer_id].campaign_id),
                    streamer_id=streamer_id,
                    detail="more was withdrawn or taken back than the wallet held",
                )
            )

    def _count_accrued(self, checked: CheckedPage, decision: NotDue, page: FactsPage) -> None:
        participation = decision.participation
        terms = page.campaigns.get(participation.campaign_id.tagged)
        impressions = participation.impressions
        if decision.reason is not Reason.BELOW_TARGET or not isinstance(terms, CampaignTerms):
            return
        if isinstance(impressions, int) and terms.payment_type is PaymentType.CPM:
            earned = earnings(terms, impressions, self.settler.policy.overdelivery)
            checked.accrued_minor[participation.campaign_id] += earned.gross_minor

    def _decide(self, page: FactsPage, readable: Sequence[Participation]) -> tuple[list[Due | NotDue], SettledFacts]:
        known = self.ledger.settled_facts(
            [one.participation_id.tagged for one in readable],
            [(one.campaign_id.tagged, one.streamer_id) for one in readable],
        )
        return [decide(facts_of(one, page, known), self.settler.policy) for one in readable], known

    def _count_settled(
        self, checked: CheckedPage, settlement: Settlement, due: Mapping[DocumentId, Due]
    ) -> list[Participation]:
        """Count what the settlement made of those that looked due; answers those that are paid now."""
        paid: list[Participation] = []
        again = {one.participation.participation_id: one for one in settlement.not_paid}
        for participation_id, decision in due.items():
            outcome = settlement.outcomes.get(decision.participation.participation_id.tagged)
            if outcome in (Outcome.NEW, Outcome.EXISTS):
                self._count_paid(checked, decision, outcome)
                paid += [] if self.dry_run and outcome is Outcome.NEW else [decision.participation]
            elif outcome in _PART_OF_OUTCOME:
                checked.parts[_PART_OF_OUTCOME[outcome]] += 1
            elif outcome is not None:
                kind = _BREAK_OF_OUTCOME[outcome]
                checked.parts["held" if kind is BreakKind.HELD else "broken"] += 1
                checked.breaks.append(_break_of_due(kind, decision, reason=outcome.value))
            elif participation_id in again:
                _count_not_due(checked, again[decision.participation.participation_id])
            else:
                # It changed, or went away, between the two reads: the next check sees what it is now.
                checked.parts["in_flight"] += 1
        return paid

    def _count_paid(self, checked: CheckedPage, decision: Due, outcome: Outcome) -> None:
        if outcome is Outcome.EXISTS:
            return
        found = _break_of_due(BreakKind.DUE_BUT_UNPAID, decision, repaired=not self.dry_run)
        checked.breaks.append(found)
        if self.dry_run:
            checked.parts["broken"] += 1
            checked.unpaid_minor[decision.terms.currency] += decision.earned.gross_minor
        else:
            checked.paid += 1

    def _check_effects(self, checked: CheckedPage, paid: Sequence[Participation]) -> None:
        """Compare the documents of paid participations with what they were told, and tell stale ones again."""
        ids = [one.participation_id.tagged for one in paid]
        tasks = self.outbox.told(ids)
        stale = self.projection.find_stale(tasks)
        in_order: set[int] = set()
        still_stale: dict[int, str] = dict(stale)
        if stale and not self.dry_run:
            self.outbox.again(list(stale))
            checked.projected += self.projector.project(list(stale))
            told_again = self.outbox.told(ids)
            still_stale = dict(self.projection.find_stale(told_again))
            in_order = {task.sequence for task in told_again} - still_stale.keys()
        by_sequence = {task.sequence: task for task in tasks}
        for sequence, what in stale.items():
            repaired = sequence in in_order
            checked.breaks.append(
                _break_of_task(BreakKind.PROJECTION_STALE, by_sequence[sequence], what, repaired=repaired)
            )
        blocked = self.outbox.blocked(ids)
        for one in blocked:
            detail = f"{one.blocked.effect.value}: {one.blocked.obstacle.value}"
            found = _break_of_task(BreakKind.EFFECT_BLOCKED, one.task, detail, reason=one.blocked.obstacle.value)
            checked.breaks.append(found)
        broken = {str(by_sequence[sequence].participation_id) for sequence in still_stale if sequence in by_sequence}
        broken |= {str(one.task.participation_id) for one in blocked}
        told = {str(task.participation_id) for task in self.outbox.told(ids)}
        for participation in paid:
            shown = str(participation.participation_id)
            part = "broken" if shown in broken else "matched" if shown in told else "in_flight"
            checked.parts[part] += 1


def _count_unreadable(checked: CheckedPage, malformed: MalformedParticipation) -> None:
    checked.parts["malformed"] += 1
    checked.breaks.append(
        Break(
            kind=BreakKind.MALFORMED,
            reason="participation",
            participation_id=malformed.shown_id,
            detail="; ".join(map(str, malformed.problems)),
        )
    )


def _keeps_a_share(decision: NotDue, known: SettledFacts) -> bool:
    """Whether a frozen share waits behind a status that does not pay: only forfeiture makes it void."""
    line = known.pool_lines.get(decision.participation.participation_id.tagged)
    ineligible = (Reason.PARTICIPATION_NOT_ACTIVE, Reason.CAMPAIGN_NOT_ACTIVE)
    return line is not None and not line.is_void and decision.reason in ineligible


def _count_unpaid_share(checked: CheckedPage, decision: NotDue, known: SettledFacts) -> None:
    participation = decision.participation
    line = known.pool_lines[participation.participation_id.tagged]
    checked.parts["broken"] += 1
    checked.breaks.append(
        Break(
            kind=BreakKind.DUE_BUT_INELIGIBLE,
            reason=decision.reason.value,
            participation_id=str(participation.participation_id),
            campaign_id=str(participation.campaign_id),
            streamer_id=participation.streamer_id,
            detail=f"a share of {line.share_minor} minor units in {line.settlement_key} is unpaid: {decision.detail}",
        )
    )


def _count_not_due(checked: CheckedPage, decision: NotDue) -> None:
    checked.parts[_PART_OF_REASON.get(decision.reason, "broken")] += 1
    kind = _BREAK_OF_REASON.get(decision.reason)
    # A malformed campaign is one break, named by itself, and not one for each of its participations.
    if kind is None or (decision.reason is Reason.MALFORMED and decision.problems_in == "campaign"):
        return
    participation = decision.participation
    checked.breaks.append(
        Break(
            kind=kind,
            reason="participation" if kind is BreakKind.MALFORMED else decision.reason.value,
            participation_id=str(participation.participation_id),
            campaign_id=str(participation.campaign_id),
            streamer_id=participation.streamer_id,
            detail=decision.detail or "; ".join(map(str, decision.problems)),
        )
    )


def _break_of_due(kind: BreakKind, decision: Due, *, reason: str = "", repaired: bool = False) -> Break:
    participation = decision.participation
    return Break(
        kind=kind,
        reason=reason or decision.rule.value,
        participation_id=str(participation.participation_id),
        campaign_id=str(participation.campaign_id),
        streamer_id=participation.streamer_id,
        currency=decision.terms.currency,
        expected_minor=decision.earned.gross_minor,
        actual_minor=decision.earned.gross_minor if repaired else 0,
        detail=f"{decision.impressions} of {decision.terms.target_impressions} impressions",
        repaired=repaired,
    )


def _break_of_task(
    kind: BreakKind, task: ProjectionTask, detail: str, *, reason: str = "", repaired: bool = False
) -> Break:
    return Break(
        kind=kind,
        reason=reason,
        participation_id=str(task.participation_id),
        campaign_id=str(task.campaign_id),
        streamer_id=task.streamer_id,
        payout_key=task.payout_key,
        currency=task.currency,
        expected_minor=task.amount_minor,
        actual_minor=task.amount_minor,
        detail=detail,
        repaired=repaired,
    )
