"""Delivering to real endpoints that behave and misbehave: signed, in order, again, and never in anybody's way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from sqlalchemy.engine import Engine
from structlog.testing import capture_logs

from jobs.process.worker import Worker, WorkerSpec
from jobs.webhooks.delivering import Bell, Delivering, DeliveryLimits, Gauges
from reconciler.backoff import Backoff
from reconciler.clock import utc_now
from reconciler.devstack.process import wait_until
from reconciler.domain.deliveries import Answer, Answered, Message, RetryPolicy, Target
from reconciler.domain.events import Event, EventType
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.operations.deliveries import Deliveries, DeliveryFilter, list_deliveries
from reconciler.ledger.operations.events import EventLog
from reconciler.metrics import Metrics
from reconciler.status import StatusBoard
from reconciler.webhooks.sending import ANSWER_BYTES_MAX, Sender
from tests.support.receiver import OTHER_SECRET, SECRET, Received, Receiver, status

ALL = frozenset(EventType)


class MovableClock:
    """The present time, moved on: signatures are refused when they are old."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


class Desk:
    """Events on their way to receivers, and what delivers them."""

    def __init__(self, engine: Engine, targets: list[Target], **limits: Any) -> None:
        self.engine = engine
        self.clock = MovableClock()
        self.log = EventLog(engine, clock=self.clock, subscriptions=dict.fromkeys([one.name for one in targets], ALL))
        self.deliveries = Deliveries(engine, clock=self.clock)
        self.stopping = threading.Event()
        self.gauges = Gauges(board=StatusBoard(), metrics=Metrics())
        self._told = 0
        timeout_s = limits.pop("timeout_s", 30.0)
        given = {"concurrency_max": 4, "attempts_max": 3} | limits
        self.delivering = Delivering(
            targets,
            queue=self.deliveries,
            open_sender=lambda: Sender(timeout_s=timeout_s, connections_max=16, clock=utc_now),
            limits=DeliveryLimits(
                concurrency_max=given["concurrency_max"],
                retry=RetryPolicy(backoff=Backoff(first_s=60, max_s=3600), attempts_max=given["attempts_max"]),
                retention=timedelta(days=30),
            ),
            gauges=self.gauges,
            clock=self.clock,
            chance=lambda: 0.0,
            stopping=self.stopping,
        )

    def tell(self, *subjects: str) -> list[str]:
        events = []
        for subject in subjects:
            self._told += 1
            events.append(
                Event(
                    type=EventType.PARTICIPATION_SETTLED,
                    fact=str(self._told),
                    subject=subject,
                    occurred_at=utc_now(),
                    fields={"n": self._told},
                )
            )
        self.log.expect(events)
        self.log.conclude([event.event_id for event in events], [])
        return [event.event_id for event in events]

    def step(self) -> dict[str, int]:
        return dict(self.delivering.step())

    def states(self, **which: Any) -> list[tuple[str, int, str | None]]:
        found = list_deliveries(self.engine, DeliveryFilter(**which))
        return [(one.status, one.attempts, one.outcome) for one in reversed(found)]


def target(receiver: Receiver, name: str = "billing", *secrets: str) -> Target:
    return Target(name=name, url=receiver.url, secrets=secrets or (SECRET,))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def ledger(sqlite_url: str) -> Iterator[Engine]:
    engine = open_engine(sqlite_url)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def desk(ledger: Engine, receiver: Receiver) -> Desk:
    return Desk(ledger, [target(receiver)])


def test_an_event_arrives_once_and_signed(desk: Desk, receiver: Receiver) -> None:
    [event_id] = desk.tell("p1")

    assert desk.step() == {"delivered": 1}
    assert desk.step() == {}

    [received] = receiver.received
    assert received.is_signed
    assert (received.path, received.event_id) == ("/hooks", event_id)
    assert received.headers["content-type"] == "application/json"
    assert received.payload["type"] == "participation.settled"
    assert received.payload["data"] == {"n": 1}
    assert desk.states() == [("delivered", 1, "delivered")]
    counted = desk.gauges.metrics.registry.get_sample_value(
        "payout_webhook_deliveries_total", {"endpoint": "billing", "outcome": "delivered"}
    )
    assert counted == 1
    [(name, shown)] = desk.gauges.board.snapshot()["webhooks"]["endpoints"].items()  # type: ignore[union-attr]
    assert (name, shown["pending"], shown["is_failing"]) == ("billing", 0, False)  # type: ignore[index]


@pytest.mark.parametrize("secrets", [(OTHER_SECRET, SECRET), (SECRET, OTHER_SECRET)])
def test_while_secrets_rotate_both_verify(ledger: Engine, receiver: Receiver, secrets: tuple[str, ...]) -> None:
    desk = Desk(ledger, [target(receiver, "billing", *secrets)])
    desk.tell("p1")
    desk.step()
    assert [one.is_signed for one in receiver.received] == [True]


def test_another_secret_does_not_verify(ledger: Engine, receiver: Receiver) -> None:
    desk = Desk(ledger, [target(receiver, "billing", OTHER_SECRET)])
    desk.tell("p1")
    desk.step()
    assert [one.is_signed for one in receiver.received] == [False]


def test_what_fails_comes_again_later_under_the_same_identity_and_is_given_up_in_the_end(
    desk: Desk, receiver: Receiver
) -> None:
    receiver.behave = status(500)
    [event_id] = desk.tell("p1")

    with capture_logs() as logs:
        assert desk.step() == {"refused": 1}
        assert desk.step() == {}
        desk.clock.ahead += timedelta(minutes=1)
        assert desk.step() == {"refused": 1}
        desk.clock.ahead += timedelta(minutes=1)
        assert desk.step() == {}
        desk.clock.ahead += timedelta(minutes=1)
        assert desk.step() == {"refused": 1}

    assert [one.event_id for one in receiver.received] == [event_id] * 3
    assert len({one.body for one in receiver.received}) == 1
    assert all(one.is_signed for one in receiver.received)
    assert desk.states() == [("dead", 3, "refused")]
    assert [line["action"] for line in logs] == ["webhook_endpoint_fails", "webhook_dead"]
    assert receiver.url not in str(logs)

    receiver.behave = status(200)
    desk.deliveries.replay_dead(None, "asha")
    assert desk.step() == {"delivered": 1}


@pytest.mark.parametrize(
    ("behave", "outcome"),
    [
        (status(302, location="/elsewhere"), "redirected"),
        (status(307, location="/elsewhere"), "redirected"),
        (status(404), "refused"),
        (status(429), "refused"),
        (status(200, b"x" * (50 * ANSWER_BYTES_MAX)), "delivered"),
        (lambda handler, _received: handler.wfile.write(b"nonsense\r\n\r\n"), "unreachable"),
        (lambda handler, _received: handler.connection.shutdown(socket.SHUT_RDWR), "unreachable"),
    ],
)
def test_answers_and_what_they_mean(desk: Desk, receiver: Receiver, behave: Any, outcome: str) -> None:
    receiver.behave = behave
    desk.tell("p1")
    assert desk.step() == {outcome: 1}
    # No redirect was followed.
    assert [one.path for one in receiver.received] == ["/hooks"]


def test_nobody_there_is_an_answer_too(ledger: Engine) -> None:
    with Receiver() as receiver:
        closed = target(receiver)
    desk = Desk(ledger, [closed])
    desk.tell("p1")
    assert desk.step() == {"unreachable": 1}


@pytest.mark.parametrize("host", ["a" * 70, "a..b", "-", "127.0.0.1:1"])
def test_a_host_that_cannot_be_reached_or_is_none_ends_nothing(ledger: Engine, host: str) -> None:
    desk = Desk(ledger, [Target(name="odd", url=f"http://{host}/", secrets=(SECRET,))])
    desk.tell("p1")
    assert desk.step() == {"unreachable": 1}


def test_who_hangs_or_trickles_is_given_up_in_time(ledger: Engine, receiver: Receiver) -> None:
    def trickle(handler: BaseHTTPRequestHandler, _received: Received) -> None:
        while not receiver.released.wait(0.05):
            handler.wfile.write(b"HTTP/1.1 200 OK"[:1])
            handler.wfile.flush()

    desk = Desk(ledger, [target(receiver)], timeout_s=0.5)
    for behave in (receiver.hang, trickle):
        receiver.behave = behave
        desk.tell(f"p{behave}")
        assert desk.step() == {"timed_out": 1}


def test_each_subject_keeps_its_order_and_holds_back_nobody_else(desk: Desk, receiver: Receiver) -> None:
    def refuse_the_first(handler: BaseHTTPRequestHandler, received: Received) -> None:
        status(500 if received.payload["data"]["n"] == 1 else 204)(handler, received)

    receiver.behave = refuse_the_first
    first, second, *others = desk.tell("p1", "p1", *[f"q{number}" for number in range(20)], "q0")
    assert desk.step() == {"refused": 1, "delivered": 21}
    arrived = [one.event_id for one in receiver.received]
    assert second not in arrived
    assert arrived.index(others[0]) < arrived.index(others[-1])

    receiver.behave = status(204)
    desk.clock.ahead += timedelta(minutes=1)
    assert desk.step() == {"delivered": 2}
    assert [one.event_id for one in receiver.received][-2:] == [first, second]


def test_an_endpoint_that_hangs_delays_no_other(ledger: Engine, receiver: Receiver) -> None:
    with Receiver() as slow:
        slow.behave = slow.hang
        desk = Desk(ledger, [target(slow, "slow"), target(receiver, "quick")])
        desk.tell(*[f"p{number}" for number in range(12)])
        stepping = threading.Thread(target=desk.step)
        stepping.start()
        receiver.wait_for(12)
        desk.tell("late")
        quick = [("delivered", 1, "delivered")] * 13
        assert wait_until(lambda: desk.states(endpoint="quick") == quick, timeout_s=60)
        # Bounded: no more than four at once.
        assert len(slow.wait_for(4)) == 4
        assert stepping.is_alive()
        desk.stopping.set()
        stepping.join(10)
        assert not stepping.is_alive()
    assert set(desk.states(endpoint="slow")) == {("pending", 0, None)}


def test_a_worker_ends_in_time_while_an_endpoint_hangs(desk: Desk, receiver: Receiver) -> None:
    receiver.behave = receiver.hang
    desk.tell("p1")
    bell = Bell()
    worker = Worker(
        WorkerSpec(name="webhooks", step=desk.delivering.step, deadline_s=60),
        stopping=desk.stopping,
        on_broken=lambda broken: None,
        on_death=lambda: None,
    )
    bell.subscribe(worker.wake)
    worker.start()
    bell.ring()
    receiver.wait_for(1)
    desk.stopping.set()
    assert worker.join(8)
    assert desk.states() == [("pending", 0, None)]


def test_gone_is_gone_until_a_person_says_otherwise(desk: Desk, receiver: Receiver) -> None:
    receiver.behave = status(410)
    desk.tell("p1", "p1", "p2")
    with capture_logs() as logs:
        desk.step()
        before = len(receiver.received)
        assert desk.step() == {}
    assert len(receiver.received) == before
    assert [line["endpoint"] for line in logs if line["action"] == "webhook_disabled"] == ["billing"]
    assert {state for state, _, _ in desk.states()} == {"pending"}

    receiver.behave = status(204)
    assert desk.deliveries.enable("billing")
    assert desk.step() == {"delivered": 3}


def test_what_was_sent_and_not_recorded_is_sent_again(desk: Desk, receiver: Receiver) -> None:
    """A crash between the two: at least once, under one identity."""
    [event_id] = desk.tell("p1")
    record = desk.deliveries.record

    def dying(*_: Any) -> None:
        raise KeyboardInterrupt

    setattr(desk.deliveries, "record", dying)  # noqa: B010 - mypy refuses to assign to a method
    with pytest.raises(KeyboardInterrupt):
        desk.step()
    setattr(desk.deliveries, "record", record)  # noqa: B010
    assert desk.step() == {"delivered": 1}
    assert [one.event_id for one in receiver.received] == [event_id, event_id]


def test_secrets_and_urls_are_not_in_the_repr(receiver: Receiver) -> None:
    shown = repr(target(receiver)) + repr(Message(event_id="e", payload="{}")) + repr(Answered(answer=Answer.GONE))
    assert SECRET not in shown
    assert receiver.url not in shown
