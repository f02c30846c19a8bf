"""The keeper of the lease, on a clock of its own and with a lease of paper."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from jobs.process.leading import LeaseKeeper
from reconciler.errors import ClockOff, DatabaseFailure, Defect, LeaseLost, Outage, Refused


class PaperLease:
    """Answers what the test wrote down: an epoch, None, or an Outage."""

    def __init__(self) -> None:
        self.answer: int | DatabaseFailure | None = 1
        self.resigned = 0
        self.may_go_on: Callable[[], bool] | None = None

    def acquire(self) -> int | None:
        if isinstance(self.answer, DatabaseFailure):
            raise self.answer
        return self.answer

    def resign(self) -> None:
        self.resigned += 1

    def holder(self) -> str | None:
        return "another:1"

    @contextmanager
    def term(self, may_go_on: Callable[[], bool]) -> Iterator[int]:
        if not isinstance(self.answer, int):
            raise LeaseLost("the lease is not held")
        self.may_go_on = may_go_on
        yield self.answer


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


OUTAGE = Outage("ledger", "no answer")


@pytest.fixture
def lease() -> PaperLease:
    return PaperLease()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(lease: PaperLease, clock: Clock) -> LeaseKeeper:
    return LeaseKeeper(lease, ttl_s=15, stopping=threading.Event(), clock_s=clock)


def actions(keeper: LeaseKeeper) -> list[str]:
    with capture_logs() as logs:
        keeper.step()
    return [log["action"] for log in logs]


def test_it_leads_from_the_first_answer_and_says_so_once(keeper: LeaseKeeper) -> None:
    assert not keeper.is_leader
    assert [actions(keeper), actions(keeper), keeper.is_leader] == [["lease_acquired"], [], True]


def test_it_stands_by_and_says_so_once(keeper: LeaseKeeper, lease: PaperLease) -> None:
    lease.answer = None
    assert [actions(keeper), actions(keeper), keeper.is_leader] == [["standing_by"], [], False]
    lease.answer = 2
    assert [actions(keeper), keeper.is_leader] == [["lease_acquired"], True]


@pytest.mark.parametrize(
    "failure", [OUTAGE, Refused("ledger", "permission denied for table leases", "GRANT it"), Defect("ledger", "no")]
)
def test_a_lease_that_cannot_be_taken_is_no_other_daemons(
    keeper: LeaseKeeper, lease: PaperLease, failure: DatabaseFailure
) -> None:
    lease.answer = failure
    with capture_logs() as logs:
        assert [keeper.step(), keeper.step()] == [False, False]
    assert [(log["action"], log["reason"]) for log in logs] == [("lease_not_taken", str(failure))]
    lease.answer = 2
    assert [actions(keeper), keeper.is_leader] == [["lease_acquired"], True]


def test_it_loses_the_lease_to_another(keeper: LeaseKeeper, lease: PaperLease) -> None:
    keeper.step()
    lease.answer = None
    assert [actions(keeper), actions(keeper), keeper.is_leader] == [["lease_lost"], [], False]


def test_without_a_renewal_it_stops_after_two_thirds_of_the_ttl(
    keeper: LeaseKeeper, lease: PaperLease, clock: Clock
) -> None:
    keeper.step()
    lease.answer = OUTAGE
    clock.now_s += 9.9
    assert [actions(keeper), keeper.is_leader] == [[], True]
    clock.now_s += 0.1
    assert not keeper.is_leader
    assert [actions(keeper), actions(keeper)] == [["lease_lost"], []]
    # Nobody took it over meanwhile, so the epoch is the same; it leads again, and says so.
    lease.answer = 1
    assert [actions(keeper), keeper.is_leader] == [["lease_acquired"], True]


def test_the_time_counts_from_the_beginning_of_a_renewal(lease: PaperLease, clock: Clock, keeper: LeaseKeeper) -> None:
    def slow() -> int:
        clock.now_s += 11
        return 1

    lease.acquire = slow  # type: ignore[method-assign]
    keeper.step()
    assert not keeper.is_leader


def test_a_step_runs_only_while_leading_and_within_a_term(keeper: LeaseKeeper, lease: PaperLease, clock: Clock) -> None:
    ran: list[int] = []
    step = keeper.while_leading(lambda: ran.append(1))
    step()
    assert ran == []
    keeper.step()
    step()
    assert ran == [1]
    assert lease.may_go_on is not None
    assert lease.may_go_on()
    clock.now_s += 10
    step()
    assert ran == [1]
    assert not lease.may_go_on()


def test_each_new_term_wakes_the_workers_and_stopping_resigns(lease: PaperLease) -> None:
    stopping, led = threading.Event(), threading.Semaphore(0)
    keeper = LeaseKeeper(lease, ttl_s=0.03, stopping=stopping)
    keeper.start(on_lead=led.release, on_death=lambda: None)
    assert led.acquire(timeout=5)
    lease.answer = 2
    assert led.acquire(timeout=5)
    assert lease.resigned == 0

    stopping.set()
    keeper.stop(5)

    assert lease.resigned == 1
    assert not keeper.is_leader


def test_a_keeper_that_dies_by_a_defect_says_so(lease: PaperLease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _args: None)
    died = threading.Event()
    keeper = LeaseKeeper(lease, ttl_s=0.03, stopping=threading.Event())
    keeper.start(on_lead=lambda: None, on_death=died.set)

    def broken() -> int:
        raise RuntimeError("a defect")

    lease.acquire = broken  # type: ignore[method-assign]
    assert died.wait(5)


def test_a_daemon_whose_clock_is_off_lets_another_lead(lease: PaperLease, clock: Clock) -> None:
    """It would pay nobody while it leads, however many daemons with a right clock stand by."""
    wrong: list[ClockOff] = []

    def require_clock() -> None:
        if wrong:
            raise wrong[0]

    led: list[str] = []
    keeper = LeaseKeeper(lease, ttl_s=15, stopping=threading.Event(), clock_s=clock, require_clock=require_clock)
    assert keeper.step()
    wrong.append(ClockOff("this host's clock is 2.0 days ahead"))
    with capture_logs() as said:
        assert not keeper.step()
        assert not keeper.step()
    assert (lease.resigned, keeper.epoch) == (1, None)
    assert [line["reason"] for line in said if line["action"] == "lease_lost"] == [str(wrong[0])]
    keeper.while_leading(lambda: led.append("worked"))()
    assert led == []

    wrong.clear()

    assert keeper.step()
    keeper.while_leading(lambda: led.append("worked"))()
    assert led == ["worked"]


def test_a_daemon_whose_clock_is_off_takes_no_lease(lease: PaperLease, clock: Clock) -> None:
    def require_clock() -> None:
        raise ClockOff("this host's clock is 2.0 days ahead")

    keeper = LeaseKeeper(lease, ttl_s=15, stopping=threading.Event(), clock_s=clock, require_clock=require_clock)
    assert not keeper.step()
    assert lease.resigned == 0
