"""The thread of the watch. One that dies or hangs is replaced, and the daemon goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from jobs.watch.state import WatchReport, WatchState
from jobs.watch.watch import Term, Watch
from reconciler.backoff import Backoff

log = structlog.get_logger(__name__)

STOP_WITHIN_S = 2.0
"""A quiet stream answers within its await time. One that hangs is left behind: it has nothing to finish."""

RESTARTS = Backoff(first_s=1.0, max_s=60.0)
"""Between two replacements in a row: a defect that comes at once must not become a storm."""

SOUND_AFTER_S = 120.0


class _Attempt:
    """One thread with its own watch. Once it is replaced it touches nothing any more, even when it wakes up late."""

    def __init__(self, make: Callable[[Term], Watch], stopping: threading.Event) -> None:
        self.given_up = threading.Event()
        self.woken = threading.Event()
        self._stopping = stopping
        self._watch = make(self)
        self.thread = threading.Thread(target=self._loop, name="watch", daemon=True)

    def is_over(self) -> bool:
        return self.given_up.is_set() or self._stopping.is_set()

    def is_replaced(self) -> bool:
        return self.given_up.is_set()

    def _loop(self) -> None:
        while not self.is_over():
            delay_s = self._watch.step()
            if not self.is_over():
                self.woken.wait(delay_s)
                self.woken.clear()


class WatchThread:
    """Runs beside the daemon's workers. ``make`` makes a watch that asks whether it is over."""

    def __init__(
        self,
        make: Callable[[Term], Watch],
        report: WatchReport,
        *,
        stopping: threading.Event,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._report = report
        self._stopping = stopping
        self._clock_s = clock_s
        self._began_s = 0.0
        self._attempt: _Attempt | None = None
        self._restarts = 0
        self._again_s = 0.0

    def start(self) -> None:
        """Begin to watch, as soon as this daemon leads."""
        self._began_s = self._clock_s()
        self._attempt = _Attempt(self._make, self._stopping)
        self._attempt.thread.start()

    def lead(self) -> None:
        """This daemon leads now: do not wait for the next look."""
        if self._attempt is not None:
            self._attempt.woken.set()

    def look_after(self) -> None:
        """Replace the thread when it died or hangs. To be called every second or so."""
        attempt = self._attempt
        if attempt is None or self._stopping.is_set():
            return
        is_alive = attempt.thread.is_alive()
        if is_alive and not self._report.is_overdue():
            if self._clock_s() - self._began_s > SOUND_AFTER_S:
                self._restarts = 0
            return
        if self._clock_s() < self._again_s:
            return
        self._restarts += 1
        self._again_s = self._clock_s() + RESTARTS.delay_s(self._restarts)
        attempt.given_up.set()
        log.error(
            "the thread of the watch is replaced",
            action="watch_restarted",
            why="it has fallen silent" if is_alive else "it has died by a defect",
        )
        self._report.restarted()
        self._report.become(WatchState.STARTING, "its thread was replaced")
        self._report.beat(SOUND_AFTER_S)
        self.start()

    def stop(self) -> bool:
        """Wait a little for the thread to keep its position and end; ``stopping`` has to be set."""
        attempt = self._attempt
        if attempt is None:
            return True
        attempt.woken.set()
        attempt.thread.join(STOP_WITHIN_S)
        has_ended = not attempt.thread.is_alive()
        why = "the daemon ends" if has_ended else "the daemon ends, and MongoDB does not answer"
        self._report.become(WatchState.STOPPED, why)
        return has_ended
