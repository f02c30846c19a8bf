"""Groups form by themselves: what arrives while one is written is the next one, and nobody is left waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from reconciler.api.group_commit import GroupCommit
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.recording import Outcome, Recorded, RecordingRefusal, RefusedReport, ViewerReport
from reconciler.metrics import Metrics
from tests.support.recording import HeardHints, impressions

TIMEOUT_S = 30


class Gate:
    """A recorder that waits to be let through, and remembers its groups. No database is played: only who waits."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.began = threading.Semaphore(0)
        self.pass_on = threading.Semaphore(0)
        self.defect: Exception | None = None

    def record(self, reports: Sequence[ViewerReport]) -> Sequence[Outcome]:
        self.groups.append(len(reports))
        self.began.release()
        assert self.pass_on.acquire(timeout=TIMEOUT_S)
        if self.defect is not None:
            raise self.defect
        return [
            Recorded(
                participation_id=DocumentId(IdKind.STRING, report.token),
                impressions=report.count,
                clicks=0,
                remaining=0,
                completed=False,
                needs_check=report.count > 1,
            )
            for report in reports
        ]


def counted(metrics: Metrics, outcome: str) -> float | None:
    labels = {"kind": "impression", "outcome": outcome}
    return metrics.registry.get_sample_value("payout_recordings_total", labels)


async def _began(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.began.acquire, timeout=TIMEOUT_S)


async def _waiting(groups: GroupCommit, count: int) -> None:
    # Each task runs up to its first real wait, which is for its answer.
    await asyncio.sleep(0)
    assert groups.depth == count


def test_what_arrives_meanwhile_is_the_next_group() -> None:
    gate, triggers, metrics = Gate(), HeardHints(), Metrics()
    groups = GroupCommit(gate, triggers, group_max=4, queue_max=100, metrics=metrics)

    async def run() -> list[Outcome]:
        groups.start()
        first = asyncio.create_task(groups.record(impressions("token-00", 7)))
        await _began(gate)
        rest = [asyncio.create_task(groups.record(impressions(f"token-{n:02}", 1 + n % 2))) for n in range(1, 7)]
        await _waiting(groups, 6)
        for _ in range(3):
            gate.pass_on.release()
        return await asyncio.gather(first, *rest)

    outcomes = asyncio.run(run())
    groups.stop()

    assert gate.groups == [1, 4, 2]
    assert counted(metrics, "recorded") == 7
    assert metrics.registry.get_sample_value("payout_recording_group_size_reports_sum") == 7
    assert metrics.registry.get_sample_value("payout_recording_group_duration_seconds_count") == 3
    assert [one.participation_id.value for one in outcomes if isinstance(one, Recorded)] == [
        f"token-{n:02}" for n in range(7)
    ]
    assert [one.value for one in triggers.participations] == ["token-00", "token-01", "token-03", "token-05"]


def test_a_full_queue_says_so_at_once() -> None:
    gate = Gate()
    metrics = Metrics()
    groups = GroupCommit(gate, HeardHints(), group_max=4, queue_max=2, metrics=metrics)

    async def run() -> list[Outcome]:
        groups.start()
        accepted = [asyncio.create_task(groups.record(impressions("token-00")))]
        await _began(gate)
        accepted += [asyncio.create_task(groups.record(impressions("token-00"))) for _ in range(2)]
        await _waiting(groups, 2)
        assert await groups.record(impressions("token-00")) == RefusedReport(refusal=RecordingRefusal.BUSY)
        gate.pass_on.release()
        gate.pass_on.release()
        return await asyncio.gather(*accepted)

    assert all(isinstance(one, Recorded) for one in asyncio.run(run()))
    groups.stop()
    assert (counted(metrics, "recorded"), counted(metrics, "busy")) == (3, 1)


def test_a_client_that_leaves_gives_up_the_answer_only() -> None:
    gate = Gate()
    groups = GroupCommit(gate, HeardHints(), group_max=4, queue_max=100)

    async def run() -> None:
        groups.start()
        leaving = asyncio.create_task(groups.record(impressions("token-00")))
        await _began(gate)
        leaving.cancel()
        staying = asyncio.create_task(groups.record(impressions("token-01")))
        await _waiting(groups, 1)
        gate.pass_on.release()
        gate.pass_on.release()
        assert isinstance(await staying, Recorded)
        assert leaving.cancelled()

    asyncio.run(run())
    groups.stop()
    assert gate.groups == [1, 1]


def test_a_stop_writes_what_was_accepted() -> None:
    gate = Gate()
    groups = GroupCommit(gate, HeardHints(), group_max=1, queue_max=100)

    async def run() -> list[Outcome]:
        groups.start()
        accepted = [asyncio.create_task(groups.record(impressions("token-00")))]
        await _began(gate)
        accepted += [asyncio.create_task(groups.record(impressions("token-00"))) for _ in range(3)]
        await _waiting(groups, 3)
        for _ in range(4):
            gate.pass_on.release()
        await asyncio.to_thread(groups.stop)
        assert await groups.record(impressions("token-00")) == RefusedReport(refusal=RecordingRefusal.UNAVAILABLE)
        return await asyncio.gather(*accepted)

    assert all(isinstance(one, Recorded) for one in asyncio.run(run()))
    assert gate.groups == [1, 1, 1, 1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_defect_nobody_waits_for_ever() -> None:
    gate = Gate()
    gate.defect = ArithmeticError("a defect")
    groups = GroupCommit(gate, HeardHints(), group_max=1, queue_max=100)

    async def run() -> list[Outcome]:
        groups.start()
        first = asyncio.create_task(groups.record(impressions("token-00")))
        await _began(gate)
        second = asyncio.create_task(groups.record(impressions("token-00")))
        await _waiting(groups, 1)
        gate.pass_on.release()
        return [*await asyncio.gather(first, second), await groups.record(impressions("token-00"))]

    outcomes = asyncio.run(run())

    # Of the first, nobody can say what the defect left; the others were not touched.
    assert [one.refusal for one in outcomes if isinstance(one, RefusedReport)] == [
        RecordingRefusal.OUTCOME_UNKNOWN,
        RecordingRefusal.UNAVAILABLE,
        RecordingRefusal.UNAVAILABLE,
    ]
    assert not groups.is_alive
    groups.stop()
