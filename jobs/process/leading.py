"""Leading: one daemon's loops run, the others stand by. A thread keeps the lease beside the workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import structlog

from reconciler.errors import ClockOff, DatabaseFailure, NotMigrated
from reconciler.ports.check_runs import CheckLease

log = structlog.get_logger(__name__)

RENEWALS_A_TTL = 3
"""Two renewals may fail before the lease is in danger."""


class HeldLease(CheckLease, Protocol):
    """A lease as its keeper needs it; taking it may raise NotMigrated."""

    def term(self, may_go_on: Callable[[], bool]) -> AbstractContextManager[int]:
        """In the block, this thread works as the holder. Raises LeaseLost where the lease is not held."""
        ...


class LeaseKeeper:
    """Renews the lease every third of its ``ttl_s``, and takes it when it is free.

    Two thirds of the time after the last renewal began it stops leading by its own monotonic clock, whatever the
    database says: another daemon may take over at any moment then. ``on_lead`` is called in the keeper's thread each
    time it begins to lead. ``require_clock`` raises ClockOff
    where this host may not post: then it does not lead.
    """

    def __init__(
        self,
        lease: HeldLease,
        *,
        ttl_s: float,
        stopping: threading.Event,
        clock_s: Callable[[], float] = time.monotonic,
        require_clock: Callable[[], object] = lambda: None,
    ) -> None:
        self._require_clock = require_clock
        self._lease = lease
        self._interval_s = ttl_s / RENEWALS_A_TTL
        self._lead_for_s = ttl_s * (RENEWALS_A_TTL - 1) / RENEWALS_A_TTL
        self._stopping = stopping
        self._clock_s = clock_s
        self._leads_until_s: float | None = None
        self._epoch: int | None = None
        self._said: bool | None = None
        self.is_outdated = False
        """Whether the ledger was migrated beyond this program, which ends then."""
        self._on_lead: Callable[[], None] = lambda: None
        self._on_death: Callable[[], None] = lambda: None
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="lease", daemon=True)

    @property
    def is_leader(self) -> bool:
        """Whether this daemon's loops may run now."""
        until_s = self._leads_until_s
        return until_s is not None and self._clock_s() < until_s

    @property
    def epoch(self) -> int | None:
        """The epoch of the lease when it was last taken or renewed; None while another has it."""
        return self._epoch

    def start(self, *, on_lead: Callable[[], None], on_death: Callable[[], None]) -> None:
        """Try to take the lease at once, so that a daemon that is alone never stands by; then start the thread."""
        self._on_lead, self._on_death = on_lead, on_death
        self.step()
        self._thread.start()

    def fault(self) -> str | None:
        """A probe of liveness."""
        return None if self._thread.is_alive() else "its thread has ended"

    def stop(self, timeout_s: float) -> None:
        """Resign, so that another daemon need not wait. To be called when nothing works any more.

        Where the database does not answer in time, the lease is left to expire by itself.
        """
        self._finished.set()
        self._thread.join(timeout_s)

    def step(self) -> bool:
        """Renew or take the lease, once; returns whether this daemon leads."""
        began_s = self._clock_s()
        reason, has_answer = "not renewed in time", False
        try:
            self._require_clock()
            epoch = self._lease.acquire()
        except ClockOff as off:
            # It would pay nobody. Another daemon, whose clock is right, need not wait for that.
            reason = str(off)
            self._let_go()
        except DatabaseFailure as failure:
            # No proof of loss: what was granted still counts, until its time is over.
            reason = str(failure)
        except NotMigrated as newer:
            self._leads_until_s, self.is_outdated, reason = None, True, str(newer)
        else:
            has_answer = True
            has_begun = epoch != self._epoch or self._said is not True
            self._epoch = epoch
            self._leads_until_s = None if epoch is None else began_s + self._lead_for_s
            if epoch is None:
                reason = "another daemon has it"
            elif has_begun:
                self._say_acquired(epoch)
                self._on_lead()
        if self.is_outdated and not self._stopping.is_set():
            log.error("this program may not pay any more, and ends", action="program_outdated", reason=reason)
            self._stopping.set()
        if not self.is_leader:
            self._say_not_leading(reason, has_answer=has_answer)
        return self.is_leader

    def while_leading(self, step: Callable[[], object]) -> Callable[[], None]:
        """``step``, done only while this daemon leads, and under the fence. It may raise LeaseLost on the way."""

        def guarded() -> None:
            if self.is_leader:
                with self._lease.term(lambda: self.is_leader):
                    step()

        return guarded

    def _say_acquired(self, epoch: int) -> None:
        self._said = True
        log.info("this daemon leads: its loops run", action="lease_acquired", epoch=epoch)

    def _say_not_leading(self, reason: str, *, has_answer: bool) -> None:
        """Once a change. The first time there was nothing to lose."""
        before, self._said = self._said, False
        if before is True:
            log.warning("this daemon does not lead any more and stands by", action="lease_lost", reason=reason)
        elif before is None and not has_answer:
            log.warning("the lease cannot be taken yet: nothing is paid", action="lease_not_taken", reason=reason)
        elif before is None:
            log.info("another daemon leads: this one stands by", action="standing_by", holder=self._holder())

    def _holder(self) -> str | None:
        try:
            return self._lease.holder()
        except DatabaseFailure:
            return None

    def _loop(self) -> None:
        try:
            while not self._stopping.wait(self._interval_s):
                self.step()
            # What is under way ends under the lease too, so it is kept until then. A stand-by takes none any more.
            while self.is_leader and not self._finished.wait(self._interval_s):
                self.step()
        finally:
            # By a defect: nobody would renew any more, and nobody would say so.
            if not self._stopping.is_set():
                self._on_death()
        # Workers end meanwhile. In this thread, so that a database that hangs holds up nobody's exit.
        self._finished.wait()
        self._resign()

    def _let_go(self) -> None:
        """Stand by from now on. What is under way loses the lease, and with it the right to commit."""
        if self._leads_until_s is not None:
            self._resign()
        self._epoch = None

    def _resign(self) -> None:
        was_leader, self._leads_until_s = self.is_leader, None
        try:
            self._lease.resign()
        except DatabaseFailure as failure:
            log.info("the lease is left to expire", action="lease_left", reason=str(failure))
            return
        if was_leader:
            log.info("gave the lease back", action="lease_resigned", epoch=self._epoch)
