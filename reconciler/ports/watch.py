"""What a stream of changes brings, as values, and what the watch asks of it and the place where its position is kept.

``reconciler.mongo`` reads the stream, ``reconciler.ledger`` keeps the position. A stream's failures are expected, so
they are values: the watch matches on their kind and knows what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from reconciler.ports.facts import Moment
from reconciler.ports.hints import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A document changed. Which of its fields changed is not known here."""

    key: Key
    operation: str
    at: Moment
    changed_at: datetime
    """By the clock of the server that took the write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """No watched change happened, as far as the server has looked by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unnamed:
    """A document changed whose identity cannot be read: a sweep cannot pay it either, and the full check names it."""

    operation: str


class FailureKind(StrEnum):
    """What a failure asks of the watch."""

    TRANSIENT = "transient"
    """Open again from where it was, after a while."""
    POSITION_LOST = "position_lost"
    """Drop the position for good, open at now, sweep everything."""
    COLLECTION_GONE = "collection_gone"
    """A watched collection or the database was dropped or renamed. The same, and a person should know."""
    UNSUPPORTED = "unsupported"
    """This server has no change streams: sweeps only, and look again from time to time."""
    FORBIDDEN = "forbidden"
    """This user may not watch. The same."""
    REFUSED = "refused"
    """The server does not take what is asked of it: a defect, or a server too old. The same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFailure:
    """Why there is no stream (any more). ``reason`` is a short name for counting, ``detail`` one line for people."""

    kind: FailureKind
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the stream that one can go on from. ``token`` is the server's, opaque, as text."""

    token: str
    reached_at: datetime | None
    """Up to when the stream was read, by the server's clock; None where the token does not show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPosition:
    """What is kept of the stream's position. ``generation`` grows whenever the position is dropped."""

    generation: int
    position: Position | None
    fingerprint: str | None
    """Of the stream that the position belongs to: another pipeline or cluster cannot go on from it."""
    changed_at: datetime | None
    dropped_because: str | None


Read = Change | Quiet | Unnamed | StreamFailure


class OpenStream(Protocol):
    """A stream that is open; for one thread."""

    def read(self) -> Read:
        """The next change, waiting a moment for it. After a failure the stream is of no more use."""
        ...

    def position(self) -> Position | None:
        """Where the stream is now; it moves on also while nothing changes."""
        ...


class ChangeSource(Protocol):
    """Where streams are opened."""

    def fingerprint(self) -> str | StreamFailure:
        """Of the stream as it would be opened now."""
        ...

    def open(self, position: Position | None) -> OpenStream | StreamFailure:
        """A stream from a position on, or from now on; within a deadline."""
        ...

    def close(self) -> None:
        """Let go of the server and of the stream, without waiting for an answer."""
        ...


class Positions(Protocol):
    """Where the stream's position is kept. Every method raises Outage; what writes may raise LeaseLost."""

    def load(self) -> KeptPosition:
        """What is kept."""
        ...

    def save(self, position: Position, fingerprint: str, generation: int) -> bool:
        """Keep a position; False when the position was dropped since ``generation``, and nothing was kept."""
        ...

    def drop(self, because: str) -> int:
        """Forget the position for good; returns the new generation."""
        ...
