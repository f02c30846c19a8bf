"""Asking for a check in a crowd: one question to the ledger, one answer to all, and nobody waits behind a failure."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from reconciler.api.check_requesting import CheckRequesting
from reconciler.api.offload import Offload
from reconciler.errors import Outage
from reconciler.ledger.operations.check_requests import CheckRequest


class SlowChecks:
    """Answers when it is let; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked_count = 0
        self.may_answer = threading.Event()
        self.failure: Outage | None = None

    def request(self, by: str) -> tuple[CheckRequest, bool]:
        self.asked_count += 1
        assert self.may_answer.wait(10)
        if self.failure is not None:
            raise self.failure
        check = CheckRequest(
            report_id="r",
            requested_by=by,
            requested_at=datetime.now(UTC),
            started_at=None,
            finished_at=None,
            attempts=0,
            done_count=0,
            expected_count=0,
            outcome=None,
            error=None,
        )
        return check, True


async def crowd_of(requesting: CheckRequesting, checks: SlowChecks, count: int) -> list[object]:
    asked = [asyncio.ensure_future(requesting.request(f"caller {number}")) for number in range(count)]
    await asyncio.sleep(0)
    asked[0].cancel()
    checks.may_answer.set()
    return await asyncio.gather(*asked, return_exceptions=True)


def test_a_crowd_costs_one_question_even_when_the_first_goes_away() -> None:
    checks, offload = SlowChecks(), Offload(threads_max=1)
    found = asyncio.run(crowd_of(CheckRequesting(checks.request, offload), checks, 500))
    assert checks.asked_count == 1
    assert isinstance(found[0], asyncio.CancelledError)
    assert {one[0].report_id for one in found[1:] if isinstance(one, tuple)} == {"r"}
    assert all(isinstance(one, tuple) and one[1] is False for one in found[1:]), "it is new to the one who asked"
    offload.close(1)


def test_a_failure_is_everybodys_and_does_not_stay() -> None:
    checks, offload = SlowChecks(), Offload(threads_max=1)
    requesting = CheckRequesting(checks.request, offload)
    checks.failure = Outage("ledger", "gone")

    async def twice() -> tuple[CheckRequest, bool]:
        found = await crowd_of(requesting, checks, 3)
        assert [type(one) for one in found] == [asyncio.CancelledError, Outage, Outage]
        checks.failure = None
        return await requesting.request("asha")

    check, is_new = asyncio.run(twice())
    assert (check.requested_by, is_new, checks.asked_count) == ("asha", True, 2)
    offload.close(1)


@pytest.mark.parametrize("count", [1, 2])
def test_it_is_new_to_one(count: int) -> None:
    checks, offload = SlowChecks(), Offload(threads_max=1)
    requesting = CheckRequesting(checks.request, offload)
    checks.may_answer.set()

    async def ask() -> list[bool]:
        return [new for _, new in await asyncio.gather(*(requesting.request("a") for _ in range(count)))]

    assert sum(asyncio.run(ask())) == 1
    offload.close(1)
