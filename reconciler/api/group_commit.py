"""Group commit: what arrives while one group is written is the next group.

Idle, a report is written at once; nothing waits on a timer. Busy, many share one transaction. Each is answered once
its own group is committed by a majority. One thread writes, so that groups never run into each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from reconciler.domain.recording import Outcome, Recorded, RecordingRefusal, RefusedReport, ViewerReport
from reconciler.metrics import Metrics
from reconciler.ports.hints import Hints
from reconciler.ports.recording import Recorder

log = structlog.get_logger(__name__)

STOP_WITHIN_S = 5.0
"""How long a stop waits for what was accepted to be written: the daemon as a whole ends within ten seconds."""


@dataclass(frozen=True, slots=True)
class _Queued:
    report: ViewerReport
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Outcome]


class GroupCommit:
    """Passes reports to a :class:`Recorder` in groups, and hints at participations that may be due."""

    def __init__(
        self,
        recorder: Recorder,
        hints: Hints,
        *,
        group_max: int,
        queue_max: int,
        metrics: Metrics | None = None,
    ) -> None:
        """``metrics``: where reports are counted; None where nobody asks."""
        self._metrics = metrics or Metrics()
        self._recorder = recorder
        self._hints = hints
        self._group_max = group_max
        self._queue_max = queue_max
        self._changed = threading.Condition()
        self._waiting: deque[_Queued] = deque()
        self._closed = True
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Whether reports are taken: False before the start, after the stop, and after a defect."""
        return self._thread is not None and self._thread.is_alive() and not self._closed

    @property
    def depth(self) -> int:
        """How many reports wait for their group."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to take reports."""
        if self._thread is not None:
            raise ValueError("a group commit starts once")
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more reports, and write accepted ones within STOP_WITHIN_S; the rest is refused as unavailable."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(STOP_WITHIN_S)
        self._refuse_waiting()

    async def record(self, report: ViewerReport) -> Outcome:
        """Record a report and return its outcome. Cancelling gives up the outcome, not the recording."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()
        with self._changed:
            if self._closed or len(self._waiting) >= self._queue_max:
                refused = RefusedReport(refusal=RecordingRefusal.UNAVAILABLE if self._closed else RecordingRefusal.BUSY)
                self._count([report], [refused])
                return refused
            self._waiting.append(_Queued(report, loop, answer))
            self._changed.notify()
        return await answer

    def _run(self) -> None:
        ended_well = False
        try:
            while self._step():
                pass
            ended_well = True
        finally:
            # A defect ends the thread, with its traceback; nobody may wait for it for ever.
            if not ended_well:
                with self._changed:
                    self._closed = True
                self._refuse_waiting()

    def _step(self) -> bool:
        """Write one group, when there is one; False when there is nothing left and nothing will come."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._group_max))]
        if not group:
            return False
        outcomes: Sequence[Outcome] = [RefusedReport(refusal=RecordingRefusal.OUTCOME_UNKNOWN)] * len(group)
        reports, began_s = [one.report for one in group], time.monotonic()
        try:
            outcomes = self._recorder.record(reports)
            # After the commit, before the answer, and once a participation. A hint that is lost with the process costs
            # one interval of the sweep.
            hints = {one.participation_id for one in outcomes if isinstance(one, Recorded) and one.needs_check}
            for participation_id in sorted(hints):
                self._hints.participation(participation_id)
        finally:
            # Before the answers: whoever has theirs finds it counted.
            self._metrics.recording_group_size.observe(len(group))
            self._metrics.recording_group_duration.observe(time.monotonic() - began_s)
            self._count(reports, outcomes)
            _answer(group, outcomes)
        return True

    def _count(self, reports: Sequence[ViewerReport], outcomes: Sequence[Outcome]) -> None:
        found = Counter((one.kind, _name_of(outcome)) for one, outcome in zip(reports, outcomes, strict=True))
        for (kind, name), count in found.items():
            self._metrics.recordings.labels(kind.value, name).inc(count)

    def _refuse_waiting(self) -> None:
        with self._changed:
            rest = list(self._waiting)
            self._waiting.clear()
        if rest:
            log.warning("reports were not recorded", action="recording_refused", count=len(rest))
            outcomes = [RefusedReport(refusal=RecordingRefusal.UNAVAILABLE)] * len(rest)
            self._count([one.report for one in rest], outcomes)
            _answer(rest, outcomes)


def _name_of(outcome: Outcome) -> str:
    if isinstance(outcome, RefusedReport):
        return outcome.refusal.value
    return "replayed" if outcome.replayed else "recorded"


def _answer(group: Sequence[_Queued], outcomes: Sequence[Outcome]) -> None:
    """Wake each event loop once for all that it waits for."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Outcome], Outcome]]] = {}
    for one, outcome in zip(group, outcomes, strict=True):
        by_loop.setdefault(one.loop, []).append((one.answer, outcome))
    for loop, answers in by_loop.items():
        # A loop that was closed meanwhile has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: Sequence[tuple[asyncio.Future[Outcome], Outcome]]) -> None:
    for answer, outcome in answers:
        if not answer.done():
            answer.set_result(outcome)
