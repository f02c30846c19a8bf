"""From the ledger's outbox to MongoDB: a chunk at a time, and recorded only when it was read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from reconciler.domain.effects import BlockedEffect, Effect, Obstacle, ProjectionResult, ProjectionTask
from reconciler.errors import DatabaseFailure
from reconciler.ports.ledger_guard import LedgerGuard
from reconciler.ports.ledger_reads import LedgerReads
from reconciler.ports.outbox import Outbox
from reconciler.ports.projection import Projection

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
        """Apply the effects of some entries that were just posted; returns how many are complete."""
        return sum(
            self._apply(self.outbox.of_entries(sequences[start : start + self.chunk_size]))
            for start in range(0, len(sequences), self.chunk_size)
        )

    def drain(self) -> int:
        """Apply the effects of everything whose time has come; returns how many are complete.

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
        """Apply a chunk. Where MongoDB refuses it whole, find out whose effect it refuses: others must not wait."""
        if not tasks:
            return 0
        try:
            self.guard.advance(max(task.sequence for task in tasks))
        except DatabaseFailure as failure:
            # Nothing may be projected then: an older copy of the ledger would look like this one.
            return self._record(tasks, _all_blocked(tasks, Effect.LEDGER_STATE, _refusal(failure)))
        result = self.projection.apply(tasks)
        campaigns = sorted({task.campaign_id for task in tasks})
        try:
            # Before the outbox records it: a process that dies here does it all again, and nothing is forgotten.
            completed = self.projection.complete_campaigns(self.ledger.campaign_totals(campaigns))
        except DatabaseFailure as failure:
            words = _refusal(failure)
            if len(campaigns) > 1:
                middle = campaigns[len(campaigns) // 2]
                return self._apply([task for task in tasks if task.campaign_id < middle]) + self._apply(
                    [task for task in tasks if task.campaign_id >= middle]
                )
            undone = _all_blocked([task for task in tasks if task.sequence in result.done], Effect.CAMPAIGN, words)
            return self._record(tasks, replace(result, done=(), blocked={**result.blocked, **undone.blocked}))
        return self._record(tasks, replace(result, campaigns_completed=completed))

    def _record(self, tasks: Sequence[ProjectionTask], result: ProjectionResult) -> int:
        self.outbox.settle(result)
        self.recorded()
        by_sequence = {task.sequence: task for task in tasks}
        for sequence, blocked in result.blocked.items():
            log.warning(
                "an effect of a payout cannot be applied",
                action="effect_blocked",
                payout_key=by_sequence[sequence].payout_key,
                effect=blocked.effect.value,
                reason=blocked.obstacle.value,
                words=blocked.words,
            )
        return len(result.done)


def _refusal(failure: DatabaseFailure) -> str:
    """Why MongoDB refuses this very work. Raises the failure where it is another one."""
    if not failure.is_answer:
        raise failure
    return failure.reason


def _all_blocked(tasks: Sequence[ProjectionTask], effect: Effect, words: str) -> ProjectionResult:
    blocked = BlockedEffect(effect=effect, obstacle=Obstacle.REFUSED, words=words)
    return ProjectionResult(done=(), blocked={task.sequence: blocked for task in tasks})
