"""Payouts whose effects are still to be projected. ``reconciler.ledger`` implements it. Methods may raise Outage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from reconciler.domain.effects import BlockedEffect, ProjectionResult, ProjectionTask, WalletPosition


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxCounts:
    """How many payouts wait for their effects, and how many cannot have them."""

    pending: int
    blocked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedPayout:
    """A payout with an effect that cannot be applied."""

    task: ProjectionTask
    blocked: BlockedEffect


class Outbox(Protocol):
    """Payouts whose effects MongoDB are still to be projected."""

    def ready(self, limit: int) -> list[ProjectionTask]:
        """The oldest tasks whose time has come."""
        ...

    def of_entries(self, sequences: Sequence[int]) -> list[ProjectionTask]:
        """The tasks of some entries."""
        ...

    def projected(self, participation_ids: Sequence[str]) -> list[ProjectionTask]:
        """Payouts of participations (tagged) all of whose effects were projected."""
        ...

    def blocked(self, participation_ids: Sequence[str] | None = None) -> list[BlockedPayout]:
        """Payouts with an effect that cannot be applied: all, or those of some participations (tagged)."""
        ...

    def again(self, sequences: Sequence[int]) -> None:
        """Put entries back into the queue, since MongoDB no longer shows their effects."""
        ...

    def settle(self, result: ProjectionResult) -> None:
        """Record which effects of a chunk were done and which were blocked."""
        ...

    def overdue(self, within: timedelta, after: int, limit: int) -> list[ProjectionTask]:
        """Entries after sequence ``after`` that should have been projected by now, and are not blocked."""
        ...

    def lagging(self, limit: int, within: timedelta | None = None) -> list[WalletPosition]:
        """Positions that changed without an entry to project, and that no wallet shows yet (``within`` a time)."""
        ...

    def counts(self) -> OutboxCounts:
        """How much is still to be projected."""
        ...
