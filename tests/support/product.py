"""The product on test servers, opened with other settings or another clock, and its command line in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.parts import Parts, parts_of
from cli.app import main
from reconciler.config import load
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from tests.support.ledger import ToldClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> dict[str, Any]:
        """The one document on stdout."""
        document = json.loads(self.stdout)
        assert isinstance(document, dict)
        return document


@dataclass(slots=True, kw_only=True)
class Product:
    """``servers``: the settings that say where they are. ``days`` is how far the clock is ahead of the real one."""

    servers: dict[str, str]
    capsys: pytest.CaptureFixture[str]
    days: int = 0
    settings: dict[str, object] = field(default_factory=dict)

    def clock(self) -> datetime:
        now = datetime.now(UTC) + timedelta(days=self.days)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    @contextmanager
    def open(self, overrides: Mapping[str, object] | None = None) -> Iterator[Parts]:
        settings = load(None, {}, {**self.servers, **self.settings, **(overrides or {})})
        with parts_of(settings, clock=self.clock, ledger_clock=ToldClock(self.clock)) as parts:
            yield parts

    def sweep(self) -> Any:
        """One sweep; answers what became of whom."""
        with self.open() as parts:
            return parts.sweep.step("test").settled

    def keep_house(self) -> Any:
        with self.open() as parts:
            return parts.housekeeping.step()

    def migrate(self) -> None:
        engine = open_engine(self.servers["ledger.url"])
        upgrade(engine)
        engine.dispose()

    def run(self, *arguments: str) -> Answer:
        """A command by its real clock. Whatever it is: no traceback."""
        given = {**self.servers, **self.settings, "log.level": "error"}
        flags = [flag for name, value in given.items() for flag in ("--set", f"{name}={value}")]
        self.capsys.readouterr()
        code = main([*flags, *arguments])
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err
        return Answer(code=code, stdout=out, stderr=err)
