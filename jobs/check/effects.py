"""Payments that MongoDB should show by now and does not: found by their entries, named, and projected again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from jobs.payment.projecting import Projector
from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.effects import ProjectionTask, TaskKind
from reconciler.domain.ids import plain_id
from reconciler.domain.judging import break_of_effect
from reconciler.ports.outbox import Outbox
from reconciler.ports.population import PopulationReads

PAGE = 1_000


@dataclass(slots=True, kw_only=True)
class LateEffects:
    """What was found. ``participations``: tagged; something of each is still not projected."""

    breaks: list[Break] = field(default_factory=list)
    participations: set[str] = field(default_factory=set)
    projected: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectsChecker:
    """Raises DatabaseFailure. ``within``: how soon after its entry an effect has to be there."""

    outbox: Outbox
    reads: PopulationReads
    projector: Projector
    within: timedelta

    def check(self, campaign_id: str | None, *, dry_run: bool) -> LateEffects:
        """Name and project again what is late, whatever the queue says of it."""
        late, after = LateEffects(), 0
        while tasks := self.outbox.overdue(self.within, after, PAGE):
            after = tasks[-1].sequence
            chosen = [task for task in tasks if campaign_id in (None, task.campaign_id.value)]
            self._project(late, chosen, dry_run=dry_run)
        return late

    def _project(self, late: LateEffects, tasks: Sequence[ProjectionTask], *, dry_run: bool) -> None:
        sequences = [task.sequence for task in tasks]
        pending, blocked = set(sequences), set()
        if tasks and not dry_run:
            self.outbox.again(sequences)
            self.projector.project(sequences)
            pending = {task.sequence for task in self.outbox.of_entries(sequences)}
            of_them = self.outbox.blocked(sorted({task.participation_id.tagged for task in tasks}))
            blocked = {one.task.sequence for one in of_them}
        late.projected += len(sequences) - len(pending)
        for task in tasks:
            if task.sequence in pending:
                late.participations.add(task.participation_id.tagged)
            # One that is blocked now is named by what stands in its way.
            if task.sequence not in blocked:
                detail = f"paid at {task.posted_at:%Y-%m-%d %H:%M:%S} UTC, and MongoDB was not told of it"
                is_projected = task.sequence not in pending
                found = break_of_effect(
                    BreakKind.EFFECT_OVERDUE, task, detail, reason=task.kind.value, repaired=is_projected
                )
                late.breaks.append(found)

    def lagging_wallets(self) -> list[Break]:
        """Positions without an entry of their own that no wallet took for long, as after an adjustment."""
        positions = self.outbox.lagging(PAGE, self.within)
        paid = self.reads.participations_of([one.streamer_id for one in positions])
        return [
            Break(
                kind=BreakKind.EFFECT_OVERDUE,
                reason=f"wallet {one.currency}",
                participation_id=plain_id(paid.get(one.streamer_id, ("", ""))[0]),
                campaign_id=plain_id(paid.get(one.streamer_id, ("", ""))[1]),
                streamer_id=one.streamer_id,
                currency=one.currency,
                expected_minor=one.available_minor + one.held_minor,
                detail=f"the wallet has not taken version {one.version} of its position",
            )
            for one in positions
        ]

    def blocked_releases(self, named: Sequence[Break]) -> list[Break]:
        """Breaks of releases that are blocked: their payout may be projected, so no page named them."""
        known = {one.break_id for one in named}
        found = [
            break_of_effect(BreakKind.EFFECT_BLOCKED, one.task, str(one.blocked), reason=one.blocked.obstacle.value)
            for one in self.outbox.blocked()
            if one.task.kind is TaskKind.HOLD_RELEASE
        ]
        return [one for one in found if one.break_id not in known]
