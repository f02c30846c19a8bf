"""From the ledger's outbox to MongoDB: a chunk at a time, and recorded only when it was read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from reconciler.domain.effects import ProjectionTask
from reconciler.errors import DatabaseFailure
from reconciler.ports import LedgerGuard, LedgerReads, Outbox, Projection

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Projector:
    """``chunk_size``: payouts a bulk write. Raises DatabaseFailure; what was not recorded is done again later.

    ``recorded`` is called when something was: there may be news for those who wait for events.
    """

    outbox: Outbox
    projection: Projection
    ledger: LedgerReads
    guard: LedgerGuard
    chunk_size: int
    recorded: Callable[[], None] = lambda: None

    def project(self, sequences: Sequence[int]) -> int:
        """Apply the effects of some entries that were just posted; answers how many are complete."""
        return sum(
            self._apply(self.outbox.of_entries(sequences[start : start + self.chunk_size]))
            for start in range(0, len(sequences), self.chunk_size)
        )

    def drain(self) -> int:
        """Apply the effects of everything whose time has come; answers how many are complete.

        Ends: each task is tried once, even when the time for which a blocked one is put off ends before the rest is
        done.
        """
        projected, tried = 0, set[int]()
        while tasks := [task for task in self.outbox.ready(self.chunk_size) if task.sequence not in tried]:
            tried.update(task.sequence for task in tasks)
            projected += self._apply(tasks)
        # Once a round, not until none is left: one whose wallet cannot be credited would be tried without end.
        self.show_lagging(self.chunk_size)
        return projected

    def show_lagging(self, limit: int) -> None:
        """Show positions that changed without an entry of their own, or whose wallet lost them: once each."""
        lagging = self.outbox.lagging(limit)
        if lagging:
            self.outbox.settle(self.projection.show_positions(lagging))

    def _apply(self, tasks: Sequence[ProjectionTask]) -> int:
        """Apply a chunk. Where MongoDB refuses it, find out whose effect it refuses: others must not wait for it."""
        if not tasks:
            return 0
        try:
            return self._apply_together(tasks)
        except DatabaseFailure as failure:
            if not failure.is_answer:
                raise
            reason = str(failure)
        if len(tasks) == 1:
            log.error(
                "MongoDB refuses an effect of a payout; it is tried again later",
                action="effect_refused",
                payout_key=tasks[0].payout_key,
                reason=reason,
            )
            return 0
        middle = len(tasks) // 2
        return self._apply(tasks[:middle]) + self._apply(tasks[middle:])

    def _apply_together(self, tasks: Sequence[ProjectionTask]) -> int:
        self.guard.advance(max(task.sequence for task in tasks))
        result = self.projection.apply(tasks)
        campaigns = sorted({task.campaign_id for task in tasks})
        # Before the outbox is told: a process that dies here does it all again, and nothing is forgotten.
        completed = self.projection.complete_campaigns(self.ledger.campaign_totals(campaigns))
        self.outbox.settle(replace(result, campaigns_completed=completed))
        self.recorded()
        by_sequence = {task.sequence: task for task in tasks}
        for sequence, blocked in result.blocked.items():
            log.warning(
                "an effect of a payout cannot be applied",
                action="effect_blocked",
                payout_key=by_sequence[sequence].payout_key,
                effect=blocked.effect.value,
                reason=blocked.obstacle.value,
            )
        return len(result.done)
