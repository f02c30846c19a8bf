"""Simulated viewers: impressions trickle onto active participations, as the platform's recording would write them."""

from __future__ import annotations

import random
import threading
from typing import Any

from pymongo.collection import Collection

PAUSE_S = 0.25
CROWD = 8
IMPRESSIONS_MAX = 120


class Viewers:
    """A thread that adds impressions until it is stopped. Raises nothing into the caller; ends with the process."""

    def __init__(self, participations: Collection[dict[str, Any]], *, seed: int) -> None:
        self._participations = participations
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="viewers", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and wait for the write in progress."""
        self._stopping.set()
        self._thread.join(5)

    def _watch(self) -> None:
        query = {"status": "active", "impressions": {"$type": "number", "$gte": 0}}
        watched = [document["_id"] for document in self._participations.find(query, {"_id": 1})]
        while not self._stopping.wait(PAUSE_S):
            for participation_id in self._random.sample(watched, min(CROWD, len(watched))):
                more = self._random.randint(1, IMPRESSIONS_MAX)
                self._participations.update_one(
                    {"_id": participation_id, "status": "active"}, {"$inc": {"impressions": more}}
                )
