"""A drill: a fault under a real daemon, seen from the operator's side and timed from the end of its cause.

Each drill pays somebody, hurts something, makes somebody due meanwhile, ends the cause, and asserts how soon that one
is paid. What was said and how long it took become one row of the table that `make faults` prints.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg
from bson.objectid import ObjectId

from reconciler.devstack.postgres import USER
from reconciler.devstack.process import wait_until
from tests.support.command_line import CommandLine, Running
from tests.support.platform import Platform
from tests.support.servers import Postgres

FAULT_S = float(os.environ.get("FAULT_S", "4"))
"""How long a fault lasts once somebody was told of it: short in the whole suite, longer in `make faults`."""

FREEZE_S = float(os.environ.get("FREEZE_S", "20"))
"""How long MongoDB is frozen: a minute in `make faults`."""

PAID_WITHIN_S = 60.0
"""The promise: paying goes on by itself within a minute of the end of its cause."""

BEFORE_S = 90.0
"""How long the payment before the fault may take, on a machine that does other things as well."""

PROPERTY = "drill"
"""The name under which a row goes from the test to the table."""

_SENTENCES_MAX = 2
_TELLING = ("warning", "error", "critical")
_LENGTH_MAX = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Where the payouts are counted: at the server itself, past every proxy and pooler."""

    query: Callable[[str, Sequence[object]], list[Any]]

    def is_paid(self, participation_id: object) -> bool:
        """Whether a payout of the participation is committed. A ledger that cannot be asked now holds none."""
        statement = "SELECT count(*) FROM payouts WHERE participation_id = {}"
        [[count]] = self.query(statement, [f"oid:{participation_id}"])
        return bool(count == 1)


def postgres_ledger(server: Postgres, database: str) -> Ledger:
    """A ledger on a PostgreSQL server."""

    def query(statement: str, parameters: Sequence[object]) -> list[Any]:
        try:
            with closing(postgres_session(server, database)) as connection:
                return connection.execute(statement.format("%s").encode(), parameters).fetchall()
        except psycopg.OperationalError:
            return [[0]]

    return Ledger(query=query)


def sqlite_ledger(path: str) -> Ledger:
    """A ledger in a file."""

    def query(statement: str, parameters: Sequence[object]) -> list[Any]:
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
                return connection.execute(statement.format("?"), tuple(parameters)).fetchall()
        except sqlite3.OperationalError:
            return [[0]]

    return Ledger(query=query)


def postgres_session(server: Postgres, database: str = "postgres") -> psycopg.Connection[Any]:
    """A session of the operator's own at the server itself; each statement is a transaction."""
    return psycopg.connect(
        host="127.0.0.1", port=server.port, user=USER, dbname=database, autocommit=True, connect_timeout=5
    )


def in_postgres(server: Postgres, database: str, *statements: str) -> None:
    """Do something at the server, as its administrator."""
    with closing(postgres_session(server, database)) as session:
        for statement in statements:
            session.execute(statement.encode())


@dataclass(slots=True, kw_only=True)
class Drill:
    """One fault. ``record`` takes the row of the table."""

    run_py: CommandLine
    platform: Platform
    ledger: Ledger
    record: Callable[[str, object], None]
    fault: str
    _campaign_id: Any = None
    _daemons: list[Running] = field(default_factory=list)
    _said_before: dict[int, int] = field(default_factory=dict)
    _over_s: float = 0.0

    def start(self, *arguments: str, **settings: str) -> Running:
        """A daemon, which :meth:`end` ends."""
        daemon = self.run_py.start(*arguments, **settings)
        self._daemons.append(daemon)
        return daemon

    def due(self) -> ObjectId:
        """Somebody reaches the target now."""
        if self._campaign_id is None:
            self._campaign_id = self.platform.campaign(budget=3300 * 100, targetImpressions=2000)
        return ObjectId(str(self.platform.participation(self._campaign_id, 2000)))

    def pay_one(self) -> None:
        """Everything works: somebody becomes due, and is paid."""
        participation_id = self.due()
        assert wait_until(lambda: self.ledger.is_paid(participation_id), timeout_s=BEFORE_S), self._log()

    def begin_fault(self) -> None:
        """What is said from here on counts as what the operator sees."""
        self._said_before = {id(daemon): len(daemon.lines) for daemon in self._daemons}

    def last(self, seconds: float = FAULT_S) -> None:
        """Let the fault last: how long it does is what is drilled, and nothing is waited for."""
        time.sleep(seconds)

    def said(self) -> list[Mapping[str, Any]]:
        """The lines since the fault began that an operator is alerted by, of every daemon."""
        found: list[Mapping[str, Any]] = []
        for daemon in self._daemons:
            lines = daemon.lines[self._said_before.get(id(daemon), 0) :]
            events = [json.loads(line) for line in lines if line.startswith("{")]
            found += [event for event in events if event.get("level") in _TELLING]
        return found

    def wait_until_said(self, *words: str) -> None:
        """Wait for a line that tells the fault: it holds all of the words."""

        def is_said() -> bool:
            return any(all(word in json.dumps(line) for word in words) for line in self.said())

        assert wait_until(is_said, timeout_s=PAID_WITHIN_S), self._log()

    def over(self) -> None:
        """The cause is over: the clock of the promise starts."""
        self._over_s = time.monotonic()

    def paid_again(self, participation_id: ObjectId) -> None:
        """Whoever became due is paid in time, and the row goes into the table."""
        self.comes_true(lambda: self.ledger.is_paid(participation_id))

    def comes_true(self, holds: Callable[[], bool]) -> None:
        """Something holds within the promised time, and the row goes into the table."""
        is_in_time = wait_until(holds, timeout_s=PAID_WITHIN_S)
        seconds = time.monotonic() - self._over_s
        assert is_in_time, self._log()
        self.row(self._first_said(), f"{seconds:.1f}")

    def row(self, saw: str, outcome: str) -> None:
        """One row of the table."""
        self.record(PROPERTY, [self.fault, saw, outcome])

    def all_live(self) -> None:
        """No daemon has ended."""
        assert [daemon.process.poll() for daemon in self._daemons] == [None] * len(self._daemons), self._log()

    def end(self) -> None:
        """End what was started."""
        for daemon in self._daemons:
            daemon.kill()

    def _first_said(self) -> str:
        said = self.said()
        if not said:
            return "nothing: nobody had to be told"
        sentences = dict.fromkeys(_sentence(line) for line in said)
        return "; then ".join(list(sentences)[:_SENTENCES_MAX])

    def _log(self) -> str:
        return "\n".join("".join(daemon.lines[-15:]) for daemon in self._daemons)


def _sentence(line: Mapping[str, Any]) -> str:
    """What a line says, without what differs from run to run, and short enough for a table."""
    reason = next((str(line[name]) for name in ("reason", "detail", "holder") if line.get(name)), "")
    text = f"{line['event']}: {reason}" if reason else str(line["event"])
    text = re.sub(r"\b[\d:.-]{4,}\b", "…", re.sub(r"\s+", " ", text)).replace("|", "/")
    return text if len(text) <= _LENGTH_MAX else f"{text[:_LENGTH_MAX]}…"
