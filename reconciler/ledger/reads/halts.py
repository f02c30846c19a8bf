"""Whether paying is halted: derived from the decisions to halt and to resume."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.errors import Halted
from reconciler.ledger.combined_select import CombinedSelect
from reconciler.ledger.schema import decisions

_LAST = CombinedSelect(
    lambda _: {
        "last": sa.select(decisions.c.decision_key, decisions.c.kind, decisions.c.occurred_at, decisions.c.reason)
        .where(sa.or_(decisions.c.kind == "halt", decisions.c.kind == "resume"))
        .order_by(decisions.c.batch.desc())
        .limit(1)
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltState:
    """A halt that no person has ended yet."""

    decision_key: str
    since: datetime
    cause: str


def current_halt(connection: Connection) -> HaltState | None:
    """The last halt, unless a person resumed after it."""
    last = _LAST.run(connection, {})["last"]
    if not last or last[0].kind == "resume":
        return None
    [row] = last
    return HaltState(decision_key=row.decision_key, since=row.occurred_at, cause=row.reason)


def require_not_halted(connection: Connection) -> None:
    """Raises Halted. To be called under the lock: a halt then stops every later batch, whoever posts it."""
    halt = current_halt(connection)
    if halt is not None:
        raise Halted(f"{halt.since:%Y-%m-%d %H:%M:%S} UTC", halt.cause)
