"""A daemon that pays while its servers are stepped down and killed, and it is too: what is drawn, and what is done."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bson.objectid import ObjectId
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from tests.support.command_line import CommandLine, Running
from tests.support.platform import Document
from tests.support.servers import ReplicaSet

TARGET = 2_000
PAUSE_S = (0.02, 0.3)
"""Between two that become due."""

CALM_S = (2.0, 6.0)
"""Between two faults: shorter than some recoveries, longer than others."""


@dataclass(slots=True)
class Writer:
    """Makes participations due, one at a time, and knows since when each is."""

    participations: Collection[Document]
    waiting: Sequence[ObjectId]
    chance: random.Random
    due_at: dict[ObjectId, datetime] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the write under way, which waits for a primary if there is none."""
        self._stopping.set()
        assert self._thread is not None
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        for participation_id in self.waiting:
            if self._stopping.wait(self.chance.uniform(*PAUSE_S)):
                return
            # Not an increment: a write whose answer was lost is made again.
            while not self._write(participation_id):
                time.sleep(0.1)
            self.due_at[participation_id] = datetime.now(UTC)

    def _write(self, participation_id: ObjectId) -> bool:
        try:
            self.participations.update_one({"_id": participation_id}, {"$set": {"impressions": TARGET}})
        except PyMongoError:
            return False
        return True


@dataclass(slots=True)
class Chaos:
    """One fault after another, by chance. From one thread: the replica set is not for several."""

    replica_set: ReplicaSet
    run_py: CommandLine
    chance: random.Random
    daemon: Running
    faults: list[str] = field(default_factory=list)

    def for_seconds(self, seconds: float) -> None:
        """Each kind of fault at least once, and on until the time is over."""
        until = time.monotonic() + seconds
        kinds: list[Callable[[], None]] = [self.step_down, self.kill_a_node, self.kill_the_daemon]
        coming = self.chance.sample(kinds, len(kinds))
        while coming or time.monotonic() < until:
            time.sleep(
                self.chance.uniform(*CALM_S)
            )  # not a wait for something: the moment of the fault is what is drawn
            fault = coming.pop() if coming else self.chance.choice(kinds)
            fault()
            self.faults.append(fault.__name__)

    def step_down(self) -> None:
        """The primary gives up."""
        self.replica_set.wait_for_primary()
        self.replica_set.step_down(seconds=5)

    def kill_a_node(self) -> None:
        """Any of them; two of three stay, and it comes back."""
        index = self.chance.randrange(len(self.replica_set.nodes))
        self.replica_set.kill(index)
        time.sleep(self.chance.uniform(0, 3))  # how long it is gone is drawn as well
        self.replica_set.restart(index)

    def kill_the_daemon(self) -> None:
        """As the kernel does when memory runs out; another takes its place at once."""
        self.daemon.kill()
        self.daemon = self.run_py.start()
