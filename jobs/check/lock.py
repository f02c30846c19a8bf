"""One full check at a time, in whatever process: a lease that is renewed beside the work."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from reconciler.errors import DatabaseFailure, UsageError
from reconciler.ports.check_runs import CheckLease

log = structlog.get_logger(__name__)


class CheckRunning(UsageError):
    """Another full check runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLock:
    """A process that is killed leaves a lease that expires within ``ttl_s``.

    Nothing rests on it: two checks at once would pay and repair by the same keys and locks as a check and a sweep do.
    """

    lease: CheckLease
    ttl_s: float

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lease for the time of a block. Raises CheckRunning, which names who has it."""
        if self.lease.acquire() is None:
            raise CheckRunning(f"a full check is running already ({self.lease.holder()}); wait for its end, or stop it")
        ended = threading.Event()
        arguments = (self.lease, self.ttl_s / 3, ended)
        renewing = threading.Thread(target=_renew, args=arguments, name="check-lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join(self.ttl_s)
            _resign(self.lease)


def _renew(lease: CheckLease, interval_s: float, ended: threading.Event) -> None:
    while not ended.wait(interval_s):
        try:
            lease.acquire()
        except DatabaseFailure as failure:
            log.info("the lease of checking was not renewed", action="check_lease_late", reason=str(failure))


def _resign(lease: CheckLease) -> None:
    try:
        lease.resign()
    except DatabaseFailure as failure:
        log.info("the lease of checking is left to expire", action="check_lease_left", reason=str(failure))
