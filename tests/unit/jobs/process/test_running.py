"""A run's record: signs of life while it goes on, how it ended, and what must not be lost when that cannot be kept."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from jobs.check.options import Stopped
from jobs.process import running
from jobs.process.running import RunRecorder
from reconciler.errors import InvariantBroken, Outage
from reconciler.ports.runs import RunRecord

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Kept:
    """A record of runs in memory, of which the database may go away."""

    def __init__(self) -> None:
        self.finished: list[RunRecord] = []
        self.beats: list[str] = []
        self.has_beaten = threading.Event()
        self.is_away = False
        self.silent: list[RunRecord] = []

    def start(self, run: RunRecord) -> None:
        assert run.outcome is None

    def beat(self, run_id: str) -> None:
        self.beats.append(run_id)
        if len(self.beats) == 1:
            raise Outage("ledger", "it is gone for a moment")
        self.has_beaten.set()

    def end_silent(self) -> Sequence[RunRecord]:
        lost, self.silent = self.silent, []
        return lost

    def finish(self, run: RunRecord) -> None:
        if self.is_away:
            raise Outage("ledger", "it is gone")
        self.finished.append(run)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def recorder(kept: Kept) -> RunRecorder:
    return RunRecorder(runs=kept, clock=lambda: NOW)


def test_signs_of_life_go_on_beyond_an_outage(
    recorder: RunRecorder, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "BEAT_INTERVAL_S", 0.001)
    with recorder.run("full_check", "test") as run:
        assert kept.has_beaten.wait(30)
        run.end("clean", {"report_id": "r"})
    assert set(kept.beats) == {run.run_id}
    [record] = kept.finished
    assert (record.outcome, record.finished_at, record.counts) == ("clean", NOW, {"report_id": "r"})


@pytest.mark.parametrize(
    ("error", "outcome", "sentence"),
    [
        (Outage("mongodb", "nobody answers"), "failed", "MongoDB cannot be reached: nobody answers"),
        (ValueError("mongodb://a:secret@h is odd"), "failed", "ValueError: mongodb://"),
        (Stopped(), "interrupted", "it was told to stop before it was through"),
        (KeyboardInterrupt(), "interrupted", "somebody pressed Ctrl-C"),
    ],
)
def test_how_it_ended_is_kept_and_goes_on_its_way(
    recorder: RunRecorder, kept: Kept, error: BaseException, outcome: str, sentence: str
) -> None:
    with pytest.raises(type(error)), recorder.run("full_check", "test"):
        raise error
    [record] = kept.finished
    assert record.outcome == outcome
    assert record.error is not None
    assert record.error.startswith(sentence)
    assert "secret" not in record.error


def test_what_went_wrong_first_is_what_is_raised(recorder: RunRecorder, kept: Kept) -> None:
    kept.is_away = True
    with pytest.raises(InvariantBroken), recorder.run("sweep", "test"):
        raise InvariantBroken("zero_sum", "an entry does not sum to zero")
    assert kept.finished == []


def test_a_good_run_that_cannot_be_recorded_is_an_outage(recorder: RunRecorder, kept: Kept) -> None:
    kept.is_away = True
    with pytest.raises(Outage), recorder.run("sweep", "test"):
        pass


def test_without_a_record_nothing_is_kept() -> None:
    with RunRecorder(runs=None, clock=lambda: NOW).run("sweep", "dry") as run:
        assert run.run_id
