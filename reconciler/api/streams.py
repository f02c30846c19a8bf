"""How many streams of events are open: each holds a connection for as long as somebody looks."""

from __future__ import annotations

import threading

from reconciler.api.problems import Problem, ProblemKind


class OpenStreams:
    """A count with a limit."""

    def __init__(self, count_max: int) -> None:
        self._lock = threading.Lock()
        self._count_max = count_max
        self._count = 0

    def enter(self) -> None:
        """One more. Raises Problem when there are too many."""
        with self._lock:
            if self._count >= self._count_max:
                raise Problem(ProblemKind.BUSY, "Too many streams are open.", headers={"Retry-After": "5"})
            self._count += 1

    def leave(self) -> None:
        """One less."""
        with self._lock:
            self._count -= 1
