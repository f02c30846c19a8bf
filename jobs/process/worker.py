"""A worker: one daemon thread that runs a step whenever it is woken, and never two at once.

APScheduler only wakes it. A job that hangs would otherwise be skipped for ever without a word, and a job that is late
would be dropped; here a wake-up during a run means one more run, and a run beyond its deadline is said aloud.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from reconciler.backoff import Backoff
from reconciler.errors import DatabaseFailure, Defect, Halted, InvariantBroken, LeaseLost, Outage, UsageError
from reconciler.status import Pulse

log = structlog.get_logger(__name__)

RETRY = Backoff(first_s=1.0, max_s=30.0)
"""Of a run that a database did not let through."""

STALL_S = 300.0
"""A run that gets nowhere for so long hangs: every wait for a database ends far sooner, in an answer or an outage."""

OVERDUE_INTERVALS = 3
OVERDUE_SLACK_S = 5.0
"""A machine that was busy or asleep for a moment is no reason for an alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """What a worker does. ``deadline_s``: a run that takes longer is reported as stuck."""

    name: str
    step: Callable[[], object]
    deadline_s: float
    again_in_s: Callable[[], float | None] = lambda: None
    """Asked after each good run: in how many seconds there is work again without anybody waking the worker."""
    pulse: Pulse | None = None
    """Of a worker that pays: beats when a run gets somewhere. None: its runs may be silent for long."""


class Worker:
    """Runs a step until it is stopped.

    Whatever a database did not do is said once and tried again, and so are refusals; where the lease is lost the run is
    over; a broken invariant goes to ``on_broken``; a thread that ends by a defect of ours outside a database calls
    ``on_death``, and Python's excepthook for threads says why.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        stopping: threading.Event,
        on_broken: Callable[[InvariantBroken], None],
        on_death: Callable[[], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self._clock_s = clock_s
        self._stopping = stopping
        self._on_broken = on_broken
        self._on_death = on_death
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=spec.name, daemon=True)
        self._busy_since: float | None = None
        self._failures = 0
        self._waits_out: type[Exception] | None = None
        self._waits_for: DatabaseFailure | None = None
        self._said_stuck = False
        self._said_overdue = False
        self._began_s = clock_s()

    def start(self) -> None:
        """Begin to wait for wake-ups."""
        self._thread.start()

    def wake(self) -> None:
        """Run the step as soon as it is not running."""
        self._woken.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; False when it did not in time."""
        self._woken.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def fault(self) -> str | None:
        """A probe of liveness: whether the thread is gone, or its run hangs."""
        return self._hangs() if self._thread.is_alive() else "its thread has ended"

    def trouble(self) -> str | None:
        """A probe of readiness: which database keeps its runs from being done, without a word that names a host."""
        return None if self._waits_for is None else self._waits_for.in_short

    def _hangs(self) -> str | None:
        """On the monotonic clock: a clock step changes nothing."""
        busy_since, now_s = self._busy_since, self._clock_s()
        if busy_since is None:
            return None
        if now_s - busy_since > self.spec.deadline_s:
            return "a run takes longer than it may"
        pulse = self.spec.pulse
        if pulse is not None and now_s - max(busy_since, pulse.last_s(self._thread.ident)) > STALL_S:
            return f"a run has got nowhere for {STALL_S:.0f} s"
        return None

    def watch_deadline(self) -> None:
        """Say once when a run hangs."""
        fault = self._hangs()
        if fault is not None and not self._said_stuck:
            busy_s = self._clock_s() - (self._busy_since or self._began_s)
            log.error(fault, action="worker_stuck", worker=self.spec.name, busy_s=round(busy_s))
        self._said_stuck = fault is not None

    def watch_beginnings(self, interval_s: float) -> None:
        """Say once when no run began for far too long, and begin one: the scheduler goes by the wall clock.

        A clock that is put back, or a scheduler that hangs, would otherwise stop the sweeps without a word.
        """
        idle_s = 0.0 if self._busy_since is not None else self._clock_s() - self._began_s
        is_overdue = idle_s > OVERDUE_INTERVALS * interval_s + OVERDUE_SLACK_S and not self._failures
        if is_overdue:
            if not self._said_overdue:
                log.error(
                    "no run began for far longer than its interval: was the clock put back? It is begun now",
                    action="job_overdue",
                    worker=self.spec.name,
                    idle_s=round(idle_s),
                    interval_s=interval_s,
                )
            self.wake()
        self._said_overdue = is_overdue

    def run_once(self) -> float | None:
        """One run; returns in how many seconds it has to be tried again, or None when it is done."""
        self._busy_since = self._began_s = self._clock_s()
        try:
            self.spec.step()
        except (DatabaseFailure, UsageError, Halted) as error:
            return self._wait_out(error)
        except LeaseLost as lost:
            # Not an outage: another daemon does the work. The keeper of the lease wakes this one when it leads again.
            log.warning(
                "a transaction was refused, since this daemon does not lead any more",
                action="lease_refused",
                worker=self.spec.name,
                reason=lost.reason,
            )
        except InvariantBroken as broken:
            self._on_broken(broken)
        finally:
            self._busy_since = None
        self._waits_out = self._waits_for = None
        if self._failures:
            log.info("it works again", action="outage_over", worker=self.spec.name, failed_runs=self._failures)
        self._failures = 0
        return self.spec.again_in_s()

    def _wait_out(self, error: DatabaseFailure | UsageError | Halted) -> float:
        """Say it once; what turns into something else meanwhile, a failover into a missing right, is said too."""
        self._waits_for = error if isinstance(error, DatabaseFailure) else None
        if self._waits_out is not type(error):
            self._waits_out = type(error)
            say_waiting(error, worker=self.spec.name)
        self._failures += 1
        return RETRY.delay_s(self._failures)

    def _loop(self) -> None:
        again_in_s: float | None = None
        try:
            while True:
                self._woken.wait(again_in_s)
                self._woken.clear()
                if self._stopping.is_set():
                    return
                again_in_s = self.run_once()
        finally:
            # Reached when stopped, and by a defect. A daemon that lives on without its sweep would be worse than one
            # that ends and is started again.
            if not self._stopping.is_set():
                self._on_death()


def say_waiting(error: DatabaseFailure | UsageError | Halted, **ids: object) -> None:
    """Log that a database or a halt stops a run, which is tried again, and what a person can do."""
    match error:
        case Outage():
            log.warning(
                "a database cannot do its part now; trying again until it can",
                action="outage",
                database=error.database,
                reason=error.reason,
                answered=error.has_answered,
                **ids,
            )
        case Defect():
            log.error(
                "a database does not take what was asked of it: a defect. It is tried again",
                action="database_defect",
                database=error.database,
                reason=error.reason,
                **ids,
            )
        case _:
            log.error("it was refused; trying again until it is not", action="run_refused", reason=str(error), **ids)
