"""What has to be done from time to time beside paying: late effects, rested G-keys, old records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from jobs.projecting import Projector
from reconciler.clock import Clock

log = structlog.get_logger(__name__)

SWEEPS_KEPT_FOR = timedelta(days=30)
"""A sweep a minute is 43,000 rows in that time; full checks are kept for ever."""


class RestingKeys(Protocol):
    """G-keys in cool-off."""

    def release_rested(self, now: datetime) -> int:
        """Make keys available whose cool-off has ended; answers how many."""
        ...


class OldRuns(Protocol):
    """Records of runs."""

    def prune(self, before: datetime) -> int:
        """Forget sweeps that ended before a time; answers how many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HousekeepingResult:
    """What one round did."""

    projected: int
    released: int
    pruned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Housekeeping:
    """One round of everything. Raises Outage or InvariantBroken."""

    projector: Projector
    gkeys: RestingKeys
    runs: OldRuns
    clock: Clock

    def step(self) -> HousekeepingResult:
        """Do what is due; each part is idempotent."""
        now = self.clock()
        result = HousekeepingResult(
            projected=self.projector.drain(),
            released=self.gkeys.release_rested(now),
            pruned=self.runs.prune(now - SWEEPS_KEPT_FOR),
        )
        if result.released:
            log.info("made rested keys available", action="gkeys_released", count=result.released)
        return result
