"""A PgBouncer in front of a PostgreSQL, in transaction mode unless told otherwise."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest

from reconciler.devstack.postgres import USER, unprivileged_user
from reconciler.devstack.process import end, free_port, kill, last_lines, listens, spawn, wait_until

SETTINGS = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "auth_type": "any",
    "pool_mode": "transaction",
    # Fewer than the clients, so that they share: the next transaction of a client meets another session.
    "default_pool_size": "3",
    "max_client_conn": "100",
}


class PgBouncer:
    """`with PgBouncer(port_of_the_server) as bouncer: open_engine(bouncer.url("database"))`."""

    def __init__(self, server_port: int, **settings: str) -> None:
        self._server_port = server_port
        self._settings = {**SETTINGS, **settings}
        self.port = 0

    def __enter__(self) -> Self:
        program = shutil.which("pgbouncer", path=os.defpath + ":/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("PgBouncer is not installed: `apt-get install pgbouncer`, as .ci/run does")
        self._folder = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir="/tmp"))
        self._folder.chmod(0o755)
        self.port = free_port()
        config = self._folder / "pgbouncer.ini"
        options = "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._server_port} user={USER}\n"
            f"[pgbouncer]\nlisten_port = {self.port}\n{options}"
        )
        self._command = [program, str(config)]
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process, signal.SIGTERM)
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start it, for the first time or again on the same port; returns when it takes connections."""
        log = self._folder / "pgbouncer.log"
        # As root it refuses to run.
        user = unprivileged_user() if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] = spawn(self._command, log=log, user=user)
        assert wait_until(lambda: listens(self.port), timeout_s=30), last_lines(log)

    def kill(self) -> None:
        """SIGKILL: its clients lose their connections, and the server finds its own idle."""
        kill(self._process)

    def url(self, database: str | None, query: str = "") -> str:
        """A ledger's URL that leads through it."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}{query}"
