"""The state of the watch, since when and why: logged at each change, and shown on the status board."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog

from reconciler.clock import Clock
from reconciler.metrics import Metrics
from reconciler.ports.watch import Change, Position
from reconciler.redaction import redact
from reconciler.status import Value

log = structlog.get_logger(__name__)

LAG_MEASURED_EVERY_S = 0.25


class WatchState(StrEnum):
    """What the watch does."""

    STARTING = "starting"
    STREAMING = "streaming"
    BACKING_OFF = "backing_off"
    """The stream failed; it is opened again after a while. Sweeps go on."""
    DEGRADED_POLLING = "degraded_polling"
    """This server or user has no change streams: sweeps only, until that changes."""
    STOPPED = "stopped"
    """Another daemon leads and watches, the watch is switched off, or the daemon ends."""


_IS_TROUBLE = frozenset({WatchState.BACKING_OFF, WatchState.DEGRADED_POLLING})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Now:
    state: WatchState
    since: datetime
    why: str


class WatchReport:
    """The watch's own record of itself. Any thread may read it; those of the watch write."""

    def __init__(self, *, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._now = _Now(state=WatchState.STOPPED, since=clock(), why="not started")
        self._beat_at: datetime | None = None
        self._due_s: float | None = None
        self._lag_s: float | None = None
        self._lag_measured_s = 0.0
        self._kept_at: datetime | None = None
        self._reached_at: datetime | None = None
        self._numbers: Counter[str] = Counter()
        metrics.stream_token_age.set_function(lambda: self.token_age_s() or 0.0)
        metrics.stream_lag.set_function(lambda: self._lag_s or 0.0)
        self._set_gauges(WatchState.STOPPED)

    @property
    def state(self) -> WatchState:
        """What the watch does now."""
        return self._now.state

    def become(self, state: WatchState, why: str, **more: object) -> None:
        """Change the state or its reason. Only a new state is logged."""
        with self._lock:
            is_new = state is not self._now.state
            since = self._clock() if is_new else self._now.since
            self._now = _Now(state=state, since=since, why=redact(why))
            if state is not WatchState.STREAMING:
                self._lag_s = None
        if is_new:
            self._set_gauges(state)
            say = log.warning if state in _IS_TROUBLE else log.info
            say(_SENTENCES[state], action="stream_state", state=state.value, why=why, **more)

    def beat(self, next_within_s: float) -> None:
        """Record that the watch is alive, and will call this again within ``next_within_s`` seconds."""
        self._due_s = time.monotonic() + next_within_s

    def is_overdue(self) -> bool:
        """Whether the watch has been silent for longer than it said."""
        due_s = self._due_s
        return due_s is not None and time.monotonic() > due_s

    def heard(self) -> None:
        """The server has answered."""
        self._beat_at = self._clock()
        self._metrics.stream_heartbeat.set(self._beat_at.timestamp())

    def changed(self, change: Change) -> None:
        """A change came in."""
        self._count("events", change.operation)
        now_s = time.monotonic()
        if now_s - self._lag_measured_s > LAG_MEASURED_EVERY_S:
            self._lag_measured_s = now_s
            self._lag_s = max(0.0, (self._clock() - change.changed_at).total_seconds())

    def unnamed(self, operation: str) -> None:
        """A change of a document whose identity cannot be read came in."""
        self._count("events", operation)
        self._numbers["unnamed"] += 1

    def quiet(self) -> None:
        """There is nothing more to read: the watch is up to date."""
        self._lag_s = 0.0

    def opened(self, reason: str | None) -> None:
        """Record that a stream is open. ``reason``: why it had to be opened again; None for the first time."""
        if reason is not None:
            self._numbers["reopens"] += 1
            self._metrics.stream_reopens.labels(reason).inc()

    def lost(self, reason: str) -> None:
        """The position was lost, and is dropped."""
        self._numbers["positions_lost"] += 1
        self._metrics.stream_history_lost.inc()
        self._reached_at = None
        log.error(
            "the stream's position is lost: it is opened anew from now on, and a sweep looks at everything",
            action="stream_position_lost",
            reason=reason,
        )

    def kept(self, position: Position) -> None:
        """The position was written down."""
        self._kept_at, self._reached_at = self._clock(), position.reached_at

    def token_age_s(self) -> float | None:
        """Return the age of the kept position in seconds; None where there is none."""
        reached_at = self._reached_at
        return None if reached_at is None else max(0.0, (self._clock() - reached_at).total_seconds())

    def shown(self) -> Mapping[str, Value]:
        """For the status board."""
        with self._lock:
            now = self._now
        return {
            "state": now.state.value,
            "since": now.since,
            "why": now.why,
            "lag_s": self._lag_s,
            "token_age_s": self.token_age_s(),
            "token_kept_at": self._kept_at,
            "last_heartbeat_at": self._beat_at,
            "events": self._numbers["events"],
            "unnamed_events": self._numbers["unnamed"],
            "reopens": self._numbers["reopens"],
            "positions_lost": self._numbers["positions_lost"],
            "restarts": self._numbers["restarts"],
        }

    def restarted(self) -> None:
        """The watch's thread was replaced."""
        self._numbers["restarts"] += 1

    def _count(self, what: str, operation: str) -> None:
        self._numbers[what] += 1
        self._metrics.stream_events.labels(operation).inc()

    def _set_gauges(self, state: WatchState) -> None:
        for one in WatchState:
            self._metrics.stream_state.labels(one.value).set(one is state)


_SENTENCES = {
    WatchState.STARTING: "opening the stream of changes",
    WatchState.STREAMING: "watching: what changes is looked at as it happens",
    WatchState.BACKING_OFF: "the stream of changes is interrupted; sweeps go on, and it is opened again after a while",
    WatchState.DEGRADED_POLLING: "changes cannot be watched here: sweeps find what is due, at their interval",
    WatchState.STOPPED: "not watching",
}
