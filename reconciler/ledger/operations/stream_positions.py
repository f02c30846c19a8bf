"""Where the watch stands in the stream of changes, kept beside the ledger: an optimisation, and nothing rests on it.

Each opening of the stream is followed by a full sweep, so a position that is lost or wrong costs one sweep. It is kept
so that a restart goes on where it was, and so that its age can be watched.

Writes pass the lease's fence, so that a daemon which slept through its replacement cannot put its old position back,
and they name the *generation*, which grows with each drop: a position that was dropped, by the watch or by a person,
stays dropped.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.clock import Clock
from reconciler.ledger.bulk import insert_new
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.journal.posting import Fence, no_fence
from reconciler.ledger.schema import stream_positions
from reconciler.ports.watch import KeptPosition, Position

NAME = "facts"
"""The one stream there is."""


class StreamPositions:
    """The position of one stream, in the table ``stream_positions``."""

    def __init__(self, engine: Engine, *, clock: Clock, fence: Fence = no_fence) -> None:
        self._engine = engine
        self._clock = clock
        self._fence = fence

    def load(self) -> KeptPosition:
        """What is kept; generation 0 before anything was."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(stream_positions).where(stream_positions.c.name == NAME)).one_or_none()
        if row is None:
            return KeptPosition(generation=0, position=None, fingerprint=None, changed_at=None, dropped_because=None)
        position = None if row.token is None else Position(token=row.token, reached_at=row.reached_at)
        return KeptPosition(
            generation=row.generation,
            position=position,
            fingerprint=row.fingerprint,
            changed_at=row.changed_at,
            dropped_because=row.dropped_because,
        )

    def save(self, position: Position, fingerprint: str, generation: int) -> bool:
        """Keep a position. False when it was dropped since ``generation``: then the stream has to be opened anew."""
        values = {
            "token": position.token,
            "fingerprint": fingerprint,
            "reached_at": position.reached_at,
            "changed_at": self._clock(),
            "dropped_because": None,
        }
        with writing(self._engine) as connection:
            self._fence(connection)
            insert_new(connection, stream_positions, {"name": NAME, "generation": generation, **values})
            same = sa.and_(stream_positions.c.name == NAME, stream_positions.c.generation == generation)
            return connection.execute(stream_positions.update().where(same).values(values)).rowcount == 1

    def drop(self, because: str) -> int:
        """Forget the position, with the reason, for people; returns the new generation."""
        values = {
            "token": None,
            "fingerprint": None,
            "reached_at": None,
            "changed_at": self._clock(),
            "dropped_because": because,
        }
        with writing(self._engine) as connection:
            self._fence(connection)
            insert_new(connection, stream_positions, {"name": NAME, "generation": 0, **values})
            dropped = stream_positions.update().values(**values, generation=stream_positions.c.generation + 1)
            returning = dropped.where(stream_positions.c.name == NAME).returning(stream_positions.c.generation)
            generation: int = connection.execute(returning).scalar_one()
        return generation
