"""MongoDB's documents that show what the ledger decided. ``reconciler.mongo`` implements it. May raise Outage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from reconciler.domain.effects import ProjectionResult, ProjectionTask, WalletPosition
from reconciler.domain.ids import DocumentId


@dataclass(frozen=True, slots=True, kw_only=True)
class RestedKey:
    """A G-key whose cool-off has ended."""

    key_id: DocumentId
    streamer_id: str
    category: str
    rested_until: datetime


class Projection(Protocol):
    """MongoDB's documents that show what the ledger decided."""

    def apply(self, tasks: Sequence[ProjectionTask]) -> ProjectionResult:
        """Apply all effects of some payouts."""
        ...

    def show_positions(self, positions: Sequence[WalletPosition]) -> ProjectionResult:
        """Bring wallets to positions, beside any payout."""
        ...

    def negative_wallets(self, streamer_ids: Iterable[str]) -> list[str]:
        """Which of some streamers have a withdrawable balance below zero."""
        ...

    def find_stale(self, tasks: Sequence[ProjectionTask]) -> Mapping[int, str]:
        """Sequence → which effects are no longer shown as they were projected, in words."""
        ...

    def complete_campaigns(self, totals: Mapping[DocumentId, tuple[int, str]]) -> list[DocumentId]:
        """Complete those campaigns whose participations are all settled; returns them."""
        ...
