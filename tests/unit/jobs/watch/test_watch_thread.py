"""Whoever looks after the watch's thread: one that hangs or dies is replaced, and the old one says nothing more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from jobs.watch.position import PositionKeeping
from jobs.watch.state import WatchReport
from jobs.watch.thread import WatchThread
from jobs.watch.watch import Term, Watch, WatchPace, WatchParts
from reconciler.backoff import Backoff
from reconciler.clock import utc_now
from reconciler.devstack.process import wait_until
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.metrics import Metrics
from reconciler.ports.hints import Key, KeyKind
from reconciler.ports.watch import Change, KeptPosition, Position, Quiet, Read
from reconciler.workqueue import WorkQueue

WITHIN_S = 30.0
CHANGE = Change(
    key=Key(KeyKind.PARTICIPATION, DocumentId(IdKind.STRING, "a")), operation="update", at=(1, 1), changed_at=utc_now()
)


class Alone:
    is_leader = True

    def while_leading(self, step: Callable[[], object]) -> Callable[[], None]:
        return lambda: (step(), None)[1]


@dataclass(slots=True)
class Paper:
    """A source and its streams, of which the first one does what the test says, and a place for positions."""

    first_read: Callable[[], None]
    opened: int = 0
    saved: list[str] = field(default_factory=list)

    def fingerprint(self) -> str:
        return "f"

    def open(self, position: Position | None) -> PaperStream:
        self.opened += 1
        return PaperStream(self, number=self.opened)

    def close(self) -> None:
        pass

    def load(self) -> KeptPosition:
        return KeptPosition(generation=0, position=None, fingerprint=None, changed_at=None, dropped_because=None)

    def save(self, position: Position, fingerprint: str, generation: int) -> bool:
        self.saved.append(position.token)
        return True

    def drop(self, because: str) -> int:
        return 1


@dataclass(slots=True)
class PaperStream:
    paper: Paper
    number: int
    reads: int = 0

    def read(self) -> Read:
        self.reads += 1
        if self.number == 1:
            self.paper.first_read()
        threading.Event().wait(0.005)
        return CHANGE if self.reads == 1 else Quiet()

    def position(self) -> Position:
        return Position(token=f"of stream {self.number}", reached_at=None)


@dataclass(slots=True)
class Scene:
    stopping: threading.Event
    queue: WorkQueue[Key]
    report: WatchReport
    thread: WatchThread

    def look_until(self, holds: Callable[[], bool]) -> bool:
        def look() -> bool:
            self.thread.look_after()
            return holds()

        return wait_until(look, timeout_s=WITHIN_S)


def scene_of(paper: Paper, *, stall_s: float = 0.2, clock_s: Callable[[], float] = time.monotonic) -> Scene:
    stopping, queue = threading.Event(), WorkQueue[Key](size_max=10)
    report = WatchReport(metrics=Metrics(), clock=utc_now)

    def make(term: Term) -> Watch:
        pace = WatchPace(backoff=Backoff(first_s=5, max_s=60), healthy_s=120, recheck_s=300, stall_s=stall_s)
        parts = WatchParts(
            source=paper,
            queue=queue,
            report=report,
            leading=Alone(),
            sweep=lambda: None,
            pace=pace,
            draw=lambda low, high: high,
        )
        return Watch(parts, PositionKeeping(paper, queue, report, interval_s=0.0), term)

    return Scene(stopping, queue, report, WatchThread(make, report, stopping=stopping, clock_s=clock_s))


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """Set at the end: nobody hangs for ever."""
    freed = threading.Event()
    yield freed
    freed.set()


def test_one_that_falls_silent_is_replaced_and_says_nothing_when_it_wakes(hanging: threading.Event) -> None:
    paper = Paper(lambda: (hanging.wait(WITHIN_S), None)[1])
    scene = scene_of(paper)
    with capture_logs() as said:
        scene.thread.start()
        assert scene.look_until(lambda: paper.opened == 2)
        assert wait_until(lambda: scene.queue.numbers().depth == 1, timeout_s=WITHIN_S)
        scene.queue.done(scene.queue.get_batch(1)[0].key)
        old = [one for one in threading.enumerate() if one.name == "watch"]
        assert len(old) == 2
        hanging.set()
        assert wait_until(lambda: sum(one.is_alive() for one in old) == 1, timeout_s=WITHIN_S)
        assert wait_until(lambda: bool(paper.saved), timeout_s=WITHIN_S)
        assert scene.queue.numbers().depth == 0, "what the old one read late it keeps to itself"
        scene.stopping.set()
        assert scene.thread.stop()
    assert "of stream 1" not in paper.saved
    assert "of stream 2" in paper.saved
    [line] = [line for line in said if line["action"] == "watch_restarted"]
    assert line["why"] == "it has fallen silent"
    assert scene.report.shown()["restarts"] == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_that_dies_by_a_defect_is_replaced() -> None:
    def die() -> None:
        raise ZeroDivisionError

    paper = Paper(die)
    scene = scene_of(paper, stall_s=60)
    with capture_logs() as said:
        scene.thread.start()
        assert scene.look_until(lambda: paper.opened == 2)
        scene.stopping.set()
        assert scene.thread.stop()
    assert [line["why"] for line in said if line["action"] == "watch_restarted"] == ["it has died by a defect"]


def test_replacing_is_no_storm() -> None:
    """Two hundred seconds in which every thread is overdue as soon as it is looked at."""
    now_s = [1000.0]
    scene = scene_of(Paper(lambda: None), stall_s=-1000.0, clock_s=lambda: now_s[0])
    scene.thread.start()
    with capture_logs() as said:
        for _ in range(200):
            now_s[0] += 1.0
            scene.report.beat(-1.0)
            scene.thread.look_after()
        scene.stopping.set()
    assert 5 <= len([line for line in said if line["action"] == "watch_restarted"]) <= 9


def test_the_end_of_the_daemon_does_not_wait_for_one_that_hangs(hanging: threading.Event) -> None:
    paper = Paper(lambda: (hanging.wait(WITHIN_S), None)[1])
    scene = scene_of(paper, stall_s=60)
    scene.thread.start()
    assert wait_until(lambda: paper.opened == 1, timeout_s=WITHIN_S)
    scene.stopping.set()
    assert not scene.thread.stop()
    assert scene.report.shown()["state"] == "stopped"
