"""How long to wait after a failure: pure arithmetic, apart from whoever sleeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_EXPONENT_MAX = 40
"""Beyond it every delay is at its maximum; after a night of failures 2**n would be a number of many digits."""

Draw = Callable[[float, float], float]
"""Returns a number between two others, at random; a test chooses it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """``first_s`` after the first failure, doubled with each, at most ``max_s``."""

    first_s: float
    max_s: float

    def delay_s(self, failures_count: int) -> float:
        """Seconds after so many failures in a row, the last one included."""
        exponent = min(max(failures_count - 1, 0), _EXPONENT_MAX)
        return min(self.first_s * float(2**exponent), self.max_s)

    def jittered_s(self, failures_count: int, draw: Draw) -> float:
        """The same, between half of it and all of it; the first is exact, since a setting names it.

        Many daemons that lost one server must not come back at one moment.
        """
        delay_s = self.delay_s(failures_count)
        return delay_s if failures_count <= 1 else draw(delay_s / 2, delay_s)
