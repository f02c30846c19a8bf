"""The daemon: workers, the scheduler that wakes them, and the way all of it ends."""

from __future__ import annotations

import faulthandler
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Protocol

import structlog

from jobs.process.halting import Halt
from jobs.process.leading import LeaseKeeper
from jobs.process.scheduler import Periodic, build_scheduler
from jobs.process.worker import Worker, WorkerSpec
from reconciler.clock import Clock
from reconciler.status import Liveness

log = structlog.get_logger(__name__)

STOP_WITHIN_S = 8.0
"""How long workers may take to reach a transaction's end; the process is gone two seconds later at the latest."""

RESIGN_WITHIN_S = 1.0
"""How long a renewal under way may take then. The lease expires by itself if it takes longer."""

LOOK_EVERY_S = 1.0
"""How often the main thread looks after everything else, by the monotonic clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A worker and what wakes it: an interval in seconds, cron in UTC, or neither: whoever has work for it.

    ``subscribe`` is called with what wakes the worker.
    """

    worker: WorkerSpec
    interval_s: float | None = None
    cron: str | None = None
    subscribe: Callable[[Callable[[], None]], None] | None = None


class Companion(Protocol):
    """A thread that runs beside the workers and looks after its own failures."""

    def start(self) -> None:
        """Begin."""
        ...

    def lead(self) -> None:
        """This daemon leads from now on."""
        ...

    def look_after(self) -> None:
        """Called every second by the main thread; must not block."""
        ...

    def stop(self) -> bool:
        """Wait a little for the end; ``stopping`` is set. False when it is left behind, which loses nothing."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonEnd:
    """How the daemon ended: whether every thread did in time, and whether a worker had a defect.

    ``is_outdated``: the ledger was migrated beyond this program.
    """

    in_time: bool
    by_defect: bool
    is_outdated: bool = False


class Daemon:
    """Runs jobs until it is stopped. Databases may come and go; a broken invariant halts what pays, and only that.

    All jobs are the leader's: without the lease that ``keeper`` holds, their workers do nothing.
    """

    def __init__(
        self, jobs: Sequence[Job], *, stopping: threading.Event, halt: Halt, clock: Clock, keeper: LeaseKeeper
    ) -> None:
        self._stopping = stopping
        self._clock = clock
        self._keeper = keeper
        self._has_defect = False
        self._workers = [
            Worker(
                replace(job.worker, step=keeper.while_leading(job.worker.step)),
                stopping=stopping,
                on_broken=halt.begin,
                on_death=self.end_by_defect,
            )
            for job in jobs
        ]
        self._jobs = list(zip(jobs, self._workers, strict=True))
        self._companions: Sequence[Companion] = ()
        for job, worker in self._jobs:
            if job.subscribe is not None:
                job.subscribe(worker.wake)

    def waker(self, name: str) -> Callable[[], None]:
        """Return what wakes the worker of this name."""
        [wake] = [worker.wake for worker in self._workers if worker.spec.name == name]
        return wake

    def show_life(self, liveness: Liveness) -> None:
        """Register a liveness probe for every thread."""
        for worker in self._workers:
            liveness.watch(worker.spec.name, worker.fault)
        liveness.watch("lease", self._keeper.fault)

    def trouble(self) -> dict[str, str | None]:
        """Worker that pays → the database that keeps it from paying."""
        return {worker.spec.name: worker.trouble() for worker in self._workers if worker.spec.pulse is not None}

    def run(self, companions: Sequence[Companion] = ()) -> DaemonEnd:
        """Run until ``stopping`` is set, or until a worker ends by a defect."""
        self._companions = companions
        for worker in self._workers:
            worker.start()
        for companion in companions:
            companion.start()
        self._keeper.start(on_lead=self._take_over, on_death=self.end_by_defect)
        periodic = [
            Periodic(name=job.worker.name, wake=worker.wake, interval_s=job.interval_s, cron=job.cron)
            for job, worker in self._jobs
            if job.interval_s is not None or job.cron is not None
        ]
        scheduler = build_scheduler(periodic, self._clock)
        scheduler.start()
        log.info("the daemon is running", action="daemon_started", jobs=[job.worker.name for job, _ in self._jobs])
        # In the main thread, which goes by the monotonic clock: the scheduler itself is among what is looked after.
        while not self._stopping.wait(LOOK_EVERY_S):
            self._look_after()
        log.info("stopping", action="daemon_stopping")
        scheduler.shutdown(wait=False)
        until_s = time.monotonic() + STOP_WITHIN_S
        left_behind = [companion for companion in self._companions if not companion.stop()]
        have_ended = self._join(until_s)
        if have_ended:
            self._keeper.stop(RESIGN_WITHIN_S)
        return DaemonEnd(
            in_time=have_ended and not left_behind, by_defect=self._has_defect, is_outdated=self._keeper.is_outdated
        )

    def _take_over(self) -> None:
        """Whoever led before may have left work behind: look at once. What goes by the calendar waits for its hour."""
        for job, worker in self._jobs:
            if job.cron is None:
                worker.wake()
        for companion in self._companions:
            companion.lead()

    def end_by_defect(self) -> None:
        """End because a thread ended by a defect. The supervisor of the process starts it again."""
        self._has_defect = True
        self._stopping.set()

    def _join(self, until_s: float) -> bool:
        stuck = [w.spec.name for w in self._workers if not w.join(max(0.0, until_s - time.monotonic()))]
        if stuck:
            log.error("workers did not end in time and are abandoned", action="daemon_abandons", workers=stuck)
            faulthandler.dump_traceback(file=sys.stderr)
        else:
            log.info("stopped", action="daemon_stopped")
        return not stuck

    def _look_after(self) -> None:
        for job, worker in self._jobs:
            worker.watch_deadline()
            if job.interval_s is not None:
                worker.watch_beginnings(job.interval_s)
        for companion in self._companions:
            companion.look_after()


def stop_on_signals(stopping: threading.Event, end_at_once: Callable[[int], None]) -> None:
    """SIGTERM and SIGINT set ``stopping``; a second one calls ``end_at_once`` with its number.

    SIGHUP is passed over, and said: no terminal that closes and no habit of reloading may end the paying in silence.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            end_at_once(number)
        stopping.set()

    def pass_over(_number: int, _frame: FrameType | None) -> None:
        # A thread of its own: whatever this one was doing may hold the lock of the log.
        threading.Thread(target=_say_passed_over, name="hangup", daemon=True).start()

    signal.signal(signal.SIGHUP, pass_over)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _say_passed_over() -> None:
    log.info("SIGHUP is passed over: settings are read at the start only", action="hangup_passed_over")
