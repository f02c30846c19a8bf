"""Full checks that somebody or the calendar asked for: taken from SQL by whoever leads, one at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from jobs.check.lock import CheckRunning
from jobs.check.options import Progress, Stopped
from reconciler.errors import DatabaseFailure, InvariantBroken, LeaseLost, UsageError

log = structlog.get_logger(__name__)

POLL_S = 3.0
"""How soon the leader sees what was asked for at a stand-by. One that is asked itself looks at once."""
PROGRESS_EVERY_S = 1.0

BY_CALENDAR = "calendar"


class Taken(Protocol):
    """A request as the worker needs it."""

    @property
    def report_id(self) -> str:
        """The report that it will be."""
        ...

    @property
    def requested_by(self) -> str:
        """Who asked."""
        ...


class Requests(Protocol):
    """Where requests lie; :class:`reconciler.ledger.operations.check_requests.CheckRequests` is one."""

    def request(self, by: str) -> tuple[Taken, bool]:
        """Ask; returns the open one."""
        ...

    def take(self) -> Taken | None:
        """Begin with the open one."""
        ...

    def put_back(self, report_id: str) -> None:
        """Leave it for later."""
        ...

    def progress(self, report_id: str, done_count: int, expected_count: int) -> None:
        """Say how far it is."""
        ...

    def finish(self, report_id: str, outcome: str, error: str | None = None) -> None:
        """Say how it ended."""
        ...


Check = Callable[[str, Progress], str]
"""(report id, progress) → the verdict. Raises what a full check raises."""


class RequestedChecks:
    """Takes the open request and does it. Two workers may call, the calendar's and the one that looks for requests."""

    def __init__(self, requests: Requests, check: Check) -> None:
        self._requests = requests
        self._check = check
        self._one_at_a_time = threading.Lock()

    def scheduled(self) -> None:
        """The calendar asks: for a check of its own, or it is content with the one that is under way."""
        self._requests.request(BY_CALENDAR)
        self.step()

    def step(self) -> str | None:
        """Do the check that was asked for; returns its verdict, or None when there is none."""
        with self._one_at_a_time:
            taken = self._requests.take()
            return None if taken is None else self._do(taken)

    def _do(self, taken: Taken) -> str | None:
        report_id = taken.report_id
        log.info("a full check begins", action="check_began", report_id=report_id, by=taken.requested_by)
        try:
            verdict = self._check(report_id, self._progress(report_id))
        except Stopped:
            self._requests.put_back(report_id)
            log.info("the check was stopped before it was through", action="check_stopped", report_id=report_id)
            return None
        except (DatabaseFailure, LeaseLost, CheckRunning):
            # Whoever leads next does it, or this daemon when the database is back or the other check has ended.
            self._put_back_if_possible(report_id)
            raise
        except (UsageError, InvariantBroken) as error:
            self._requests.finish(report_id, "failed", str(error))
            raise
        self._requests.finish(report_id, verdict)
        return verdict

    def _put_back_if_possible(self, report_id: str) -> None:
        try:
            self._requests.put_back(report_id)
        except DatabaseFailure:
            log.warning("the request stays begun until the ledger is back", action="check_left", report_id=report_id)

    def _progress(self, report_id: str) -> Progress:
        """Written down every second, for the other processes; this one's status board knows it from the check."""
        written_s = 0.0

        def progress(done_count: int, expected_count: int) -> None:
            nonlocal written_s
            if time.monotonic() - written_s >= PROGRESS_EVERY_S:
                written_s = time.monotonic()
                self._requests.progress(report_id, done_count, expected_count)

        return progress
