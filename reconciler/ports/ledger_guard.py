"""Whether this ledger is the one that MongoDB was written from last. ``reconciler.mongo`` implements it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPosition:
    """Which ledger it is, by the identity drawn when it was created, and the sequence of its last entry."""

    ledger_id: str
    sequence: int


class LedgerGuard(Protocol):
    """Knows whether this ledger is the one that MongoDB was written from last, or an older copy of it."""

    def check(self) -> None:
        """Raises InvariantBroken("ledger_behind") when MongoDB has seen a later sequence, or another ledger."""
        ...

    def advance(self, sequence: int) -> None:
        """Write down, before anything else is projected, how far this ledger is."""
        ...
