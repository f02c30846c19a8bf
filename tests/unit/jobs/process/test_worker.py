"""A worker's watchdog: what began too long ago, or not at all, on a clock that nobody can put back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from jobs.process.worker import OVERDUE_INTERVALS, OVERDUE_SLACK_S, Worker, WorkerSpec
from reconciler.errors import Defect, Outage, Refused, UsageError
from reconciler.status import Pulse


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def worker_of(
    clock: Clock, step: Callable[[], object] = lambda: None, again_in_s: Callable[[], float | None] = lambda: None
) -> Worker:
    spec = WorkerSpec(name="sweep", step=step, deadline_s=100, again_in_s=again_in_s)
    return Worker(spec, stopping=threading.Event(), on_broken=lambda broken: None, on_death=lambda: None, clock_s=clock)


def test_no_run_for_several_intervals_is_said_once_and_one_is_begun(clock: Clock) -> None:
    worker = worker_of(clock)
    limit_s = OVERDUE_INTERVALS * 60 + OVERDUE_SLACK_S
    with capture_logs() as said:
        clock.now_s += limit_s
        worker.watch_beginnings(60)
        assert not said
        assert not worker._woken.is_set()
        clock.now_s += 1
        worker.watch_beginnings(60)
        clock.now_s += 1
        worker.watch_beginnings(60)
    assert [line["action"] for line in said] == ["job_overdue"]
    assert worker._woken.is_set()


def test_after_a_run_it_may_be_said_again(clock: Clock) -> None:
    worker = worker_of(clock)
    with capture_logs() as said:
        for _ in range(2):
            clock.now_s += 1000
            worker.watch_beginnings(60)
            worker.run_once()
            worker.watch_beginnings(60)
    assert len(said) == 2


def test_a_run_in_progress_or_one_that_waits_out_an_outage_is_not_overdue(clock: Clock) -> None:
    def slow() -> None:
        clock.now_s += 10_000
        worker.watch_beginnings(60)
        raise Outage("mongodb", "away")

    worker = worker_of(clock, slow)
    with capture_logs() as said:
        worker.run_once()
        clock.now_s += 10_000
        worker.watch_beginnings(60)
    assert [line["action"] for line in said] == ["outage"]


def test_a_worker_is_told_when_it_has_work_again_by_itself(clock: Clock) -> None:
    assert worker_of(clock, again_in_s=lambda: 0.25).run_once() == 0.25
    assert worker_of(clock).run_once() is None


def test_what_a_database_does_not_do_is_said_once_and_again_when_it_turns_into_something_else(clock: Clock) -> None:
    failures = [
        Outage("ledger", "the standby takes no writes", has_answered=True),
        Outage("ledger", "the standby takes no writes", has_answered=True),
        Refused("ledger", "permission denied for table runs", "GRANT INSERT ON TABLE runs TO payer"),
        Refused("ledger", "permission denied for table runs", "GRANT INSERT ON TABLE runs TO payer"),
        Defect("ledger", "violates a constraint"),
    ]

    def step() -> None:
        if failures:
            raise failures.pop(0)

    worker = worker_of(clock, step)
    with capture_logs() as said:
        delays = [worker.run_once() for _ in range(6)]
    assert [line["action"] for line in said] == ["outage", "run_refused", "database_defect", "outage_over"]
    assert "GRANT INSERT ON TABLE runs TO payer" in said[1]["reason"]
    assert delays == [1, 2, 4, 8, 16, None], "it is tried again, whatever it was"


class TestARunThatGetsNowhere:
    def worker(self, step: Callable[[], object], pulse: Pulse | None) -> Worker:
        spec = WorkerSpec(name="sweep", step=step, deadline_s=3600, pulse=pulse)
        return Worker(spec, stopping=threading.Event(), on_broken=lambda broken: None, on_death=lambda: None)

    @pytest.mark.parametrize("gets_somewhere", [True, False])
    def test_is_a_fault_though_its_deadline_is_far(self, gets_somewhere: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("jobs.process.worker.STALL_S", 0.5)
        pulse, over = Pulse(), threading.Event()

        def step() -> None:
            while not over.wait(0.05):
                if gets_somewhere:
                    pulse.beat()

        worker = self.worker(step, pulse)
        worker.start()
        worker.wake()
        with capture_logs() as said:
            until_s = time.monotonic() + (1.5 if gets_somewhere else 20)
            while worker.fault() is None and time.monotonic() < until_s:
                worker.watch_deadline()
                time.sleep(0.01)
            worker.watch_deadline()
            fault = worker.fault()
        over.set()
        assert fault == (None if gets_somewhere else "a run has got nowhere for 0 s")
        assert [line["action"] for line in said] == ([] if gets_somewhere else ["worker_stuck"])
        # Who waits for work has nothing to get anywhere with.
        deadline_s = time.monotonic() + 20
        while worker.fault() is not None and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert worker.fault() is None
        worker._stopping.set()
        assert worker.join(20)


def test_a_worker_says_which_database_it_waits_for_until_it_works_again(clock: Clock) -> None:
    steps: list[Exception | None] = [Outage("ledger", "no answer from 10.1.2.3"), None, UsageError("no"), None]

    def step() -> None:
        error = steps.pop(0)
        if error is not None:
            raise error

    worker = worker_of(clock, step)
    said = []
    while steps:
        worker.run_once()
        said.append(worker.trouble())
    # Anybody may ask: no host, no role.
    assert said == ["The ledger's database cannot be reached", None, None, None]
