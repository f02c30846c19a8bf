"""The watch's part of the composition root: settings → stream, queue, live settler, thread."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from jobs.payment.live import LiveLimits, LiveSettler
from jobs.payment.settling import Settler
from jobs.process.leading import LeaseKeeper
from jobs.process.measuring import Measuring
from jobs.watch.hints import HintQueue
from jobs.watch.position import PositionKeeping
from jobs.watch.state import WatchReport
from jobs.watch.thread import WatchThread
from jobs.watch.watch import Term, Watch, WatchPace, WatchParts
from reconciler.backoff import Backoff
from reconciler.config import Settings
from reconciler.mongo.change_stream import ChangeStreams, StreamLimits
from reconciler.ports.hints import Key
from reconciler.ports.journal import BatchStamp
from reconciler.ports.watch import Positions
from reconciler.workqueue import WorkQueue

if TYPE_CHECKING:
    from app.parts import Parts

log = structlog.get_logger(__name__)

TRIGGER = "watch"
"""What stands as the trigger of a payment that was made for a hint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveParts:
    """What hints pass through on their way to a payment."""

    queue: WorkQueue[Key]
    hints: HintQueue
    settler: LiveSettler


def live_parts(settings: Settings, settler: Settler, measuring: Measuring, stopping: threading.Event) -> LiveParts:
    """Make queue, hints and settler. Hints are dropped until a daemon takes them."""
    watch = settings.watch
    queue: WorkQueue[Key] = WorkQueue(size_max=watch.queue_max, metrics=measuring.metrics)
    limits = LiveLimits(batch_max=watch.batch_max, campaign_interval_s=watch.campaign_interval_ms / 1000)
    live = LiveSettler(
        queue,
        settler,
        limits=limits,
        measuring=measuring,
        stamp=BatchStamp(run_id=str(uuid.uuid4()), trigger=TRIGGER),
        stopping=stopping,
    )
    measuring.status.ask("queue", live.shown)
    return LiveParts(queue=queue, hints=HintQueue(queue), settler=live)


def source_of(settings: Settings) -> ChangeStreams:
    """Make the source of the stream. It connects when it is first used."""
    watch = settings.watch
    limits = StreamLimits(
        await_max_s=watch.await_s,
        silence_max_s=watch.silence_max_s,
        open_max_s=watch.open_max_s,
        server_wait_max_s=settings.mongodb.wait_max_s,
    )
    return ChangeStreams(settings.mongodb.uri.get_secret_value(), settings.mongodb.database, settings.mapping, limits)


def watch_thread(
    parts: Parts, positions: Positions, keeper: LeaseKeeper, sweep: Callable[[], None]
) -> WatchThread | None:
    """Make the thread that watches, beside the daemon's workers; None when the watch is switched off."""
    settings, watch = parts.settings, parts.settings.watch
    report = WatchReport(metrics=parts.metrics, clock=parts.clock)
    parts.status.ask("stream", report.shown)
    if not watch.enabled:
        log.info("the watch is switched off: sweeps find what is due", action="watch_disabled")
        return None

    def make(term: Term) -> Watch:
        # A source for each thread: one that hangs in a driver keeps its connection to itself.
        watch_parts = WatchParts(
            source=source_of(settings),
            queue=parts.live.queue,
            report=report,
            leading=keeper,
            sweep=sweep,
            pace=WatchPace(
                backoff=Backoff(first_s=watch.retry_s, max_s=max(watch.retry_s, watch.retry_max_s)),
                healthy_s=watch.healthy_s,
                recheck_s=watch.recheck_s,
                stall_s=watch.stall_s,
            ),
            draw=random.SystemRandom().uniform,
        )
        return Watch(watch_parts, PositionKeeping(positions, parts.live.queue, report, interval_s=watch.keep_s), term)

    return WatchThread(make, report, stopping=parts.stopping)


def listen(parts: Parts, keeper: LeaseKeeper, wake_live: Callable[[], None], wake_sweep: Callable[[], None]) -> None:
    """Connect queue and hints with the daemon's workers, and show lease and leader as metrics and status."""

    def on_full() -> None:
        log.warning(
            "too many documents changed at once: all of them become one sweep",
            action="queue_full",
            queue_max=parts.settings.watch.queue_max,
        )
        wake_sweep()

    parts.live.queue.call(on_work=wake_live, on_full=on_full)
    parts.live.hints.deliver_while(lambda: keeper.is_leader)
    parts.sweep.overdue.count_while(lambda: keeper.is_leader)
    parts.metrics.leader.set_function(lambda: float(keeper.is_leader))
    parts.metrics.lease_epoch.set_function(lambda: float(keeper.epoch or 0))
    parts.status.ask("lease", lambda: {"is_leader": keeper.is_leader, "epoch": keeper.epoch})
