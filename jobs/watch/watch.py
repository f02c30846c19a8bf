"""The watch: reads the stream of changes, and puts what changed into the work queue. It decides and pays nothing.

Open the stream → have everything swept → read on, at the start and after every loss. The sweep runs beside the reading:
what matters is that it begins after the stream was opened, so that no change falls between them. Whatever happens to
the stream costs latency only, never more than the interval of sweeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jobs.watch.position import PositionKeeping
from jobs.watch.state import WatchReport, WatchState
from reconciler.backoff import Backoff, Draw
from reconciler.errors import DatabaseFailure, LeaseLost
from reconciler.ports.hints import Key
from reconciler.ports.watch import Change, ChangeSource, FailureKind, OpenStream, Quiet, StreamFailure, Unnamed
from reconciler.workqueue import WorkQueue

STAND_BY_LOOK_S = 1.0
"""How often a stand-by looks whether it leads; it is also woken when it begins to."""

OPEN_TIMEOUT = "open_timeout"
OPEN_TIMEOUTS_MAX = 2
"""A position that cannot be found in time twice is too far back: sweeping is quicker than looking for it."""

RESET = "reset"
"""The reason when a person dropped the position."""

HOW_TO_GET_A_REPLICA_SET = (
    "A standalone MongoDB has no change streams. To be paid at once, make it a replica set of one: start mongod with "
    "--replSet rs0 (in mongod.conf: replication.replSetName: rs0), run rs.initiate() once in mongosh, and take "
    "directConnection out of mongodb.uri. No document is changed by that. The watch looks again by itself."
)
HOW_TO_GET_THE_PRIVILEGE = (
    "The user of mongodb.uri may not watch. Grant it the actions find and changeStream on the database, for example "
    "with the built-in role read. The watch looks again by itself."
)
HOW_TO_BE_UNDERSTOOD = (
    "MongoDB does not take what the watch asks of it. Is the server older than 4.2? The watch looks again by itself."
)
REMEDIES = {
    FailureKind.UNSUPPORTED: HOW_TO_GET_A_REPLICA_SET,
    FailureKind.FORBIDDEN: HOW_TO_GET_THE_PRIVILEGE,
    FailureKind.REFUSED: HOW_TO_BE_UNDERSTOOD,
}


class Leading(Protocol):
    """Whether this daemon's loops may run; :class:`jobs.process.leading.LeaseKeeper` knows."""

    @property
    def is_leader(self) -> bool:
        """Whether they may now."""
        ...

    def while_leading(self, step: Callable[[], object]) -> Callable[[], None]:
        """``step``, done only while they may, and under the fence."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPace:
    """How patient the watch is, in seconds."""

    backoff: Backoff
    healthy_s: float
    """After so long a stream counts as sound, and the next failure as the first one."""
    recheck_s: float
    """Between two looks whether a server without change streams has them now."""
    stall_s: float
    """A watch that says nothing for so long hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchParts:
    """What a watch works with. ``sweep`` asks for a sweep that begins from now on, and does not wait for it."""

    source: ChangeSource
    queue: WorkQueue[Key]
    report: WatchReport
    leading: Leading
    sweep: Callable[[], None]
    pace: WatchPace
    draw: Draw
    clock_s: Callable[[], float] = time.monotonic


class Term(Protocol):
    """How long a thread's watch lasts."""

    def is_over(self) -> bool:
        """Whether the thread has to end."""
        ...

    def is_replaced(self) -> bool:
        """Whether another thread watches instead: then this one must not even say where it was."""
        ...


class Watch:
    """One thread's watch."""

    def __init__(self, parts: WatchParts, keeping: PositionKeeping, term: Term) -> None:
        self._parts = parts
        self._keeping = keeping
        self._report = parts.report
        self._term = term
        self._failures = 0
        self._losses = 0
        self._open_timeouts = 0
        self._opened_s: float | None = None
        self._reopens_after: str | None = None

    def step(self) -> float:
        """One stream, from its opening to its end; returns in how many seconds the next one may be opened."""
        ends: list[StreamFailure] = []

        def watch_once() -> None:
            failure = self._watch_once()
            if failure is not None:
                ends.append(failure)

        self._opened_s = None
        self._beat()
        if not self._parts.leading.is_leader:
            return self._stand_by()
        try:
            self._parts.leading.while_leading(watch_once)()
        except LeaseLost:
            return self._stand_by()
        except DatabaseFailure as failure:
            # Of the ledger: where to go on is not known, and a dead position could not be dropped.
            return self._after(StreamFailure(kind=FailureKind.TRANSIENT, reason="ledger_away", detail=str(failure)))
        return self._after(ends[0]) if ends else 0.0

    def _watch_once(self) -> StreamFailure | None:
        """Raises DatabaseFailure and LeaseLost; the connection is let go of, whatever happens."""
        try:
            opened = self._open()
            failure = opened if isinstance(opened, StreamFailure) else self._go_on(opened)
        finally:
            self._parts.source.close()
        if failure is not None and failure.kind in (FailureKind.POSITION_LOST, FailureKind.COLLECTION_GONE):
            # Still within the lease's term, so under its fence.
            self._keeping.lose(failure.reason)
            self._keeping.drop_now()
        return failure

    def _go_on(self, stream: OpenStream) -> StreamFailure | None:
        self._opened_s = self._parts.clock_s()
        self._report.opened(self._reopens_after)
        self._report.become(WatchState.STREAMING, "the stream is open")
        self._parts.sweep()
        failure = self._read_on(stream)
        if failure is None and not self._term.is_replaced():
            self._keeping.tick(stream, at_once=True)
        return failure

    def _open(self) -> OpenStream | StreamFailure:
        if self._report.state in (WatchState.STOPPED, WatchState.STREAMING):
            self._report.become(WatchState.STARTING, "the stream is being opened")
        fingerprint = self._parts.source.fingerprint()
        if isinstance(fingerprint, StreamFailure):
            return fingerprint
        self._beat()
        position = self._keeping.begin(fingerprint)
        opened = self._parts.source.open(position)
        self._beat()
        is_timeout = isinstance(opened, StreamFailure) and opened.reason == OPEN_TIMEOUT
        self._open_timeouts = self._open_timeouts + 1 if is_timeout and position is not None else 0
        if isinstance(opened, StreamFailure) and self._open_timeouts >= OPEN_TIMEOUTS_MAX:
            self._open_timeouts = 0
            return StreamFailure(kind=FailureKind.POSITION_LOST, reason=OPEN_TIMEOUT, detail=opened.detail)
        return opened

    def _read_on(self, stream: OpenStream) -> StreamFailure | None:
        """Read until the stream fails; None when this thread has to end, or does not lead any more."""
        queue, report = self._parts.queue, self._report
        while not self._term.is_over() and self._parts.leading.is_leader:
            read = stream.read()
            if self._term.is_over():
                return None
            self._beat()
            match read:
                case Change():
                    report.changed(read)
                    queue.add(read.key, after=read.at, changed_at=read.changed_at)
                case Quiet():
                    report.heard()
                    report.quiet()
                case Unnamed():
                    report.unnamed(read.operation)
                case StreamFailure():
                    return read
            if not self._keeping.tick(stream):
                return StreamFailure(
                    kind=FailureKind.POSITION_LOST, reason=RESET, detail="the position was reset by a person"
                )
        return None

    def _after(self, failure: StreamFailure) -> float:
        self._reopens_after = failure.reason
        if self._opened_s is not None and self._parts.clock_s() - self._opened_s >= self._parts.pace.healthy_s:
            self._failures = self._losses = 0
        why = f"{failure.reason}: {failure.detail}"
        if failure.kind in REMEDIES:
            self._report.become(WatchState.DEGRADED_POLLING, why, how=REMEDIES[failure.kind])
            return self._wait_for(self._parts.pace.recheck_s)
        if failure.kind is not FailureKind.TRANSIENT:
            self._losses += 1
            if self._losses == 1:
                # Nothing is left to wait for: the dead position is gone. Only when that happens again and again is
                # there something wrong that time may mend.
                return self._wait_for(0.0)
        self._failures += 1
        delay_s = self._parts.pace.backoff.jittered_s(self._failures, self._parts.draw)
        self._report.become(WatchState.BACKING_OFF, why, again_in_s=round(delay_s, 1))
        return self._wait_for(delay_s)

    def _stand_by(self) -> float:
        if not self._term.is_over():
            self._report.become(WatchState.STOPPED, "another daemon leads, and watches")
        self._reopens_after = None
        return self._wait_for(STAND_BY_LOOK_S)

    def _wait_for(self, delay_s: float) -> float:
        self._report.beat(delay_s + self._parts.pace.stall_s)
        return delay_s

    def _beat(self) -> None:
        self._report.beat(self._parts.pace.stall_s)
