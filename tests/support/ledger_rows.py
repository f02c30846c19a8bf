"""What the ledger holds, in the few words that tests compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from reconciler.ledger.schema import fundings, hold_events, payouts

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

_OF_ONE_RUN = ("sequence", "batch", "run_id", "facts_at", "created_at", "occurred_at")


def paid_minor(engine: Engine) -> dict[str, int]:
    """Plain participation → amount, in the order of posting. A participation with two payouts is an error."""
    query = sa.select(payouts.c.participation_id, payouts.c.amount_minor).order_by(payouts.c.sequence)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    paid = {row.participation_id.partition(":")[2]: row.amount_minor for row in rows}
    assert len(paid) == len(rows)
    return paid


def holds(engine: Engine) -> list[tuple[str, str, str]]:
    """(plain participation, event, reason) of every hold, in the order of time."""
    query = sa.select(hold_events).order_by(hold_events.c.occurred_at, hold_events.c.batch, hold_events.c.hold_key)
    with engine.connect() as connection:
        return [(row.participation_id.partition(":")[2], row.event, row.reason) for row in connection.execute(query)]


def facts_of_business(engine: Engine) -> list[str]:
    """Payouts, fundings and holds without what differs from run to run: times, numbers, the run's identity."""
    found: list[dict[str, Any]] = []
    with engine.connect() as connection:
        for table in (payouts, fundings, hold_events):
            found += [dict(row) for row in connection.execute(sa.select(table)).mappings()]
    return sorted(repr({key: value for key, value in row.items() if key not in _OF_ONE_RUN}) for row in found)
