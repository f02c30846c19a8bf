"""A run: its identity, its time, and its record from beginning to end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog

from reconciler.clock import Clock
from reconciler.ports import RunRecord, Runs

log = structlog.get_logger(__name__)


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
        """A run from here to the end of the block. An exception is recorded with it and goes on its way."""
        run = RunInProgress(RunRecord(run_id=str(uuid.uuid4()), kind=kind, trigger=trigger, started_at=self.clock()))
        if self.runs is not None:
            self.runs.start(run.record)
        try:
            yield run
        except BaseException as error:
            self._finish(replace(run.record, outcome="failed", error=f"{type(error).__name__}: {error}"))
            raise
        self._finish(run.record)

    def _finish(self, record: RunRecord) -> None:
        if self.runs is not None:
            self.runs.finish(replace(record, finished_at=self.clock()))
