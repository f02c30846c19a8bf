"""Connections to PostgreSQL: what is set on each, directly or through a pooler, and an end to every wait.

A kernel or a proxy may acknowledge bytes after the server behind it fell silent, so keepalives alone do not show it.
When a statement has no result after ``answer_s`` seconds, this program asks over a new connection whether the server
works on it, and if it waits for a lock, who holds that. It gives up a statement that the server does not work on, and
goes on waiting for a long one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
import structlog
from psycopg.abc import PQGen
from psycopg.pq import Conninfo
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.pool import ConnectionPoolEntry

from reconciler.ledger.limits import Limits
from reconciler.ledger.round_trip import one_round_trip

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

APPLICATION = "payout-reconciler"
CONNECT_TIMEOUT_S = 5
PING_S = 2.0
"""An idle connection that takes longer to say that it is there is replaced: a new one costs milliseconds."""

IDLE_S = 0.05
"""After so long a connection may have died unnoticed. A server does not restart within it."""

WAKE_S = 0.1
"""How often a wait looks at the clock."""

_ADDRESS: Mapping[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "application_name": APPLICATION,
    # For sessions whose host is gone: the kernels on both sides notice within half a minute.
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""What holds unless the URL, or libpq's own environment (``PGAPPNAME`` …), says otherwise."""

_OURS: Mapping[str, str] = {"timezone": "UTC", "datestyle": "ISO", "synchronous_commit": "on"}
ENCODING = "utf8"
"""What the ledger rests on, whatever the URL says. Identities are of every alphabet."""

_OPTIONS_REFUSED = re.compile("startup parameter|command-line options")
_OPTION = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)=((?:\\.|\S)*)")

_INQUIRY = """
WITH RECURSIVE mine AS (
    SELECT pid, state, wait_event_type FROM pg_stat_activity WHERE pid = %(pid)s
), before(pid) AS (
    SELECT unnest(pg_blocking_pids(pid)) FROM mine
    UNION SELECT unnest(pg_blocking_pids(pid)) FROM before
)
SELECT mine.state = 'active' AND mine.wait_event_type IS DISTINCT FROM 'Client',
    other.pid, coalesce(other.application_name, ''), other.usename, coalesce(host(other.client_addr), 'this machine'),
    coalesce(other.state, 'hidden'), to_char(other.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
    CASE WHEN other.state LIKE 'idle in transaction%%' OR other.wait_event_type = 'Client'
        THEN extract(epoch FROM clock_timestamp() - other.state_change)::float8 END,
    other.usename = current_user AND other.application_name = current_setting('application_name')
FROM mine LEFT JOIN (
    before JOIN pg_stat_activity other ON other.pid = before.pid AND other.wait_event_type IS DISTINCT FROM 'Lock'
) ON true
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock that a statement waits for. ``silent_s``: for how long the server waits for its client."""

    pid: int
    application: str
    role: str
    client: str
    state: str
    since: str | None
    silent_s: float | None
    is_ours: bool

    def __str__(self) -> str:
        since = "" if self.since is None else f", in a transaction since {self.since} UTC"
        who = f"{self.application or 'no name'}, role {self.role}, from {self.client}, {self.state}"
        return f"session {self.pid} ({who}{since})"


class WatchedConnection(psycopg.Connection[Any]):
    """A connection on which every wait has an end. Made by :func:`connect`."""

    limits = Limits()
    address: Mapping[str, Any] = {}
    """How to reach the server again; empty for a connection that only asks after others."""
    settings: Mapping[str, str] = {}
    is_pooled = False
    """Whether each transaction may meet another session of the server: then it begins with :meth:`set_up`."""
    server_pid: int | None = None

    def wait(self, gen: PQGen[Result], interval: float = WAKE_S, timeout: float | None = None) -> Result:
        """As the driver does, but only while the server works on the statement. Raises OperationalError."""
        return super().wait(self._until_nobody_works(gen), interval, timeout)

    def ping(self) -> None:
        """Check that the server replies. Raises psycopg.Error."""
        whole, self.limits = self.limits, Limits(answer_s=min(PING_S, self.limits.answer_s))
        address, self.address = self.address, {}
        was, self.autocommit = self.autocommit, True
        self.execute("", prepare=False)
        self.autocommit, self.limits, self.address = was, whole, address

    def set_up(self) -> None:
        """Behind a pooler, where no setting of a session stays with us: set all for the transaction that begins.

        It goes out together with the BEGIN. Raises psycopg.Error.
        """
        self.server_pid = None
        chosen = ", ".join(["set_config(%s, %s, true)"] * len(self.settings))
        values = [part for setting in self.settings.items() for part in setting]
        with self.pipeline():
            row = self.execute(f"SELECT pg_backend_pid(), {chosen}", values).fetchone()
        self.server_pid = None if row is None else row[0]

    def _until_nobody_works(self, waiting: PQGen[Result]) -> PQGen[Result]:
        began_s = asked_s = time.monotonic()
        holder: Holder | None = None
        try:
            wanted = next(waiting)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() - asked_s > self.limits.answer_s:
                    holder = self._ask_after(began_s, holder)
                    asked_s = time.monotonic()
                wanted = waiting.send(ready)
        except StopIteration as end:
            result: Result = end.value
            return result
        except psycopg.errors.LockNotAvailable as error:
            if holder is None:
                raise
            waited_s = time.monotonic() - began_s
            raise psycopg.errors.LockNotAvailable(f"no lock within {waited_s:.0f} s: {holder} holds it") from error

    def _ask_after(self, began_s: float, known: Holder | None) -> Holder | None:
        """The session that the statement waits for, if any. Raises OperationalError when no server works on it."""
        waited_s = time.monotonic() - began_s
        works, holders = False, list[Holder]()
        reason = "the server does not work on it: the connection fell silent"
        try:
            if self.address:
                works, holders = self._inquire()
        except psycopg.Error as error:
            reason = f"the server does not answer over a new connection either: {error}"
        if not works or waited_s > self.limits.statement_s + self.limits.answer_s:
            # Without a word to the server: it may be the one that does not hear us.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {waited_s:.0f} s, and {reason}")
        holder = holders[0] if holders else None
        if holder is not None and (known is None or known.pid != holder.pid):
            log.warning(
                "a statement waits for a lock",
                action="lock_waited_for",
                holder=str(holder),
                waited_s=round(waited_s, 1),
            )
        return holder

    def _inquire(self) -> tuple[bool, list[Holder]]:
        """Whether the server works on our statement, and who holds the locks that it waits for."""
        with WatchedConnection.connect(**{**self.address, "autocommit": True}) as other:
            other.limits = self.limits
            found = other.execute(_INQUIRY, {"pid": self.server_pid}, prepare=False).fetchall()
            holders = [Holder(*row[1:]) for row in found if row[1] is not None]
            self._end_silent(other, holders)
        return any(row[0] for row in found), holders

    def _end_silent(self, other: WatchedConnection, holders: list[Holder]) -> None:
        """End sessions of this program that hold up others while their own process is frozen or gone.

        Nothing is lost: what such a session had not committed is done again, by whoever leads then.
        """
        for holder in holders:
            if holder.is_ours and holder.silent_s is not None and holder.silent_s > self.limits.hold_s:
                other.execute("SELECT pg_terminate_backend(%s)", [holder.pid], prepare=False)
                log.warning(
                    "ended a session of this program that held a lock and said nothing",
                    action="lock_holder_ended",
                    holder=str(holder),
                    silent_s=round(holder.silent_s, 1),
                )


def open_postgres(url: URL, limits: Limits) -> Engine:
    """An engine for PostgreSQL; connects lazily, on first use."""
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        # The same few connections again and again: their statements are prepared already.
        pool_use_lifo=True,
        pool_size=5,
        max_overflow=10,
        isolation_level="READ COMMITTED",
    )

    @sa.event.listens_for(engine, "do_connect")
    def connect_watched(_dialect: object, _record: object, _args: object, wanted: dict[str, Any]) -> object:
        return connect(wanted, limits)

    @sa.event.listens_for(engine, "begin")
    def set_up(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        if isinstance(driver, WatchedConnection) and driver.is_pooled:
            with one_round_trip(connection):
                driver.set_up()

    _ask_the_idle(engine)
    return engine


def _ask_the_idle(engine: Engine) -> None:
    """Ask a connection that lay idle whether it is still there, before it is used; one just used need not be asked.

    SQLAlchemy's own way asks always, and a payment takes a connection several times within milliseconds.
    """

    @sa.event.listens_for(engine, "checkin")
    def note(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["used_at_s"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def ask(connection: WatchedConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        used_at_s = record.info.get("used_at_s")
        if used_at_s is None or time.monotonic() - used_at_s < IDLE_S:
            return
        try:
            connection.ping()
        except psycopg.Error as error:
            # Whatever ended this one, a restart of the server most likely, ended all that are as old.
            raise exc.InvalidatePoolError("the connection is gone") from error


def connect(wanted: Mapping[str, Any], limits: Limits) -> WatchedConnection:
    """A connection as a URL wants it, and as the ledger needs it. Raises psycopg.Error."""
    # What is passed to libpq beats its environment, and a search_path may stand there.
    told = {one.keyword.decode(): one.val.decode() for one in Conninfo.get_defaults() if one.val}
    unsaid = {name: told[name] for name in ("options", *_ADDRESS) if name in told}
    address = {**_ADDRESS, **unsaid, **wanted, "client_encoding": ENCODING}
    options = str(address.pop("options", ""))
    ordered = (*limits.settings().items(), *_OPTION.findall(options), *_OURS.items())
    settings = {name.lower().replace("-", "_"): value for name, value in ordered}
    # The later of two counts. What the URL says stays as it is written: only a pooler needs it taken apart.
    sent = [f"-c {name}={value}" for name, value in limits.settings().items()]
    sent += [options, *(f"-c {name}={value}" for name, value in _OURS.items())]
    try:
        connection = WatchedConnection.connect(**{**address, "options": " ".join(sent)})
    except psycopg.OperationalError as error:
        if not _OPTIONS_REFUSED.search(str(error)):
            raise
        connection = WatchedConnection.connect(**address)
        connection.is_pooled = True
    connection.limits, connection.address, connection.settings = limits, address, settings
    connection.autocommit = True
    [connection.server_pid] = connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone() or [None]
    connection.autocommit = False
    # A pooler stands in for the server and gives out keys of its own; some take the options and drop them.
    if connection.is_pooled or connection.server_pid != connection.pgconn.backend_pid:
        connection.is_pooled = True
        # Prepared in one session of the server, a statement is unknown in the next.
        connection.prepare_threshold = None
    return connection
