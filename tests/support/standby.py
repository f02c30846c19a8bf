"""A standby of a PostgreSQL server, which answers reads, refuses writes, and can be promoted."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg

from reconciler.devstack.binaries import PostgresBinaries
from reconciler.devstack.postgres import USER
from reconciler.devstack.process import DevstackError, kill, last_lines, spawn, wait_until
from tests.support.servers import Postgres

COPY_TIMEOUT_S = 60.0


class Standby(Postgres):
    """A copy of ``primary`` that follows it until :meth:`promote`."""

    def __init__(self, folder: Path, primary: Postgres) -> None:
        super().__init__(folder)
        self._primary = primary

    def create_database(self, name: str, template: str | None = None) -> str:
        """A standby has the databases of its primary, and makes none."""
        assert template is None
        return self.database_url(name)

    def promote(self) -> None:
        """From now on it takes writes; returns when it does."""
        self._ask("SELECT pg_promote()")

    def has_caught_up(self) -> bool:
        """Whether everything that the primary has written is here."""
        with closing(self._session(self._primary)) as session:
            [written] = session.execute("SELECT pg_current_wal_lsn()::text").fetchone() or [None]
        return bool(self._ask(f"SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn"))

    def _initdb(self, binaries: PostgresBinaries) -> None:
        log = self.folder / "basebackup.log"
        command = [str(binaries.postgres.with_name("pg_basebackup")), f"--pgdata={self._data}"]
        command += ["--host=127.0.0.1", f"--port={self._primary.port}", f"--username={USER}"]
        command += ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]
        process = spawn(command, log=log, user=self._user)
        if not wait_until(lambda: process.poll() is not None, timeout_s=COPY_TIMEOUT_S):
            kill(process)
        if process.returncode != 0:
            raise DevstackError(f"pg_basebackup failed; the end of {log}:\n{last_lines(log)}")

    def _ask(self, statement: str) -> object:
        with closing(self._session(self)) as session:
            [answer] = session.execute(statement.encode()).fetchone() or [None]
        return answer

    @staticmethod
    def _session(server: Postgres) -> psycopg.Connection:
        return psycopg.connect(host="127.0.0.1", port=server.port, user=USER, dbname="postgres", autocommit=True)
