"""Requests for checks: one open at a time, taken once, never lost, and given up in the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy.engine import Engine

from jobs.check.lock import CheckRunning
from jobs.check.options import Stopped
from jobs.check.requested import BY_CALENDAR, RequestedChecks
from reconciler.errors import Outage, UsageError
from reconciler.ledger.operations.check_requests import ATTEMPTS_MAX, CheckRequests


class Clock:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def requests(engine: Engine) -> CheckRequests:
    numbers = count(1)
    return CheckRequests(engine, clock=Clock(), new_id=lambda _now: f"r{next(numbers)}")


def test_one_is_open_until_it_is_finished(requests: CheckRequests) -> None:
    first, is_new = requests.request("asha")
    assert (first.report_id, first.requested_by, is_new) == ("r1", "asha", True)
    assert requests.request("ravi") == (first, False)

    taken = requests.take()
    assert taken is not None
    assert (taken.report_id, taken.attempts) == ("r1", 1)
    requests.progress("r1", 5, 10)
    requests.finish("r1", "clean")

    done = requests.find("r1")
    assert done is not None
    assert (done.outcome, done.done_count, done.expected_count) == ("clean", 5, 10)
    assert done.finished_at is not None
    assert requests.take() is None
    assert requests.request("ravi")[1]


def test_a_crowd_gets_one(requests: CheckRequests) -> None:
    with ThreadPoolExecutor(max_workers=8) as crowd:
        found = list(crowd.map(requests.request, ["asha"] * 40))
    assert len({one.report_id for one, _ in found}) == 1
    assert sum(is_new for _, is_new in found) == 1


def test_one_whose_daemon_died_is_done_again_and_in_the_end_given_up(requests: CheckRequests) -> None:
    requests.request("asha")
    taken = [requests.take() for _ in range(ATTEMPTS_MAX)]
    assert [one.attempts for one in taken if one] == list(range(1, ATTEMPTS_MAX + 1))

    assert requests.take() is None
    given_up = requests.find("r1")
    assert given_up is not None
    assert given_up.outcome == "given_up"
    assert requests.request("asha")[1]


def checks(requests: CheckRequests, error: Exception | None = None) -> RequestedChecks:
    def check(_report_id: str, _progress: object) -> str:
        if error is not None:
            raise error
        return "clean"

    return RequestedChecks(requests, check)


def test_an_outage_another_check_or_an_end_leaves_it_for_later(requests: CheckRequests) -> None:
    requests.request("asha")
    for error in [Outage("mongodb", "away"), CheckRunning("somebody's check runs")] * ATTEMPTS_MAX:
        with pytest.raises(type(error)):
            checks(requests, error).step()
    assert checks(requests, Stopped()).step() is None
    assert checks(requests).step() == "clean"


def test_what_cannot_be_done_is_finished_with_why(requests: CheckRequests) -> None:
    requests.request("asha")
    with pytest.raises(UsageError):
        checks(requests, UsageError("reports cannot be written")).step()
    failed = requests.find("r1")
    assert failed is not None
    assert (failed.outcome, failed.error) == ("failed", "reports cannot be written")


def test_the_calendar_asks_too_and_is_content_with_one_under_way(requests: CheckRequests) -> None:
    checks(requests).scheduled()
    by_calendar = requests.find("r1")
    assert by_calendar is not None
    assert (by_calendar.requested_by, by_calendar.outcome) == (BY_CALENDAR, "clean")

    requests.request("asha")
    checks(requests).scheduled()
    assert requests.find("r3") is None
    assert checks(requests).step() is None
