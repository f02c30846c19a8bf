"""The watch against a scripted server: what a real one cannot be made to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from jobs.watch.position import PositionKeeping
from jobs.watch.state import WatchReport
from jobs.watch.watch import Watch, WatchPace, WatchParts
from reconciler.backoff import Backoff
from reconciler.clock import utc_now
from reconciler.config.mapping import MappingSettings
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.operations.stream_positions import StreamPositions
from reconciler.metrics import Metrics
from reconciler.mongo.change_stream import ChangeStreams, StreamLimits
from reconciler.ports.hints import Key, KeyKind
from reconciler.ports.watch import Position
from reconciler.workqueue import WorkQueue
from tests.support.wire_server import Batch, Hurt, Refusal, WireServer, event, token

LIMITS = StreamLimits(await_max_s=0.1, silence_max_s=1.0, open_max_s=5.0, server_wait_max_s=5.0)
IMPATIENT = StreamLimits(await_max_s=0.1, silence_max_s=0.4, open_max_s=0.5, server_wait_max_s=1.0)
RESUMABLE = ("ResumableChangeStreamError",)
WITHIN_S = 20.0


class Alone:
    """Leads for ever."""

    is_leader = True

    def while_leading(self, step: Callable[[], object]) -> Callable[[], None]:
        return lambda: (step(), None)[1]


@dataclass(slots=True, kw_only=True)
class Scene:
    """A watch that is stepped by hand, its queue, and what it asked for."""

    server: WireServer
    engine: sa.Engine
    over: threading.Event = field(default_factory=threading.Event)
    queue: WorkQueue[Key] = field(default_factory=lambda: WorkQueue(size_max=100))
    swept: list[int] = field(default_factory=list)
    """After how many aggregates each sweep was asked for."""
    report: WatchReport = field(default_factory=lambda: WatchReport(metrics=Metrics(), clock=utc_now))

    def is_over(self) -> bool:
        return self.over.is_set()

    def is_replaced(self) -> bool:
        return False

    @property
    def positions(self) -> StreamPositions:
        return StreamPositions(self.engine, clock=utc_now)

    def source(self, limits: StreamLimits = LIMITS) -> ChangeStreams:
        return ChangeStreams(self.server.uri, "test", MappingSettings(), limits)

    def watch(self, limits: StreamLimits = LIMITS) -> Watch:
        parts = WatchParts(
            source=self.source(limits),
            queue=self.queue,
            report=self.report,
            leading=Alone(),
            sweep=lambda: self.swept.append(len(self.opened)),
            pace=WatchPace(backoff=Backoff(first_s=5, max_s=60), healthy_s=120, recheck_s=300, stall_s=60),
            draw=lambda low, high: high,
        )
        return Watch(parts, PositionKeeping(self.positions, self.queue, self.report, interval_s=0.0), self)

    @property
    def opened(self) -> list[object]:
        """For each aggregate, after which token it was to start (None: now)."""
        commands = [one for one in list(self.server.commands) if "aggregate" in one]
        stages = [one["pipeline"][0]["$changeStream"] for one in commands]
        return [stage.get("startAfter") or stage.get("resumeAfter") for stage in stages]

    def end_after(self, holds: Callable[[], bool]) -> threading.Thread:
        """End the watch, from a thread of its own, once something holds."""

        def wait() -> None:
            until_s = time.monotonic() + WITHIN_S
            while not holds() and time.monotonic() < until_s:
                time.sleep(0.01)
            self.over.set()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread

    def taken(self) -> list[str]:
        return [work.key.document_id.value for work in self.queue.get_batch(100)]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    engine = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    upgrade(engine)
    with WireServer() as server:
        # hello and listCollections of the fingerprint: no collection is there.
        server.always("listCollections", {"ok": 1.0, "cursor": {"id": 0, "ns": "test.$cmd", "firstBatch": []}})
        scene = Scene(server=server, engine=engine)
        yield scene
        scene.over.set()
    engine.dispose()


def of(document_id: str, number: int) -> dict[str, object]:
    return event(document_id, number, collection="campaignparticipations")


def test_a_silent_getmore_ends_with_a_new_stream_from_the_last_event(scene: Scene) -> None:
    scene.server.script("aggregate", Batch(token=token(1)), Batch(events=[of("b", 6)]))
    scene.server.script("getMore", Batch(events=[of("a", 5)]), Hurt.SILENCE)
    scene.end_after(lambda: scene.queue.numbers().depth >= 2)
    assert scene.watch().step() == 0.0
    assert scene.taken() == ["a", "b"]
    assert scene.opened == [None, token(5)], "the driver went on from there by itself"
    assert scene.swept == [1]


@pytest.mark.parametrize("hurt", [Hurt.HALF_CLOSE, Hurt.DROP])
def test_a_connection_that_is_closed_is_gone_on_from(scene: Scene, hurt: Hurt) -> None:
    scene.server.script("aggregate", Batch(token=token(1)), Batch(events=[of("b", 6)]))
    scene.server.script("getMore", Batch(events=[of("a", 5)]), hurt)
    scene.end_after(lambda: scene.queue.numbers().depth >= 2)
    scene.watch().step()
    assert scene.taken() == ["a", "b"]


@pytest.mark.parametrize("refusal", [Refusal(code=43), Refusal(code=189, labels=RESUMABLE)])
def test_what_the_driver_resumes_is_no_loss(scene: Scene, refusal: Refusal) -> None:
    scene.server.script("aggregate", Batch(token=token(1)), Batch(token=token(6)))
    scene.server.script("getMore", Batch(events=[of("a", 5)]), refusal, Batch(events=[of("b", 7)]))
    scene.end_after(lambda: scene.queue.numbers().depth >= 2)
    scene.watch().step()
    assert scene.taken() == ["a", "b"]
    assert scene.report.shown()["positions_lost"] == 0


@pytest.mark.parametrize(
    ("code", "reason"), [(280, "fatal_stream_error"), (286, "history_lost"), (10334, "event_too_large")]
)
def test_a_dead_position_is_dropped_before_the_stream_is_opened_at_now(scene: Scene, code: int, reason: str) -> None:
    scene.server.script("aggregate", Batch(token=token(1)), Batch(token=token(9)))
    scene.server.script("getMore", Batch(token=token(4)), Batch(token=token(5)), Refusal(code=code))
    watch = scene.watch()
    with capture_logs() as said:
        assert watch.step() == 0.0, "nothing is left to wait for"
    kept = scene.positions.load()
    assert (kept.position, kept.dropped_because, kept.generation) == (None, reason, 1)
    assert [line["reason"] for line in said if line["action"] == "stream_position_lost"] == [reason]
    scene.end_after(lambda: scene.server.wait_for("getMore", 5))
    watch.step()
    assert scene.opened == [None, None]
    assert scene.swept == [1, 2], "after each opening, and after it only"


def test_a_position_that_is_lost_again_and_again_is_no_tight_loop(scene: Scene) -> None:
    scene.server.always("aggregate", Refusal(code=286))
    watch = scene.watch()
    waits = [watch.step() for _ in range(6)]
    assert waits == [0.0, 5.0, 10.0, 20.0, 40.0, 60.0]
    assert scene.swept == []


def test_a_stream_that_cannot_be_opened_in_time_twice_is_opened_at_now(scene: Scene) -> None:
    source = scene.source()
    fingerprint = source.fingerprint()
    source.close()
    assert isinstance(fingerprint, str)
    kept = Position(token='{"_data": "82000000030000"}', reached_at=None)
    assert scene.positions.save(kept, fingerprint, 0)
    scene.server.script("aggregate", Hurt.SILENCE, Hurt.SILENCE, Hurt.SILENCE, Hurt.SILENCE)
    watch = scene.watch(IMPATIENT)
    assert watch.step() == 5.0
    assert scene.positions.load().position is not None
    assert watch.step() == 0.0
    assert scene.positions.load().dropped_because == "open_timeout"


def test_a_stream_that_just_ends_is_a_loss(scene: Scene) -> None:
    scene.server.script("aggregate", Batch(token=token(1)), Batch(token=token(9)))
    scene.server.script("getMore", Batch(events=[of("a", 5)]), Batch(ends=True))
    watch = scene.watch()
    assert watch.step() == 0.0
    assert scene.positions.load().dropped_because == "ended"
    assert scene.taken() == ["a"]


def test_failures_in_a_row_wait_longer_and_a_state_is_said_once(scene: Scene) -> None:
    scene.server.always("aggregate", Refusal(code=11_601))
    watch = scene.watch()
    with capture_logs() as said:
        waits = [watch.step() for _ in range(4)]
    assert waits == [5.0, 10.0, 20.0, 40.0]
    states = [line["state"] for line in said if line["action"] == "stream_state"]
    assert states == ["starting", "backing_off"]


@pytest.mark.parametrize(("code", "reason"), [(40573, "no_change_streams"), (13, "no_privilege"), (20, "code_20")])
def test_where_nothing_can_be_watched_it_says_so_once_and_looks_again(scene: Scene, code: int, reason: str) -> None:
    scene.server.script("aggregate", *([Refusal(code=code)] * 3), Batch(token=token(1)))
    watch = scene.watch()
    with capture_logs() as said:
        assert [watch.step() for _ in range(3)] == [300.0] * 3
    [line] = [line for line in said if line.get("state") == "degraded_polling"]
    assert line["why"].startswith(reason)
    assert line["how"]
    scene.end_after(lambda: scene.report.shown()["state"] == "streaming")
    watch.step()
    assert scene.swept == [4]


def test_a_document_without_a_readable_identity_is_counted_and_passed(scene: Scene) -> None:
    scene.server.script("aggregate", Batch(token=token(1)))
    unreadable = of("x", 5) | {"documentKey": {"_id": 5}}
    scene.server.script("getMore", Batch(events=[unreadable, of("a", 6)]))
    scene.end_after(lambda: scene.queue.numbers().depth >= 1)
    scene.watch().step()
    assert scene.queue.get_batch(9)[0].key == Key(KeyKind.PARTICIPATION, DocumentId(IdKind.STRING, "a"))
    assert scene.report.shown()["unnamed_events"] == 1
