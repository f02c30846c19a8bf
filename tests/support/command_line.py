"""run.py as people and machines run it: a process of its own, with its output and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reconciler.devstack.postgres import PASSWORD

RUN_PY = Path(__file__).parents[2] / "run.py"
WITHIN_S = 60.0
"""Longer than anything takes on a busy machine; nothing waits for it that goes well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    def json(self) -> dict[str, Any]:
        """The one JSON document on stdout; json.loads refuses anything before or after it."""
        assert self.stdout, self.stderr
        document = json.loads(self.stdout)
        assert isinstance(document, dict)
        return document

    @property
    def sentence(self) -> str:
        """The one line on stderr."""
        lines = self.stderr.splitlines()
        assert len(lines) == 1, self.stderr
        return lines[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """Where run.py runs: a folder without a config.yaml, and settings in the environment."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **settings: str) -> Finished:
        """Run a command to its end. Whatever it is: no traceback, and not the password of the ledger."""
        started = time.monotonic()
        done = subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env=self._environ(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
        )
        _expect_safe(done.stdout + done.stderr)
        return Finished(
            code=done.returncode, stdout=done.stdout, stderr=done.stderr, seconds=time.monotonic() - started
        )

    def start(self, *arguments: str, **settings: str) -> Running:
        """Start a command, of which the log can be waited for."""
        environ = self._environ({"RECONCILER__LOG__FORMAT": "json"} | settings)
        return Running(self._command(arguments), self.folder, environ)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, str(RUN_PY), *arguments]

    def _environ(self, settings: Mapping[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "MONGOD") if name in os.environ}
        return kept | dict(self.settings) | dict(settings)


class Running:
    """A command that runs. `with` ends it by force if it has not ended by itself."""

    def __init__(self, command: list[str], folder: Path, environ: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._has_ended = False
        self._reader = threading.Thread(target=self._read, name="stderr", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.kill()
        if error is not None:
            error.add_note("".join(self.lines[-20:]))
        else:
            _expect_safe("".join(self.lines))

    def events(self, action: str) -> list[dict[str, Any]]:
        """The log lines of an action so far."""
        with self._said:
            lines = [line for line in self.lines if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event.get("action") == action]

    def wait_for(self, action: str, *, times: int = 1) -> list[dict[str, Any]]:
        """The log lines of an action, once there are so many of them."""
        with self._said:
            came = self._said.wait_for(lambda: self._has_ended or len(self.events(action)) >= times, WITHIN_S)
        found = self.events(action)
        assert came, f"{action} did not come within {WITHIN_S} s"
        assert len(found) >= times, f"the process ended before {action}"
        return found

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, *, within_s: float = WITHIN_S) -> int:
        """The exit code; fails when the process is still there after that time."""
        code = self.process.wait(within_s)
        self._reader.join()
        return code

    def kill(self) -> None:
        """SIGKILL; harmless when it has ended."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self.lines.append(line)
                self._said.notify_all()
        with self._said:
            self._has_ended = True
            self._said.notify_all()


def _expect_safe(output: str) -> None:
    assert "Traceback" not in output
    assert PASSWORD not in output
