"""Delivering events: from the ledger's queue to endpoints, many at once, each subject in its order.

One worker of its own, so that no endpoint delays a payment. Its thread runs an event loop: requests wait there, and the
queue is read and written between them in the same thread, under the lease's fence.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from reconciler.clock import Clock
from reconciler.domain.deliveries import Answer, Answered, Message, RetryPolicy, Target
from reconciler.metrics import Metrics
from reconciler.ports.deliveries import Attempt, DueDelivery, EndpointBacklog
from reconciler.status import StatusBoard

log = structlog.get_logger(__name__)

STEP_WITHIN_S = 60.0
"""After that a step takes nothing new and ends; it was woken meanwhile, so the next one follows at once."""

LOOK_AGAIN_S = 0.2
"""How often, while requests are under way, the queue and the order to stop are looked at."""

PRUNE_EVERY_S = 3600.0


class Sends(Protocol):
    """Sends one event once."""

    async def send(self, target: Target, message: Message) -> Answered:
        """Never raises for what an endpoint does."""
        ...


class Queue(Protocol):
    """The ledger's deliveries; see :class:`reconciler.ledger.operations.deliveries.Deliveries`."""

    def due(self, endpoint: str, limit: int) -> list[DueDelivery]:
        """What can be sent to an endpoint now, at most one of each subject."""
        ...

    def record(self, attempts: Sequence[Attempt]) -> None:
        """Keep what became of some attempts."""
        ...

    def disable(self, endpoint: str, url: str) -> None:
        """Send nothing there any more."""
        ...

    def disabled(self, urls: Mapping[str, str]) -> dict[str, datetime]:
        """Which of some endpoints (name → URL) are gone."""
        ...

    def backlog(self) -> list[EndpointBacklog]:
        """How far endpoints are behind."""
        ...

    def prune(self, before: datetime, endpoints: Sequence[str]) -> int:
        """Forget what was delivered long ago; returns how many, a bounded number."""
        ...


class Bell:
    """Rung where an event may have been recorded; who subscribed is called, in the thread that rang."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[], None]] = []

    def subscribe(self, wake: Callable[[], None]) -> None:
        """``wake`` must not block."""
        self._subscribers.append(wake)

    def ring(self) -> None:
        """Tell everybody that there may be something."""
        for wake in self._subscribers:
            wake()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLimits:
    """``concurrency_max``: requests at once to one endpoint. ``retention``: how long what was delivered is kept."""

    concurrency_max: int
    retry: RetryPolicy
    retention: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """Where others see how it goes."""

    board: StatusBoard
    metrics: Metrics


@dataclass(slots=True)
class _Round:
    """What is under way in one step."""

    sender: Sends
    active: dict[str, Target]
    requests: dict[asyncio.Task[Answered], DueDelivery] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, endpoint: str) -> set[str]:
        """The subjects that have a request to an endpoint under way."""
        return {one.subject for one in self.requests.values() if one.endpoint == endpoint}


class Delivering:
    """Sends what is due until nothing is. ``chance`` returns a random number in [0, 1)."""

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        queue: Queue,
        open_sender: Callable[[], AbstractAsyncContextManager[Sends]],
        limits: DeliveryLimits,
        gauges: Gauges,
        clock: Clock,
        chance: Callable[[], float],
        stopping: threading.Event,
    ) -> None:
        self._targets = {target.name: target for target in targets}
        self._queue = queue
        self._open_sender = open_sender
        self._limits = limits
        self._gauges = gauges
        self._clock = clock
        self._chance = chance
        self._stopping = stopping
        self._failing: set[str] = set()
        self._prune_at_s = 0.0

    def step(self) -> Mapping[str, int]:
        """Send what is due; returns outcome → attempts. Raises Outage, or LeaseLost when another daemon leads.

        What was sent and could not be recorded is sent again: receivers deduplicate by the event's identity.
        """
        counts = asyncio.run(self._deliver())
        self._show(counts)
        self._prune()
        return counts

    async def _deliver(self) -> Counter[str]:
        urls = {name: target.url for name, target in self._targets.items()}
        gone = self._queue.disabled(urls)
        until_s = time.monotonic() + STEP_WITHIN_S
        async with self._open_sender() as sender:
            going = _Round(sender, {name: one for name, one in self._targets.items() if name not in gone})
            try:
                while not self._stopping.is_set():
                    if time.monotonic() < until_s:
                        self._begin_requests(going)
                    if not going.requests:
                        break
                    await asyncio.wait(going.requests, timeout=LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
                    self._finish_requests(going)
            finally:
                # Told to stop, or an outage: what is under way counts as not sent.
                for request in going.requests:
                    request.cancel()
                await asyncio.gather(*going.requests, return_exceptions=True)
        return going.counts

    def _begin_requests(self, going: _Round) -> None:
        for name, target in going.active.items():
            busy = going.of(name)
            free = self._limits.concurrency_max - len(busy)
            if free <= 0:
                continue
            due = [one for one in self._queue.due(name, free + len(busy)) if one.subject not in busy]
            for one in due[:free]:
                message = Message(event_id=one.event_id, payload=one.payload)
                going.requests[asyncio.create_task(going.sender.send(target, message))] = one

    def _finish_requests(self, going: _Round) -> None:
        """Record all that came back, in one transaction."""
        ended = [request for request in going.requests if request.done()]
        if not ended:
            return
        answers = [(going.requests[request], request.result()) for request in ended]
        self._queue.record([self._attempt(due, answered) for due, answered in answers])
        for request in ended:
            del going.requests[request]
        for due, answered in answers:
            going.counts[answered.answer.value] += 1
            self._gauges.metrics.webhook_deliveries.labels(due.endpoint, answered.answer.value).inc()
            self._say(due, answered)
            if answered.answer is Answer.GONE and due.endpoint in going.active:
                self._queue.disable(due.endpoint, going.active.pop(due.endpoint).url)
                log.error(
                    "an endpoint answered 410 Gone and gets nothing any more",
                    action="webhook_disabled",
                    endpoint=due.endpoint,
                )

    def _attempt(self, due: DueDelivery, answered: Answered) -> Attempt:
        now, attempts = self._clock(), due.attempts + 1
        status, not_before = "delivered", now
        if answered.answer is Answer.GONE:
            # No fault of this event, and not the end of it: it goes out first when a person enables the endpoint.
            status, attempts = "pending", due.attempts
        elif answered.answer is not Answer.DELIVERED:
            wait = self._limits.retry.wait(attempts, self._chance())
            status, not_before = ("dead", now) if wait is None else ("pending", now + wait)
        if status == "dead":
            log.error(
                "an event could not be delivered and is given up until a person replays it",
                action="webhook_dead",
                event_id=due.event_id,
                endpoint=due.endpoint,
                attempts=attempts,
                outcome=answered.answer.value,
            )
        return Attempt(
            event_id=due.event_id,
            endpoint=due.endpoint,
            status=status,
            attempts=attempts,
            outcome=answered.answer.value,
            status_code=answered.status_code,
            not_before=not_before,
        )

    def _say(self, due: DueDelivery, answered: Answered) -> None:
        """Once a change: an endpoint that is down would otherwise fill the log."""
        if answered.answer is Answer.DELIVERED:
            log.debug("delivered an event", action="webhook_delivered", event_id=due.event_id, endpoint=due.endpoint)
            if due.endpoint in self._failing:
                log.info("an endpoint takes events again", action="webhook_endpoint_works", endpoint=due.endpoint)
            self._failing.discard(due.endpoint)
            return
        if due.endpoint not in self._failing:
            log.warning(
                "an endpoint does not take an event; it is tried again later",
                action="webhook_endpoint_fails",
                endpoint=due.endpoint,
                event_id=due.event_id,
                outcome=answered.answer.value,
                status_code=answered.status_code,
            )
        self._failing.add(due.endpoint)

    def _show(self, counts: Mapping[str, int]) -> None:
        now = self._clock()
        backlog = {one.endpoint: one for one in self._queue.backlog()}
        gone = self._queue.disabled({name: target.url for name, target in self._targets.items()})
        for name in self._targets:
            age_s = _age_s(backlog.get(name), now)
            self._gauges.metrics.webhook_oldest_pending_age.labels(name).set(age_s)
            self._gauges.metrics.webhook_dead.labels(name).set(backlog[name].dead if name in backlog else 0)
        values: dict[str, object] = {
            name: {
                "pending": backlog[name].pending if name in backlog else 0,
                "dead": backlog[name].dead if name in backlog else 0,
                "oldest_pending_age_s": _age_s(backlog.get(name), now),
                "disabled_since": gone.get(name),
                "is_failing": name in self._failing,
            }
            for name in self._targets
        }
        self._gauges.board.record("webhooks", endpoints=values, looked_at=now)
        if counts.get(Answer.DELIVERED.value):
            self._gauges.board.record("webhooks", last_delivered_at=now)

    def _prune(self) -> None:
        if time.monotonic() < self._prune_at_s:
            return
        before = self._clock() - self._limits.retention
        pruned = 0
        while not self._stopping.is_set() and (count := self._queue.prune(before, list(self._targets))):
            pruned += count
        self._prune_at_s = time.monotonic() + PRUNE_EVERY_S
        if pruned:
            log.info("forgot events that were delivered long ago", action="events_pruned", count=pruned)


def _age_s(backlog: EndpointBacklog | None, now: datetime) -> float:
    if backlog is None or backlog.oldest_pending_at is None:
        return 0.0
    return max(0.0, (now - backlog.oldest_pending_at).total_seconds())
