"""Puts hints that something may be due into the work queue, which deduplicates them."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.domain.ids import DocumentId
from reconciler.ports.hints import Key, KeyKind
from reconciler.workqueue import WorkQueue


class HintQueue:
    """Implements :class:`reconciler.ports.hints.Hints`.

    Hints are dropped while this process does not lead, which is so until somebody says otherwise: the leader's own
    stream brings the same change, and a queue that nobody empties would only grow.
    """

    def __init__(self, queue: WorkQueue[Key]) -> None:
        self._queue = queue
        self._is_wanted: Callable[[], bool] = lambda: False

    def deliver_while(self, is_wanted: Callable[[], bool]) -> None:
        """Take hints from now on, whenever ``is_wanted`` says so."""
        self._is_wanted = is_wanted

    def participation(self, participation_id: DocumentId) -> None:
        """A participation changed."""
        self._add(Key(KeyKind.PARTICIPATION, participation_id))

    def campaign(self, campaign_id: DocumentId) -> None:
        """A campaign changed."""
        self._add(Key(KeyKind.CAMPAIGN, campaign_id))

    def _add(self, key: Key) -> None:
        if self._is_wanted():
            self._queue.add(key)
