"""G-keys whose cool-off is over: make them available and record an event, though no transaction spans both databases.

What is about to happen is written down first (*expected*), then done, then looked up, and only what came true goes out.
A process that dies in between leaves expectations behind, and the next round looks them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from reconciler.domain.events import Event, EventType, gkey_released
from reconciler.domain.ids import DocumentId
from reconciler.ports.projection import RestedKey

_SUBJECT = "gkey:"
PAGE_SIZE = 1000

Rest = tuple[DocumentId, datetime]
"""A cool-off: the key, and until when it rested."""


class Keys(Protocol):
    """G-keys of the platform."""

    def release_rested(self, now: datetime) -> int:
        """Make keys available whose cool-off has ended; returns how many."""
        ...

    def rested(self, now: datetime, limit: int) -> list[RestedKey]:
        """Keys whose cool-off has ended, as far as their identities can be read."""
        ...

    def release(self, keys: Sequence[RestedKey]) -> int:
        """Make those available that still rest until the same moment; returns how many."""
        ...

    def were_released(self, rests: Sequence[Rest]) -> set[Rest]:
        """Which of some cool-offs are over, since their key was made available."""
        ...


class Expected(Protocol):
    """An event that was written down before it happened."""

    @property
    def event_id(self) -> str:
        """Its identity."""
        ...

    @property
    def subject(self) -> str:
        """The key, tagged, after its kind."""
        ...

    @property
    def occurred_at(self) -> datetime:
        """When the cool-off ended."""
        ...


class Events(Protocol):
    """Where events are recorded."""

    def wants(self, *types: EventType) -> bool:
        """Whether anybody does."""
        ...

    def expect(self, coming: Sequence[Event]) -> None:
        """Write down what is about to happen."""
        ...

    def expected(self, event_type: EventType) -> Sequence[Expected]:
        """What was written down and not concluded."""
        ...

    def conclude(self, came_true: Sequence[str], came_to_nothing: Sequence[str]) -> None:
        """Say what came true."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReleases:
    """One round over all keys that have rested. Raises Outage."""

    keys: Keys
    events: Events

    def release_rested(self, now: datetime) -> int:
        """Make keys available whose cool-off has ended, and record an event of each; returns how many."""
        if not self.events.wants(EventType.GKEY_RELEASED):
            return self.keys.release_rested(now)
        released = 0
        while page := self.keys.rested(now, PAGE_SIZE):
            self.events.expect(
                [gkey_released(key.key_id, key.streamer_id, key.category, key.rested_until) for key in page]
            )
            count = self.keys.release(page)
            released += count
            if not count:
                break
        self._conclude()
        # Those that cannot be named: of no readable identity, or resting until a list of moments.
        return released + self.keys.release_rested(now)

    def _conclude(self) -> None:
        expected = self.events.expected(EventType.GKEY_RELEASED)
        if not expected:
            return
        rests = {one.event_id: (_key_of(one), one.occurred_at) for one in expected}
        released = self.keys.were_released(list(rests.values()))
        came_true = [event_id for event_id, rest in rests.items() if rest in released]
        came_to_nothing = [event_id for event_id, rest in rests.items() if rest not in released]
        self.events.conclude(came_true, came_to_nothing)


def _key_of(expected: Expected) -> DocumentId:
    return DocumentId.from_tagged(expected.subject.removeprefix(_SUBJECT))
