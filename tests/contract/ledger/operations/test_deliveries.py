"""The queue of deliveries: in order for each subject, given up and taken up again, forgotten in the end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy.engine import Connection, Engine

from reconciler.domain.events import Event, EventType
from reconciler.errors import LeaseLost
from reconciler.ledger import schema
from reconciler.ledger.operations.deliveries import Deliveries, DeliveryFilter, list_deliveries
from reconciler.ledger.operations.events import EventLog
from reconciler.ports.deliveries import Attempt, EndpointBacklog
from tests.support.ledger import NOW, SetClock, rows_of

SUBSCRIPTIONS = {"a": frozenset(EventType), "b": frozenset(EventType)}
URLS = {"a": "https://a.example/", "b": "https://b.example/"}


class Queue:
    """Events about subjects, in their order, on their way to two endpoints."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = SetClock()
        self.log = EventLog(engine, clock=self.clock, subscriptions=SUBSCRIPTIONS)
        self.deliveries = Deliveries(engine, clock=self.clock)

    def tell(self, *subjects: str, event_type: EventType = EventType.PARTICIPATION_SETTLED) -> list[str]:
        events = [
            Event(type=event_type, fact=f"{number}", subject=subject, occurred_at=NOW, fields={"n": number})
            for number, subject in enumerate(subjects, start=len(rows_of(self.engine, schema.events)) + 1)
        ]
        self.log.expect(events)
        ids = [event.event_id for event in events]
        self.log.conclude(ids, [])
        return ids

    def due(self, endpoint: str = "a", limit: int = 100) -> list[str]:
        return [one.event_id for one in self.deliveries.due(endpoint, limit)]

    def attempted(self, event_id: str, status: str, *, endpoint: str = "a", wait_s: float = 0) -> None:
        self.deliveries.record(
            [
                Attempt(
                    event_id=event_id,
                    endpoint=endpoint,
                    status=status,
                    attempts=1,
                    outcome="delivered" if status == "delivered" else "refused",
                    status_code=500,
                    not_before=self.clock() + timedelta(seconds=wait_s),
                )
            ]
        )


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue(engine)


def test_of_each_subject_only_the_first_is_due(queue: Queue) -> None:
    first, second, other = queue.tell("p1", "p1", "p2")
    assert queue.due() == queue.due("b") == [first, other]
    assert queue.due(limit=1) == [first]

    queue.attempted(first, "delivered")

    assert queue.due() == [second, other]
    assert queue.due("b") == [first, other]


def test_a_failed_one_holds_back_its_subject_at_its_endpoint_and_nothing_else(queue: Queue) -> None:
    first, second, other = queue.tell("p1", "p1", "p2")
    queue.attempted(first, "pending", wait_s=5)

    assert queue.due() == [other]
    assert queue.due("b") == [first, other]

    queue.clock.advance(timedelta(seconds=5))
    assert queue.due() == [first, other]
    queue.attempted(first, "dead")
    assert queue.due() == [second, other]


def test_a_due_delivery_carries_what_is_sent(queue: Queue) -> None:
    [event_id] = queue.tell("p1")
    [due] = queue.deliveries.due("a", 10)
    [row] = rows_of(queue.engine, schema.events)
    assert (due.event_id, due.endpoint, due.subject, due.attempts) == (event_id, "a", "p1", 0)
    assert due.payload == row["payload"]


DEAD = DeliveryFilter(status="dead")


def test_dead_letters_are_seen_and_replayed(queue: Queue) -> None:
    first, second = queue.tell("p1", "p1")
    for event_id in (first, second):
        queue.attempted(event_id, "dead")
    queue.attempted(first, "dead", endpoint="b")
    letters = list_deliveries(queue.engine, DEAD)
    assert [(one.event_id, one.endpoint, one.outcome, one.status_code) for one in letters] == [
        (second, "a", "refused", 500),
        (first, "b", "refused", 500),
        (first, "a", "refused", 500),
    ]

    assert queue.deliveries.replay_dead("a", "asha") == 2

    # In their order again, from the first attempt on.
    assert queue.due() == [first]
    [again, _] = list_deliveries(queue.engine, DeliveryFilter(event_id=first))[::-1]
    assert (again.status, again.attempts, again.replayed_by) == ("pending", 0, "asha")
    assert [one.endpoint for one in list_deliveries(queue.engine, DEAD)] == ["b"]
    assert queue.deliveries.replay_dead(None, "asha") == 1
    assert list_deliveries(queue.engine, DEAD) == []


def test_what_was_delivered_can_be_sent_again(queue: Queue) -> None:
    [event_id] = queue.tell("p1")
    queue.attempted(event_id, "delivered")
    queue.attempted(event_id, "delivered", endpoint="b")

    assert queue.deliveries.replay(event_id, "b", "asha") == 1
    assert (queue.due(), queue.due("b")) == ([], [event_id])
    assert queue.deliveries.replay(event_id, None, "asha") == 2
    assert queue.deliveries.replay("evt_0", None, "asha") == 0


def test_pages_follow_each_other(queue: Queue) -> None:
    queue.tell("p1", "p2")
    first = list_deliveries(queue.engine, DeliveryFilter(limit=3))
    rest = list_deliveries(queue.engine, DeliveryFilter(limit=3, before=(first[-1].position, first[-1].endpoint)))
    assert [(one.position, one.endpoint) for one in first + rest] == [(2, "b"), (2, "a"), (1, "b"), (1, "a")]
    assert {one.endpoint for one in list_deliveries(queue.engine, DeliveryFilter(endpoint="b"))} == {"b"}
    assert list_deliveries(queue.engine, DeliveryFilter(status="delivered")) == []


def test_the_backlog_says_how_far_each_is_behind(queue: Queue) -> None:
    [first] = queue.tell("p1")
    queue.clock.advance(timedelta(minutes=1))
    [second] = queue.tell("p2")
    queue.attempted(first, "delivered")
    queue.attempted(first, "dead", endpoint="b")
    queue.attempted(second, "delivered", endpoint="b")
    minute_later = NOW + timedelta(minutes=1)
    assert queue.deliveries.backlog() == [
        EndpointBacklog(endpoint="a", pending=1, dead=0, oldest_pending_at=minute_later),
        EndpointBacklog(endpoint="b", pending=0, dead=1, oldest_pending_at=None),
    ]


def test_a_gone_endpoint_stays_so_until_a_person_or_another_url_says_otherwise(queue: Queue) -> None:
    queue.deliveries.disable("a", URLS["a"])
    queue.deliveries.disable("a", URLS["a"])
    assert queue.deliveries.disabled(URLS) == {"a": NOW}
    assert queue.deliveries.disabled(URLS | {"a": "https://elsewhere.example/"}) == {}
    assert queue.deliveries.disabled({"b": URLS["b"]}) == {}
    assert queue.deliveries.enable("a")
    assert not queue.deliveries.enable("a")
    assert queue.deliveries.disabled(URLS) == {}


def test_only_what_everybody_has_is_forgotten_and_its_identity_stays(queue: Queue) -> None:
    old, waiting, dead = queue.tell("p1", "p2", "p3")
    [key] = queue.tell("k1", event_type=EventType.GKEY_RELEASED)
    for event_id in (old, waiting, dead, key):
        queue.attempted(event_id, "delivered")
    queue.attempted(old, "delivered", endpoint="b")
    queue.attempted(key, "delivered", endpoint="b")
    queue.attempted(dead, "dead", endpoint="b")
    queue.clock.advance(timedelta(days=30))
    young = queue.tell("p4")[0]

    assert queue.deliveries.prune(NOW, ["a", "b"]) == 0
    assert queue.deliveries.prune(queue.clock(), ["a", "b"]) == 2
    assert queue.deliveries.prune(queue.clock(), ["a", "b"]) == 0

    states = {row["event_id"]: (row["status"], row["payload"] is None) for row in rows_of(queue.engine, schema.events)}
    kept = ("recorded", False)
    assert states == {old: ("pruned", True), waiting: kept, dead: kept, young: kept}
    assert queue.deliveries.replay(old, None, "asha") == 0
    # The same fact again is no second event.
    with queue.engine.begin() as connection:
        again = Event(type=EventType.PARTICIPATION_SETTLED, fact="1", subject="p1", occurred_at=NOW, fields={})
        queue.log._record(connection, [again])
    assert queue.due("b") == [waiting, young]


def test_what_waits_for_an_endpoint_that_is_configured_no_more_is_forgotten_too(queue: Queue) -> None:
    [event_id] = queue.tell("p1")
    queue.attempted(event_id, "delivered")
    queue.clock.advance(timedelta(days=30))
    assert queue.deliveries.prune(queue.clock(), ["a"]) == 1
    assert list_deliveries(queue.engine, DeliveryFilter()) == []


def test_who_does_not_lead_records_nothing(queue: Queue) -> None:
    def fence(_connection: Connection) -> None:
        raise LeaseLost("somebody else leads")

    [event_id] = queue.tell("p1")
    queue.deliveries = Deliveries(queue.engine, clock=queue.clock, fence=fence)
    with pytest.raises(LeaseLost):
        queue.attempted(event_id, "delivered")
    with pytest.raises(LeaseLost):
        queue.deliveries.disable("a", URLS["a"])
    assert queue.due() == [event_id]
    assert queue.deliveries.disabled(URLS) == {}
