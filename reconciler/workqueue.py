"""The work queue between whoever hints and the worker that settles: what a Kubernetes controller has, for threads.

*Fair*: keys come out in the order in which they went in. *Stingy*: a key that is added many times before somebody takes
it comes out once, and never to two workers at a time; one that is added while it is worked on comes out again
afterwards. *Bounded*: at ``size_max`` waiting keys all of them become one order to look at everything, which whoever
opened the queue carries out; adding never blocks and never drops in silence.

The idea and the names of the seven measurements are those of client-go's workqueue.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from reconciler.backoff import Backoff
from reconciler.metrics import Metrics
from reconciler.ports.facts import Moment

K = TypeVar("K", bound=Hashable)

RETRY = Backoff(first_s=0.005, max_s=60.0)
"""Of one key, whatever becomes of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Generic[K]):
    """A key that was taken, to be given back by ``done``."""

    key: K
    after: Moment | None
    """The latest change that was hinted at: facts older than this do not show it."""
    changed_at: datetime | None
    """The earliest of those changes, for measuring how long it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueNumbers:
    """The queue in numbers, named as client-go names them."""

    depth: int
    adds_count: int
    retries_count: int
    queue_duration_s: float
    """Time that keys waited, summed up."""
    work_duration_s: float
    """Time that keys were worked on, summed up."""
    unfinished_work_s: float
    longest_running_s: float
    delayed: int
    processing: int
    collapses_count: int


@dataclass(slots=True)
class _Waiting:
    """What is known of a key between its adding and its taking."""

    number: int
    """Where it stands in the order of everything that was ever added."""
    since_s: float
    after: Moment | None = None
    changed_at: datetime | None = None

    def merge(self, after: Moment | None, changed_at: datetime | None) -> None:
        if after is not None and (self.after is None or after > self.after):
            self.after = after
        if changed_at is not None and (self.changed_at is None or changed_at < self.changed_at):
            self.changed_at = changed_at


class WorkQueue(Generic[K]):
    """For any number of threads. ``on_work`` is called when there may be work, ``on_full`` for each refused key."""

    def __init__(
        self,
        *,
        size_max: int,
        on_work: Callable[[], None] = lambda: None,
        on_full: Callable[[], None] = lambda: None,
        metrics: Metrics | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size_max = size_max
        self._on_work = on_work
        self._on_full = on_full
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._dirty: dict[K, _Waiting] = {}
        """Added and not taken since; in the order of adding, but for keys that are being worked on."""
        self._processing: dict[K, tuple[float, _Waiting]] = {}
        self._delayed: dict[K, tuple[float, _Waiting]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._failures: Counter[K] = Counter()
        self._numbers: Counter[str] = Counter()
        self._queued_s = 0.0
        self._worked_s = 0.0
        self._is_shut = False
        self._metrics = metrics or Metrics()
        self._metrics.queue_depth.set_function(lambda: self.numbers().depth)
        self._metrics.unfinished_work.set_function(lambda: self.numbers().unfinished_work_s)
        self._metrics.longest_running.set_function(lambda: self.numbers().longest_running_s)

    def call(self, *, on_work: Callable[[], None], on_full: Callable[[], None]) -> None:
        """Set whom to call from now on. Both have to be quick, and must not call the queue."""
        self._on_work, self._on_full = on_work, on_full

    def add(self, key: K, *, after: Moment | None = None, changed_at: datetime | None = None) -> None:
        """Add a key to be looked at soon. Ignored once the queue is shut down."""
        with self._changed:
            is_taken = self._add(key, after, changed_at)
        (self._on_work if is_taken else self._on_full)()

    def add_later(self, key: K, delay_s: float, *, after: Moment | None = None) -> None:
        """Add a key to be looked at later; of two times for one key the earlier one counts."""
        if delay_s <= 0:
            self.add(key, after=after)
            return
        with self._changed:
            is_taken = self._delay(key, delay_s, _Waiting(self._next_number(), self._clock_s(), after))
        (self._on_work if is_taken else self._on_full)()

    def retry(self, work: Work[K]) -> float:
        """Put back what failed, instead of ``done``; returns in how many seconds it comes out again."""
        with self._changed:
            self._failures[work.key] += 1
            self._numbers["retries"] += 1
            self._metrics.queue_retries.inc()
            delay_s = RETRY.delay_s(self._failures[work.key])
            again = _Waiting(self._next_number(), self._clock_s(), work.after, work.changed_at)
            is_taken = self._delay(work.key, delay_s, again)
            self._finish(work.key)
        if not is_taken:
            self._on_full()
        return delay_s

    def failures_count(self, key: K) -> int:
        """How often a key was put back since it was last forgotten."""
        with self._changed:
            return self._failures[key]

    def put_back(self, work: Work[K]) -> None:
        """Give a key back that could not be worked on for a reason that is not its own: it comes out next time."""
        with self._changed:
            self._finish(work.key)
            is_taken = self._add(work.key, work.after, work.changed_at)
        if not is_taken:
            self._on_full()

    def get_batch(self, count_max: int, timeout_s: float = 0.0) -> list[Work[K]]:
        """At most ``count_max`` keys, the longest waiting first; empty when none came in time."""
        until_s = self._clock_s() + timeout_s
        with self._changed:
            while True:
                self._promote()
                batch = self._take(count_max)
                left_s = until_s - self._clock_s()
                if batch or left_s <= 0 or self._is_shut:
                    return batch
                next_s = self._next_in_s()
                self._changed.wait(left_s if next_s is None else min(left_s, next_s))

    def done(self, key: K) -> None:
        """A taken key was worked on: its failures are forgotten, and it comes out again if it was added meanwhile."""
        with self._changed:
            self._failures.pop(key, None)
            self._finish(key)

    def next_in_s(self) -> float | None:
        """In how many seconds there is work: 0 for now, None when nothing waits."""
        with self._changed:
            self._promote()
            if any(key not in self._processing for key in self._dirty):
                return 0.0
            return self._next_in_s()

    def last_number(self) -> int:
        """The number of the last key that was added."""
        with self._changed:
            return self._numbers["numbers"]

    def oldest_unsettled(self) -> int | None:
        """The lowest number of a key that waits or is worked on; None when there is none.

        Keys that failed or were put off do not count: they may take for ever, and sweeps look at them too.
        """
        with self._changed:
            numbers = [waiting.number for waiting in self._dirty.values()]
            numbers += [waiting.number for _, waiting in self._processing.values()]
            return min(numbers, default=None)

    def clear(self) -> None:
        """Forget everything that waits; what is worked on goes on."""
        with self._changed:
            self._forget_waiting()

    def drain(self, deadline_s: float) -> bool:
        """Take nothing more in, and wait until nothing is worked on; False when that takes longer.

        What waits stays: the next start looks at everything.
        """
        until_s = self._clock_s() + deadline_s
        with self._changed:
            self._is_shut = True
            self._changed.notify_all()
            while self._processing:
                left_s = until_s - self._clock_s()
                if left_s <= 0:
                    return False
                self._changed.wait(left_s)
        return True

    def numbers(self) -> QueueNumbers:
        """The measurements, as they are now."""
        with self._changed:
            now_s = self._clock_s()
            running = [now_s - began_s for began_s, _ in self._processing.values()]
            return QueueNumbers(
                depth=len(self._dirty),
                adds_count=self._numbers["adds"],
                retries_count=self._numbers["retries"],
                queue_duration_s=self._queued_s,
                work_duration_s=self._worked_s,
                unfinished_work_s=sum(running),
                longest_running_s=max(running, default=0.0),
                delayed=len(self._delayed),
                processing=len(self._processing),
                collapses_count=self._numbers["collapses"],
            )

    # Everything below is called with the lock held.

    def _add(self, key: K, after: Moment | None, changed_at: datetime | None) -> bool:
        """False when the queue was full, and everything that waited has become one order to sweep."""
        if self._is_shut:
            return True
        self._numbers["adds"] += 1
        self._metrics.queue_adds.inc()
        waiting = self._dirty.get(key)
        if waiting is not None:
            waiting.merge(after, changed_at)
            return True
        if len(self._dirty) >= self._size_max:
            self._collapse()
            return False
        self._dirty[key] = _Waiting(self._next_number(), self._clock_s(), after, changed_at)
        self._changed.notify()
        return True

    def _next_number(self) -> int:
        self._numbers["numbers"] += 1
        return self._numbers["numbers"]

    def _delay(self, key: K, delay_s: float, waiting: _Waiting) -> bool:
        """False as in :meth:`_add`: as many keys as may wait may be put off."""
        if self._is_shut:
            return True
        ready_s = self._clock_s() + delay_s
        found = self._delayed.get(key)
        if found is not None:
            ready_s = min(ready_s, found[0])
            waiting.merge(found[1].after, found[1].changed_at)
        elif len(self._delayed) >= self._size_max:
            self._collapse()
            return False
        self._delayed[key] = ready_s, waiting
        heapq.heappush(self._heap, (ready_s, waiting.number, key))
        self._changed.notify()
        return True

    def _promote(self) -> None:
        """Move what was put off and is ready to where it can be taken."""
        now_s = self._clock_s()
        while self._heap and self._heap[0][0] <= now_s:
            ready_s, _, key = heapq.heappop(self._heap)
            found = self._delayed.get(key)
            # An entry of the heap whose key was put forward, or has gone, stands for nothing.
            if found is None or found[0] != ready_s:
                continue
            waiting = self._delayed.pop(key)[1]
            if key in self._dirty:
                self._dirty[key].merge(waiting.after, waiting.changed_at)
            else:
                waiting.number, waiting.since_s = self._next_number(), now_s
                self._dirty[key] = waiting

    def _next_in_s(self) -> float | None:
        return max(0.0, self._heap[0][0] - self._clock_s()) if self._heap else None

    def _take(self, count_max: int) -> list[Work[K]]:
        now_s = self._clock_s()
        batch: list[Work[K]] = []
        for key, waiting in self._dirty.items():
            if len(batch) >= count_max:
                break
            if key in self._processing:
                continue
            batch.append(Work(key=key, after=waiting.after, changed_at=waiting.changed_at))
        for work in batch:
            waiting = self._dirty.pop(work.key)
            self._processing[work.key] = now_s, waiting
            self._queued_s += now_s - waiting.since_s
            self._metrics.queue_duration.observe(now_s - waiting.since_s)
        return batch

    def _finish(self, key: K) -> None:
        began_s, _ = self._processing.pop(key)
        took_s = self._clock_s() - began_s
        self._worked_s += took_s
        self._metrics.work_duration.observe(took_s)
        self._changed.notify_all()

    def _collapse(self) -> None:
        self._forget_waiting()
        self._numbers["collapses"] += 1
        self._metrics.queue_collapses.inc()

    def _forget_waiting(self) -> None:
        self._dirty.clear()
        self._delayed.clear()
        self._heap.clear()
        self._failures.clear()
