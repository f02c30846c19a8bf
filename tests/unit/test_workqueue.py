"""The work queue: held against a model of paper in random order, and case by case."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reconciler.metrics import Metrics
from reconciler.workqueue import RETRY, Work, WorkQueue
from tests.support.examples import examples

KEYS = st.sampled_from("abcdef")
AT = datetime(2026, 5, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


class Queue(WorkQueue[str]):
    """A queue on a clock of its own, and who it called."""

    def __init__(self, size_max: int = 100, metrics: Metrics | None = None) -> None:
        self.clock = Clock()
        self.calls: list[str] = []
        super().__init__(
            size_max=size_max,
            on_work=lambda: self.calls.append("work"),
            on_full=lambda: self.calls.append("full"),
            metrics=metrics,
            clock_s=self.clock,
        )

    def taken(self, count_max: int = 100) -> list[str]:
        return [work.key for work in self.get_batch(count_max)]


class QueueMachine(RuleBasedStateMachine):
    """Two workers and many who add. ``owed``: keys that somebody has to look at after their last adding."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(size_max=4)
        self.owed: set[str] = set()
        self.held: dict[str, Work[str]] = {}
        self.order: list[str] = []

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.calls.clear()
        self.queue.add(key)
        if self.queue.calls == ["full"]:
            # Whoever opened the queue was told to look at everything: nothing is owed any more.
            self.owed.clear()
            self.order.clear()
            return
        assert self.queue.calls == ["work"]
        if key not in self.owed:
            self.order.append(key)
        self.owed.add(key)

    @rule(count=st.integers(1, 3))
    def take(self, count: int) -> None:
        batch = self.queue.get_batch(count)
        expected = [key for key in self.order if key not in self.held][:count]
        assert [work.key for work in batch] == expected, "fair, and never two workers on a key"
        for work in batch:
            assert work.key not in self.held
            self.held[work.key] = work
            self.owed.discard(work.key)
            self.order.remove(work.key)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 9))
    def done(self, number: int) -> None:
        key = sorted(self.held)[number % len(self.held)]
        del self.held[key]
        self.queue.done(key)

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 9))
    def fail(self, number: int) -> None:
        """It comes out again once its time has come, unless it was added meanwhile: then at once."""
        key = sorted(self.held)[number % len(self.held)]
        self.queue.calls.clear()
        delay_s = self.queue.retry(self.held.pop(key))
        if "full" in self.queue.calls:
            self.owed.clear()
            self.order.clear()
            return
        self.queue.clock.now_s += delay_s
        if self.queue.next_in_s() is not None and key not in self.owed:
            self.owed.add(key)
            self.order.append(key)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Everything owed is in the queue, and comes out when it is free."""
        free = [key for key in self.order if key not in self.held]
        assert self.queue.next_in_s() == (0.0 if free else None)
        assert self.queue.numbers().depth == len(self.owed)
        assert self.queue.numbers().processing == len(self.held)

    def teardown(self) -> None:
        """Draining ends once what is held is given back, and not before."""
        assert self.queue.drain(0.0) is (not self.held)
        for key in list(self.held):
            self.queue.done(key)
        assert self.queue.drain(0.0)
        self.queue.add("late")
        assert "late" not in self.queue.taken()


QueueMachine.TestCase.settings = settings(max_examples=examples(200), stateful_step_count=40, deadline=None)
TestQueueMachine = QueueMachine.TestCase


def test_a_key_added_often_comes_out_once_with_the_latest_moment_and_the_earliest_time() -> None:
    queue = Queue()
    queue.add("a", after=(5, 1), changed_at=AT + timedelta(seconds=1))
    queue.add("a", after=(5, 3), changed_at=AT)
    queue.add("a", after=(4, 9))
    assert queue.get_batch(10) == [Work(key="a", after=(5, 3), changed_at=AT)]


def test_a_key_added_while_it_is_worked_on_comes_out_once_more_and_not_earlier() -> None:
    queue = Queue()
    queue.add("a")
    assert queue.taken() == ["a"]
    queue.add("a", after=(7, 1))
    queue.add("b")
    assert queue.taken() == ["b"]
    queue.done("a")
    assert queue.get_batch(10)[0] == Work(key="a", after=(7, 1), changed_at=None)
    queue.done("a")
    assert queue.taken() == []


def test_failures_of_a_key_wait_ever_longer_and_are_forgotten_by_a_success() -> None:
    queue, waits = Queue(), []
    queue.add("a")
    for _ in range(16):
        [work] = queue.get_batch(1)
        waits.append(queue.retry(work))
        assert queue.taken() == []
        queue.clock.now_s += waits[-1]
    assert waits[:4] == [0.005, 0.01, 0.02, 0.04]
    assert waits == sorted(waits)
    assert waits[-1] == RETRY.max_s == 60.0
    assert queue.failures_count("a") == 16
    assert queue.taken() == ["a"]
    queue.done("a")
    assert queue.failures_count("a") == 0


def test_a_failing_key_holds_up_no_other() -> None:
    queue = Queue()
    queue.add("a")
    queue.retry(queue.get_batch(1)[0])
    queue.add("b")
    assert queue.taken() == ["b"]


def test_of_two_delays_the_earlier_one_counts() -> None:
    queue = Queue()
    queue.add_later("a", 10.0, after=(3, 0))
    queue.add_later("a", 1.0)
    queue.add_later("a", 5.0)
    assert queue.next_in_s() == 1.0
    queue.clock.now_s += 1.0
    assert queue.get_batch(5) == [Work(key="a", after=(3, 0), changed_at=None)]
    queue.done("a")
    queue.clock.now_s += 100.0
    assert queue.taken() == [], "the two later entries stand for nothing"


def test_a_full_queue_becomes_one_order_to_sweep_and_never_blocks() -> None:
    metrics = Metrics()
    queue = Queue(size_max=3, metrics=metrics)
    for key in "abc":
        queue.add(key)
    assert queue.taken(1) == ["a"]
    queue.add("d")
    queue.calls.clear()
    queue.add("b")
    assert queue.calls == ["work"], "it waits already"
    queue.add("a")
    assert queue.calls == ["work", "full"]
    assert queue.numbers().collapses_count == 1
    assert metrics.registry.get_sample_value("payout_queue_collapses_total") == 1
    assert queue.taken() == [], "the sweep looks at them all"
    queue.done("a")
    queue.add("x")
    assert queue.taken() == ["x"]


def test_delayed_keys_are_bounded_too() -> None:
    queue = Queue(size_max=2)
    for key in "abc":
        queue.add_later(key, 5.0)
    assert queue.calls == ["work", "work", "full"]
    assert queue.numbers().delayed == 0


def test_put_back_keys_keep_what_is_known_of_them() -> None:
    queue = Queue()
    queue.add("a", after=(9, 1), changed_at=AT)
    [work] = queue.get_batch(1)
    queue.add("a", after=(8, 1))
    queue.put_back(work)
    assert queue.get_batch(1) == [Work(key="a", after=(9, 1), changed_at=AT)]
    assert queue.failures_count("a") == 0


def test_settled_up_to_where_nothing_waits_and_nothing_is_worked_on() -> None:
    queue = Queue()
    assert queue.oldest_unsettled() is None
    queue.add("a")
    mark = queue.last_number()
    queue.add("b")
    assert queue.oldest_unsettled() == mark
    [work] = queue.get_batch(1)
    assert queue.oldest_unsettled() == mark, "taken is not settled"
    queue.retry(work)
    assert queue.oldest_unsettled() == mark + 1, "a key that failed may fail for ever"
    queue.done(queue.taken()[0])
    assert queue.oldest_unsettled() is None


def test_the_seven_measurements() -> None:
    metrics = Metrics()
    queue = Queue(metrics=metrics)
    for key in "ab":
        queue.add(key)
    queue.clock.now_s += 2
    works = queue.get_batch(2)
    queue.clock.now_s += 3
    queue.add("c")
    queue.done("a")
    queue.clock.now_s += 1

    def read(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"payout_queue_{name}")

    assert (read("depth"), read("adds_total"), read("retries_total")) == (1, 3, 0)
    assert (read("queue_duration_seconds_sum"), read("queue_duration_seconds_count")) == (4, 2)
    assert (read("work_duration_seconds_sum"), read("work_duration_seconds_count")) == (3, 1)
    assert (read("unfinished_work_seconds"), read("longest_running_processor_seconds")) == (4, 4)
    queue.retry(works[1])
    assert (read("retries_total"), read("longest_running_processor_seconds")) == (1, 0)
    numbers = queue.numbers()
    assert (numbers.adds_count, numbers.queue_duration_s, numbers.work_duration_s) == (3, 4, 7)


@pytest.mark.timeout(60)
def test_draining_waits_for_what_is_worked_on() -> None:
    queue: WorkQueue[str] = WorkQueue(size_max=10)
    queue.add("a")
    assert len(queue.get_batch(1)) == 1
    ended = list[bool]()
    drainer = threading.Thread(target=lambda: ended.append(queue.drain(30.0)))
    drainer.start()
    assert not queue.drain(0.0)
    queue.done("a")
    drainer.join()
    assert ended == [True]


@pytest.mark.timeout(60)
def test_whoever_waits_for_work_is_woken_by_it_and_by_a_delay_that_is_over() -> None:
    queue: WorkQueue[str] = WorkQueue(size_max=10)
    came = list[str]()
    worker = threading.Thread(target=lambda: came.extend(work.key for work in queue.get_batch(1, timeout_s=30.0)))
    worker.start()
    queue.add_later("a", 0.01)
    worker.join()
    assert came == ["a"]
