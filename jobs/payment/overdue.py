"""Who is due and could not be paid: what a database or a broken rule stands before, by when this process first saw it.

A participation is put down when it was decided to be due, and taken off as soon as anything became of it: paid, held,
or a reason that the full check names. So what stays is what nobody has an answer for yet. It is kept in memory: a new
process, and a daemon that begins to lead, count from their own first look, and the next sweep that runs through looks
at everybody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from reconciler.clock import Clock
from reconciler.domain.ids import DocumentId
from reconciler.status import Value

REMEMBERED_MAX = 100_000
"""Beyond it the newest are not remembered, some 20 MB: people look at the oldest."""


@dataclass(slots=True)
class _Seen:
    first_at: datetime
    round: int


class Overdue:
    """For the sweep's and the watch's threads, and for whoever asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[DocumentId, _Seen] = {}
        self._round = 0
        self._counts: Callable[[], bool] = lambda: True

    def count_while(self, condition: Callable[[], bool]) -> None:
        """Show nobody as long as ``condition`` does not hold: on a stand-by, somebody else pays them."""
        self._counts = condition

    def saw(self, participation_ids: Iterable[DocumentId]) -> None:
        """Some are due, and an attempt to pay them begins."""
        now = self._clock()
        with self._lock:
            for participation_id in participation_ids:
                known = self._seen.get(participation_id)
                if known is not None:
                    known.round = self._round
                elif len(self._seen) < REMEMBERED_MAX:
                    self._seen[participation_id] = _Seen(now, self._round)

    def answered(self, participation_ids: Iterable[DocumentId]) -> None:
        """Some are paid, held, or not due any more, or there is a reason why they are not paid."""
        with self._lock:
            if self._seen:
                for participation_id in participation_ids:
                    self._seen.pop(participation_id, None)

    def begin_round(self) -> None:
        """A look at everybody begins."""
        with self._lock:
            self._round += 1

    def end_round(self) -> None:
        """It ran through: whoever it did not meet is paid by another process, or due no more."""
        with self._lock:
            self._seen = {one: seen for one, seen in self._seen.items() if seen.round >= self._round}

    def oldest_age_s(self) -> float:
        """How long ago the oldest of them was first seen, in seconds; 0 when there is none."""
        return self._standing()[1]

    def shown(self) -> dict[str, Value]:
        """For the status board."""
        count, oldest_age_s = self._standing()
        return {"overdue_count": count, "overdue_oldest_age_s": round(oldest_age_s, 3)}

    def _standing(self) -> tuple[int, float]:
        if not self._counts():
            return 0, 0.0
        with self._lock:
            count, oldest = len(self._seen), min((one.first_at for one in self._seen.values()), default=None)
        return count, 0.0 if oldest is None else max(0.0, (self._clock() - oldest).total_seconds())
