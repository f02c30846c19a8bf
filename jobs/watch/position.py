"""Keeping the stream's position: only once every change before it is settled, and never again once it is dropped."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from jobs.watch.state import WatchReport
from reconciler.errors import DatabaseFailure
from reconciler.ports.hints import Key
from reconciler.ports.watch import OpenStream, Position, Positions
from reconciler.workqueue import WorkQueue

log = structlog.get_logger(__name__)

OTHER_STREAM = "other_stream"
"""The reason to drop a position of another pipeline, cluster, database, set of collections, or format."""


class PositionKeeping:
    """Keeps the position of one open stream after another, in one thread. Every method may raise LeaseLost."""

    def __init__(
        self,
        positions: Positions,
        queue: WorkQueue[Key],
        report: WatchReport,
        *,
        interval_s: float,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._positions = positions
        self._queue = queue
        self._report = report
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._must_drop: str | None = None
        self._fingerprint = ""
        self._generation = 0
        self._candidate: tuple[int, Position] | None = None
        self._next_s = 0.0
        self._is_failing = False

    def lose(self, reason: str) -> None:
        """Drop the position before anything else is opened, whatever happens until then."""
        self._must_drop = reason
        self._report.lost(reason)

    def begin(self, fingerprint: str) -> Position | None:
        """Return the position to go on from; None for now. Raises DatabaseFailure: then nothing may be opened yet."""
        if self._must_drop is not None:
            # Durably, and before the stream is opened again: a process that dies here must not find a dead position.
            self._positions.drop(self._must_drop)
            self._must_drop = None
        kept = self._positions.load()
        if kept.position is not None and kept.fingerprint != fingerprint:
            self.lose(OTHER_STREAM)
            return self.begin(fingerprint)
        self._fingerprint, self._generation = fingerprint, kept.generation
        self._candidate, self._next_s = None, 0.0
        return kept.position

    def drop_now(self) -> None:
        """Try to drop at once what is lost; when the ledger is away, :meth:`begin` does it."""
        if self._must_drop is None:
            return
        try:
            self._positions.drop(self._must_drop)
        except DatabaseFailure as failure:
            self._say_failing(failure)
        else:
            self._must_drop = None

    def tick(self, stream: OpenStream, *, at_once: bool = False) -> bool:
        """Keep a position when it is time to. Return False when somebody dropped it meanwhile.

        A place in the stream is written down when every change before it is settled, or was put off after a
        failure: sweeps look at those as well. While the ledger is away the stream goes on, and this is tried again.
        """
        now_s = self._clock_s()
        if now_s < self._next_s and not at_once:
            return True
        self._next_s = now_s + self._interval_s
        last_number, oldest = self._queue.last_number(), self._queue.oldest_unsettled()
        if oldest is None:
            position = stream.position()
            self._candidate = None if position is None else (last_number, position)
        if self._candidate is not None and (oldest is None or oldest > self._candidate[0]):
            if not self._keep(self._candidate[1]):
                return False
            self._candidate = None
        if self._candidate is None and oldest is not None:
            position = stream.position()
            self._candidate = None if position is None else (last_number, position)
        return True

    def _keep(self, position: Position) -> bool:
        try:
            is_kept = self._positions.save(position, self._fingerprint, self._generation)
        except DatabaseFailure as failure:
            self._say_failing(failure)
            return True
        self._is_failing = False
        if is_kept:
            self._report.kept(position)
        return is_kept

    def _say_failing(self, failure: DatabaseFailure) -> None:
        if not self._is_failing:
            log.warning(
                "the stream's position cannot be written down now; the stream goes on without",
                action="stream_position_not_kept",
                reason=str(failure),
            )
        self._is_failing = True
