"""A real PostgreSQL under one folder, root or not, and the ways to hurt it that the fault tests need."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from reconciler.devstack.binaries import PostgresBinaries, find_postgres
from reconciler.devstack.process import DevstackError, Stoppable, end, free_port, kill, last_lines, spawn, wait_until

if TYPE_CHECKING:
    import subprocess

USER = "ledger"
# The server trusts the loopback and never asks for it. It is in the URL so that tests can look for it where no
# secret may be.
PASSWORD = "devstack-password"  # noqa: S105 - public on purpose, see above
DATABASE = "ledger"
START_TIMEOUT_S = 60.0
INITDB_TIMEOUT_S = 120.0
STARTS_MAX = 5
CONNECT_TIMEOUT_S = 5

SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=100",
    "shared_buffers=64MB",
    "timezone=UTC",
    "log_timezone=UTC",
)
PORT_TAKEN = "could not create any TCP/IP sockets"
# Backends of a killed server notice within moments that it is gone; until then a new one refuses to share their
# memory.
OLD_BACKENDS = "pre-existing shared memory block"


class Postgres(Stoppable):
    """`with Postgres(folder) as postgres: create_engine(postgres.url)`.

    The log lies under `folder`, and the data too, unless we are root: PostgreSQL refuses root, so then it runs as
    `postgres` or `nobody`, on data in a folder of its own below /tmp, since that user cannot enter a 0700 folder of
    ours. `stop` removes the data.

    `fsync` off makes tests quick and still survives a killed server (the kernel has the pages), not a power cut;
    benchmarks set it on, or they would measure something nobody runs.
    """

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        self.folder = folder.resolve()
        self.fsync = fsync
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.home: Path | None = None
        self._binaries: PostgresBinaries | None = None
        self._user = unprivileged_user() if os.geteuid() == 0 else None

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def url(self) -> str:
        """What goes into LEDGER_URL: an empty database made at start."""
        return self.database_url(DATABASE)

    def database_url(self, name: str) -> str:
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, empty or as a copy of ``template``, and return its URL."""
        copied = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        self._execute(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), copied))
        return self.database_url(name)

    def start(self) -> None:
        """Returns when the server answers and the database of `url` exists."""
        if self.process is not None:
            raise DevstackError("this PostgreSQL is running already")
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            self.home = self._make_home()
            self._binaries = self._reachable(find_postgres())
            self._initdb(self._binaries)
            self.port = free_port()
            self._launch(port_is_free_to_change=True)
            self.create_database(DATABASE)
            on_failure.pop_all()

    def stop(self) -> None:
        """End the server without waiting for clients and remove the data; harmless when nothing runs."""
        if self.process is not None:
            end(self.process, signal.SIGINT)  # PostgreSQL's "fast" shutdown
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)
        self.process = self.home = None

    def restart(self) -> None:
        """Start again on the same port and data, stopping cleanly first if it runs; returns when it answers."""
        end(self._running(), signal.SIGINT)
        self._launch(port_is_free_to_change=False)

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise DevstackError("this PostgreSQL was never started")
        return self.process

    def _make_home(self) -> Path:
        if self._user is None:
            return Path(tempfile.mkdtemp(prefix="home-", dir=self.folder))
        home = Path(tempfile.mkdtemp(prefix="devstack-postgres-", dir="/tmp"))
        account = pwd.getpwnam(self._user)
        os.chown(home, account.pw_uid, account.pw_gid)
        return home

    def _reachable(self, found: PostgresBinaries) -> PostgresBinaries:
        """The same programs where the unprivileged user can run them: a virtual environment below /root is closed."""
        folder = found.postgres.parent
        if self._user is None or all(parent.stat().st_mode & 0o001 for parent in (folder, *folder.parents)):
            return found
        package = folder.parents[1]
        copy = self._data.parent / package.name / folder.parent.name
        shutil.copytree(folder.parent, copy, symlinks=True)
        # A wheel keeps the libraries it brings along beside its package, and its programs look for them there.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, self._data.parent / libraries.name)
        return PostgresBinaries(initdb=copy / "bin" / "initdb", postgres=copy / "bin" / "postgres")

    @property
    def _data(self) -> Path:
        if self.home is None:
            raise DevstackError("this PostgreSQL is not running")
        return self.home / "data"

    def _initdb(self, binaries: PostgresBinaries) -> None:
        log = self.folder / "initdb.log"
        command = [
            str(binaries.initdb),
            f"--pgdata={self._data}",
            f"--username={USER}",
            "--auth=trust",
            "--encoding=UTF8",
        ]
        command += ["--locale=C", "--no-sync", "--no-instructions"]
        process = spawn(command, log=log, user=self._user)
        if not wait_until(lambda: process.poll() is not None, timeout_s=INITDB_TIMEOUT_S):
            kill(process)
        if process.returncode != 0:
            raise DevstackError(f"initdb failed; the end of {log}:\n{last_lines(log)}")

    def _launch(self, *, port_is_free_to_change: bool) -> None:
        for _ in range(STARTS_MAX):
            self._spawn_server()
            wait_until(lambda: not self._alive() or self._answers(), timeout_s=START_TIMEOUT_S)
            if self._answers():
                return
            end(self._running(), signal.SIGQUIT)
            reason = last_lines(self.log)
            if PORT_TAKEN in reason and port_is_free_to_change:
                self.port = free_port()
            elif OLD_BACKENDS not in reason:
                break
        raise DevstackError(f"PostgreSQL did not start; the end of {self.log}:\n{last_lines(self.log)}")

    def _spawn_server(self) -> None:
        if self._binaries is None:
            raise DevstackError("this PostgreSQL was never started")
        command = [str(self._binaries.postgres), "-D", str(self._data), "-p", str(self.port)]
        switch = "on" if self.fsync else "off"
        for setting in (*SETTINGS, f"fsync={switch}", f"full_page_writes={switch}"):
            command += ["-c", setting]
        self.process = spawn(command, log=self.log, user=self._user)

    def _alive(self) -> bool:
        return self._running().poll() is None

    def _answers(self) -> bool:
        if not self._alive():
            return False
        try:
            # Whose data is compared, since on a port lost to a race it may be somebody else's server that answers.
            return self._execute(sql.SQL("SHOW data_directory")) == str(self._data)
        except psycopg.OperationalError:
            return False

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            dbname="postgres",
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
        )

    def _execute(self, statement: sql.SQL | sql.Composed) -> object:
        # Not `with`: psycopg's context manager would open a transaction, and databases are not made or dropped
        # inside one.
        connection = self._connect()
        try:
            cursor = connection.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None
        finally:
            connection.close()


def unprivileged_user() -> str:
    """Whom PostgreSQL runs as when we are root."""
    names = {account.pw_name for account in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in names:
            return name
    raise DevstackError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody here")
