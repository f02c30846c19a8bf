"""Sweeps, and other steps of a life, that die by SIGKILL at a chosen boundary between two effects.

`python -m tests.support.dying` imports the product once and forks for every sweep asked for, since starting Python
takes ten times as long as the sweep. A boundary lies before and after each commit of a ledger transaction that writes,
and before and after each write command that MongoDB is sent. :class:`DyingSweeps` is the other end of the pipe.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from pymongo import monitoring
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from sqlalchemy.engine import Connection, Engine

from reconciler.config.models import LogSettings
from reconciler.telemetry import configure_logging
from tests.support.full_life import opened, take

ROOT = Path(__file__).parents[2]
WRITES = ("update", "insert", "delete", "findAndModify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """What one sweep crossed, and by which signal it died (0: it did not)."""

    boundaries: list[str]
    by_signal: int


class DyingSweeps:
    """`with DyingSweeps() as sweeps: sweeps.run(settings, die_at=3)`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.dying"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.communicate(timeout=60)

    def run(
        self, settings: Mapping[str, object], *, die_at: int | None = None, step: tuple[str, str, int] | None = None
    ) -> Died:
        """One sweep, or one ``step`` of a participation's life; ``die_at`` counts boundaries from 0."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"settings": settings, "die_at": die_at, "step": step}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Died(boundaries=answer["boundaries"], by_signal=answer["by_signal"])


class Boundaries(CommandListener):
    """Names each boundary as it is crossed, and dies at one of them."""

    def __init__(self, die_at: int | None, report: int) -> None:
        self._die_at = die_at
        self._report = report
        self._crossed = 0
        self._of_thread = threading.local()
        self._sent: dict[int, str] = {}

    def watch(self, engine: Engine) -> None:
        """Boundaries around the commits of an engine; those of transactions that only read are none."""
        commit = engine.dialect.do_commit

        def committing(connection: Any) -> None:
            # Signs of life and renewals are given in threads of their own, whenever their time comes.
            if not getattr(self._of_thread, "writes", False) or not _is_main():
                commit(connection)
                return
            self._cross("before a commit")
            commit(connection)
            self._cross("after a commit")

        @sa.event.listens_for(engine, "begin")
        def note(connection: Connection) -> None:
            self._of_thread.writes = bool(connection.get_execution_options().get("ledger_writes"))

        setattr(engine.dialect, "do_commit", committing)  # noqa: B010 - mypy refuses to assign to a method

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in WRITES and _is_main():
            self._sent[event.request_id] = event.command[event.command_name]
            self._cross(f"before {event.command_name} {self._sent[event.request_id]}")

    def succeeded(self, event: CommandSucceededEvent) -> None:
        if event.request_id in self._sent:
            self._cross(f"after {event.command_name} {self._sent.pop(event.request_id)}")

    def failed(self, event: CommandFailedEvent) -> None:
        """No boundary: the sweep raises."""

    def _cross(self, name: str) -> None:
        os.write(self._report, f"{name}\n".encode())
        if self._crossed == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._crossed += 1


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _do(asked: Mapping[str, Any], report: int) -> None:
    boundaries = Boundaries(asked["die_at"], report)
    monitoring.register(boundaries)
    with opened(asked["settings"]) as (parts, days):
        boundaries.watch(parts.engine)
        if asked["step"] is None:
            parts.sweep.step("fault")
        else:
            name, participation_id, born_on = asked["step"]
            take(name, parts, days, participation_id, born_on)


def _forked(asked: Mapping[str, Any]) -> dict[str, object]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _do(asked, writing)
        finally:
            # Before an exception could reach the parent's loop, which this process is a copy of.
            if sys.exc_info()[0] is not None:
                traceback.print_exc()
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as boundaries:
        names = boundaries.read().splitlines()
    _, status = os.waitpid(child, 0)
    return {"boundaries": names, "by_signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}


def _main() -> None:
    configure_logging(LogSettings(level="warning"), sys.stderr)
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(_forked(asked)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
