"""The record of every sweep and check. ``reconciler.ledger`` implements it. Every method may raise Outage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A sweep or check as it is kept: what it was and how it ended."""

    run_id: str
    kind: str
    trigger: str
    started_at: datetime
    finished_at: datetime | None = None
    outcome: str | None = None
    counts: Mapping[str, object] = field(default_factory=dict)
    error: str | None = None


class Runs(Protocol):
    """The record of every sweep and check."""

    def start(self, run: RunRecord) -> None:
        """Record that a run began."""
        ...

    def beat(self, run_id: str) -> None:
        """Give a sign of life of a run that goes on."""
        ...

    def end_silent(self) -> Sequence[RunRecord]:
        """Mark those as interrupted that have no end and gave no sign of life for long; returns them."""
        ...

    def finish(self, run: RunRecord) -> None:
        """Record how it ended."""
        ...
