"""What has to be done from time to time beside paying: late effects, rested G-keys, old records."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from jobs.payment.projecting import Projector
from jobs.payment.refunding import Refunds
from jobs.payment.releasing import KeyReleases
from reconciler.clock import Clock
from reconciler.ports.journal import BatchStamp

log = structlog.get_logger(__name__)

SWEEPS_KEPT_FOR = timedelta(days=30)
"""A sweep a minute is 43,000 rows in that time; full checks are kept for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HousekeepingResult:
    """What one round did."""

    earnings_released: int
    refunded: int
    projected: int
    keys_released: int
    pruned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Housekeeping:
    """One round of everything. Raises Outage, Halted or InvariantBroken.

    ``release_due`` moves earnings that were held for their days into wallets and returns how many payouts.
    ``prune_runs`` forgets sweeps that ended before a time and returns how many.
    """

    release_due: Callable[[BatchStamp], int]
    refunds: Refunds
    projector: Projector
    gkeys: KeyReleases
    prune_runs: Callable[[datetime], int]
    clock: Clock

    def step(self, *, moves_money: bool = True) -> HousekeepingResult:
        """Do what is due; each part is idempotent. Without ``moves_money`` nothing is released or refunded."""
        # What is posted here raises the ledger's sequence: an older copy of it would soon look like the newest.
        self.projector.guard.check()
        now = self.clock()
        stamp = BatchStamp(run_id=str(uuid.uuid4()), trigger="housekeeping")
        result = HousekeepingResult(
            earnings_released=self.release_due(stamp) if moves_money else 0,
            refunded=self.refunds.step(stamp) if moves_money else 0,
            projected=self.projector.drain(),
            keys_released=self.gkeys.release_rested(now),
            pruned=self.prune_runs(now - SWEEPS_KEPT_FOR),
        )
        if result.earnings_released:
            log.info("released held earnings", action="earnings_released", count=result.earnings_released)
        if result.keys_released:
            log.info("made rested keys available", action="gkeys_released", count=result.keys_released)
        return result
