"""What a full check keeps of its work while it runs, and its lease. ``reconciler.ledger`` implements both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from reconciler.domain.breaks import Break


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckKey:
    """What makes two checks the same work: one that was interrupted is continued by the next with the same key."""

    config_fingerprint: str
    campaign_id: str
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DonePartition:
    """A partition that a check is through with: where it ended, and what it found."""

    number: int
    up_to: str
    tally: Mapping[str, Any]
    breaks: Sequence[Break]


class CheckRuns(Protocol):
    """What checks keep of their work while they do it."""

    def close_interrupted(self) -> int:
        """Write into the record of runs which checks ended without saying so; returns how many."""
        ...

    def done(self, key: CheckKey, since: datetime) -> list[DonePartition]:
        """Partitions of an unfinished check of the same kind, if its last one was kept after ``since``."""
        ...

    def keep(self, key: CheckKey, done: DonePartition) -> None:
        """Remember a partition."""
        ...

    def finish(self, waiting: Mapping[str, datetime]) -> None:
        """Forget all partitions; keep who was due and unpaid, and when that was read first."""
        ...

    def waiting(self) -> Mapping[str, datetime]:
        """Who was due and unpaid when the last check looked: tagged participation → when that was read first."""
        ...


class CheckLease(Protocol):
    """A right that one process has at a time, such as that to check."""

    def acquire(self) -> int | None:
        """Take or renew it; returns its epoch, or None while another process has it."""
        ...

    def resign(self) -> None:
        """Give it back."""
        ...

    def holder(self) -> str | None:
        """Who had it last."""
        ...
