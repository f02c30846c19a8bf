"""The development servers, with the ways to hurt them that tests need: step down, kill, freeze, thaw."""

from __future__ import annotations

import signal
from dataclasses import replace

from psycopg import sql

from reconciler.devstack import mongod, postgres
from reconciler.devstack.mongod_access import credentials
from reconciler.devstack.process import DevstackError, kill


class ReplicaSet(mongod.ReplicaSet):
    """A replica set that may be hurt."""

    def step_down(self, *, seconds: int = 10) -> None:
        """The primary gives up and may not stand again for so many seconds.

        Returns at once, with no primary yet perhaps.
        """
        with self._client(self.nodes[self.primary_index()]) as client:
            client.admin.command("replSetStepDown", seconds, secondaryCatchUpPeriodSecs=min(1, seconds - 1), force=True)

    def kill(self, index: int) -> None:
        """SIGKILL one node. What it had not written is lost, as with a power cut."""
        kill(self._process(index))

    def become_replica_set(self) -> None:
        """Make a replica set of one of a standalone server, as an operator would.

        Port and data stay, and a URI handed out before still leads there. Returns when it is primary.
        """
        if not self.options.standalone:
            raise DevstackError("this server is a replica set already")
        self.options = replace(self.options, standalone=False)
        self.restart(0)
        self._initiate()

    def freeze(self, index: int) -> None:
        """SIGSTOP one node: connections stay open and nothing answers, the worst kind of outage."""
        self._process(index).send_signal(signal.SIGSTOP)

    def thaw(self, index: int) -> None:
        """SIGCONT a frozen node."""
        self._process(index).send_signal(signal.SIGCONT)

    def uri_as(self, user: str, password: str) -> str:
        """The same for a user whom a test created, with just the privileges that it is about."""
        return self._uri(credentials(user, password))


class Postgres(postgres.Postgres):
    """A PostgreSQL that may be hurt."""

    def kill(self) -> None:
        """SIGKILL the server; its backends follow by themselves."""
        kill(self._running())

    def freeze(self) -> None:
        """SIGSTOP the server: it accepts nobody new. Open sessions go on, each in a process of its own."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT a frozen server."""
        self._running().send_signal(signal.SIGCONT)

    def drop_database(self, name: str) -> None:
        """Remove a database, throwing out whoever is still connected."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
