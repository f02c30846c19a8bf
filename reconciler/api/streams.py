"""Streams of server-sent events: each holds a connection for as long as somebody looks, so their number is limited."""

from __future__ import annotations

from collections import Counter

from reconciler.api.problems import Problem, ProblemKind

STREAMS_MAX = 200
"""Streams of events at once."""
OF_ONE_MAX = 20
"""Streams of one caller: a few dashboards on a few screens. Who takes all of them takes them from nobody else."""


class OpenStreams:
    """How many are open, and whose. Of the event loop's thread only."""

    def __init__(self, count_max: int, *, of_one_max: int = OF_ONE_MAX) -> None:
        self._count_max = count_max
        self._of_one_max = of_one_max
        self._open: Counter[str] = Counter()

    def enter(self, whose: str) -> None:
        """One more. Raises Problem when there are too many."""
        if self._open[whose] >= self._of_one_max:
            raise Problem(ProblemKind.TOO_MANY, "You have too many streams open.", headers={"Retry-After": "5"})
        if self._open.total() >= self._count_max:
            raise Problem(ProblemKind.BUSY, "Too many streams are open.", headers={"Retry-After": "5"})
        self._open[whose] += 1

    def leave(self, whose: str) -> None:
        """One less."""
        self._open[whose] -= 1
        if not self._open[whose]:
            del self._open[whose]
