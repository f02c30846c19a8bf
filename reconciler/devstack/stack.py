"""Both servers under one folder, started and stopped together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

from reconciler.devstack.mongod import MongodOptions, ReplicaSet
from reconciler.devstack.postgres import Postgres
from reconciler.devstack.process import Stoppable

if TYPE_CHECKING:
    from pathlib import Path


class Devstack(Stoppable):
    """`with Devstack(folder) as devstack:` gives `devstack.mongodb_uri` and `devstack.ledger_url`.

    `folder` holds everything that is left afterwards, which is the servers' logs. Raises DevstackError when either
    cannot start; the other is stopped then.
    """

    def __init__(self, folder: Path, options: MongodOptions | None = None, *, fsync: bool = False) -> None:
        self.folder = folder
        self.replica_set = ReplicaSet(folder / "mongodb", options)
        self.postgres = Postgres(folder / "postgres", fsync=fsync)

    @property
    def mongodb_uri(self) -> str:
        """What goes into MONGODB_URI."""
        return self.replica_set.uri

    @property
    def ledger_url(self) -> str:
        """What goes into LEDGER_URL: an empty database that awaits `run.py migrate`."""
        return self.postgres.url

    def start(self) -> None:
        """Returns when both servers answer; they start side by side, since each mostly waits for its disk."""
        with ExitStack() as on_failure, ThreadPoolExecutor(max_workers=2) as starters:
            on_failure.callback(self.stop)
            starts = [starters.submit(self.replica_set.start), starters.submit(self.postgres.start)]
            # Both are awaited before either's failure is raised, or the stop would race with a start.
            failures = [failure for start in starts if (failure := start.exception()) is not None]
            if failures:
                raise failures[0]
            on_failure.pop_all()

    def stop(self) -> None:
        """End both and remove their data; harmless when nothing runs."""
        self.postgres.stop()
        self.replica_set.stop()
