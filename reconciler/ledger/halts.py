"""Whether paying has halted: derived from the rows that say so, and from those that say that it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.errors import Halted
from reconciler.ledger.schema import decisions


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltState:
    """A halt that nobody has ended."""

    decision_key: str
    since: datetime
    cause: str


def current_halt(connection: Connection) -> HaltState | None:
    """The last halt, unless a person resumed after it."""
    query = (
        sa.select(decisions).where(decisions.c.kind.in_(["halt", "resume"])).order_by(decisions.c.batch.desc()).limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None or row.kind == "resume":
        return None
    return HaltState(decision_key=row.decision_key, since=row.occurred_at, cause=row.reason)


def require_not_halted(connection: Connection) -> None:
    """Raises Halted. To be called under the lock: a halt then stops every later batch, whoever posts it."""
    halt = current_halt(connection)
    if halt is not None:
        raise Halted(f"{halt.since:%Y-%m-%d %H:%M:%S} UTC", halt.cause)
