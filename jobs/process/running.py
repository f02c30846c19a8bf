"""A run: its identity, its time, and its record from beginning to end."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog

from reconciler.clock import Clock
from reconciler.errors import DatabaseFailure, ReconcilerError
from reconciler.ports.runs import RunRecord, Runs
from reconciler.redaction import redact

log = structlog.get_logger(__name__)

BEAT_INTERVAL_S = 15.0
"""Between two signs of life of a run: rare beside what a run does, often beside how long it may be silent."""


class Interrupted(Exception):
    """A run that was asked to end before it was through: no fault of its own."""


class RunInProgress:
    """A run that has begun; ``end`` says how it ended, and an exception says it failed."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record

    @property
    def run_id(self) -> str:
        """The run's identity, kept with everything it posts."""
        return self.record.run_id

    def end(self, outcome: str, counts: Mapping[str, object]) -> None:
        """Say how the run ended."""
        self.record = replace(self.record, outcome=outcome, counts=dict(counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecorder:
    """Records runs. In a dry run ``runs`` is None and nothing is kept."""

    runs: Runs | None
    clock: Clock

    @contextmanager
    def run(self, kind: str, trigger: str) -> Iterator[RunInProgress]:
        """A run from here to the end of the block. An exception is recorded as its failure and raised again.

        Runs that died with their process are found here, by whoever begins the next one.
        """
        run = RunInProgress(RunRecord(run_id=str(uuid.uuid4()), kind=kind, trigger=trigger, started_at=self.clock()))
        if self.runs is not None:
            self._end_silent(self.runs)
            self.runs.start(run.record)
        try:
            with self._beating(run.run_id):
                yield run
        except BaseException as error:
            self._finish_failed(run.record, error)
            raise
        self._finish(run.record)

    def _end_silent(self, runs: Runs) -> None:
        for lost in runs.end_silent():
            log.warning(
                "a run was interrupted: its process ended before it did",
                action="run_interrupted",
                run_id=lost.run_id,
                kind=lost.kind,
                started_at=lost.started_at.isoformat(),
            )

    @contextmanager
    def _beating(self, run_id: str) -> Iterator[None]:
        """Signs of life from a thread of its own, until the end of the block."""
        if self.runs is None:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=_beat, args=(self.runs, run_id, ended), name="run-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            # Not joined: it may wait for a lock, and a late sign of life of a run that has ended changes nothing.
            ended.set()

    def _finish_failed(self, record: RunRecord, error: BaseException) -> None:
        try:
            self._finish(replace(record, outcome=_outcome_of(error), error=_sentence(error)))
        except ReconcilerError as failure:
            # What went wrong first is what must be known; the run will be found without an end.
            log.warning("a failed run could not be recorded", action="run_not_kept", reason=str(failure))

    def _finish(self, record: RunRecord) -> None:
        if self.runs is not None:
            self.runs.finish(replace(record, finished_at=self.clock()))


def _beat(runs: Runs, run_id: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT_INTERVAL_S):
        try:
            runs.beat(run_id)
        except DatabaseFailure as failure:
            # The run itself meets it too, and says so.
            log.debug("a sign of life could not be given", action="beat_failed", reason=str(failure))


def _outcome_of(error: BaseException) -> str:
    return "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt | SystemExit) else "failed"


def _sentence(error: BaseException) -> str:
    if isinstance(error, ReconcilerError):
        return str(error)
    if isinstance(error, Interrupted | SystemExit):
        return "it was told to stop before it was through"
    if isinstance(error, KeyboardInterrupt):
        return "somebody pressed Ctrl-C"
    return redact(f"{type(error).__name__}: {error}")
