"""Limits on streams of server-sent events: each stream holds a connection for as long as its reader stays."""

from __future__ import annotations

from collections import Counter

from reconciler.api.problems import Problem, ProblemKind

STREAMS_MAX = 200
"""How many streams may be open at once."""
OF_ONE_MAX = 20
"""How many streams one caller may have open: a few dashboards on a few screens. Others keep theirs."""


class OpenStreams:
    """Counts open streams by caller. Only the event loop's thread may use it."""

    def __init__(self, count_max: int, *, of_one_max: int = OF_ONE_MAX) -> None:
        self._count_max = count_max
        self._of_one_max = of_one_max
        self._open: Counter[str] = Counter()

    def enter(self, whose: str) -> None:
        """Count one more stream of a caller. Raises Problem when there are too many."""
        if self._open[whose] >= self._of_one_max:
            raise Problem(ProblemKind.TOO_MANY, "You have too many streams open.", headers={"Retry-After": "5"})
        if self._open.total() >= self._count_max:
            raise Problem(ProblemKind.BUSY, "Too many streams are open.", headers={"Retry-After": "5"})
        self._open[whose] += 1

    def leave(self, whose: str) -> None:
        """Count one stream of a caller less."""
        self._open[whose] -= 1
        if not self._open[whose]:
            del self._open[whose]
