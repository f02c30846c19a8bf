"""Events as rows: one for each fact, recorded in the transaction that makes it true.

Recording takes the lock of posting, so that positions are given out, and become visible, in one order. Where no
endpoint wants a type of event, nothing is written and no lock is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.clock import Clock
from reconciler.domain.breaks import BreakKind
from reconciler.domain.effects import ProjectionResult
from reconciler.domain.events import (
    Event,
    EventType,
    campaign_completed,
    participation_subject,
    time_text,
)
from reconciler.domain.ids import DocumentId
from reconciler.ledger import bulk
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.journal.writing import lock_head
from reconciler.ledger.key_lists import among
from reconciler.ledger.reads.campaign_sums import net_paid
from reconciler.ledger.rows import from_row, to_row
from reconciler.ledger.schema import entries, events, payouts, webhook_deliveries
from reconciler.ports.runs import RunRecord

Subscriptions = Mapping[str, frozenset[EventType]]
"""Endpoint → the types of events that it wants."""

VERDICTS = frozenset({"clean", "repaired", "breaks", "halted"})
"""The outcomes of a full check that was completed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedEvent:
    """An event as people look it up. ``payload`` is None once it was pruned."""

    event_id: str
    position: int
    type: str
    subject: str
    status: str
    payload: str | None
    occurred_at: datetime
    recorded_at: datetime


class EventLog:
    """Records events for those who want them."""

    def __init__(self, engine: Engine, *, clock: Clock, subscriptions: Subscriptions) -> None:
        self._engine = engine
        self._clock = clock
        self._subscriptions = subscriptions
        self._wanted = frozenset[EventType]().union(*subscriptions.values())

    def wants(self, *types: EventType) -> bool:
        """Whether any endpoint wants one of some types."""
        return not self._wanted.isdisjoint(types)

    def settled(self, connection: Connection, result: ProjectionResult) -> None:
        """Record, in the caller's transaction, payouts and reversals whose effects are all projected, and campaigns
        that are complete. Recorded again after a crash or a repair, it is the same event."""
        found: list[Event] = []
        if self.wants(EventType.PARTICIPATION_SETTLED, EventType.PAYOUT_REVERSED):
            found += _of_payouts(connection, result.done)
        if self.wants(EventType.CAMPAIGN_COMPLETED):
            found += _of_campaigns(connection, result.campaigns_completed, self._clock())
        self._record(connection, found)

    def run_ended(self, connection: Connection, run: RunRecord) -> None:
        """Record, in the transaction that keeps the end of a run, that a full check has a verdict."""
        if run.kind == "full_check" and run.outcome in VERDICTS and self.wants(EventType.CHECK_FINISHED):
            self._record(connection, [_of_check(run)])

    def expect(self, coming: Sequence[Event]) -> None:
        """Keep events before the change in MongoDB that makes them true. They are not delivered yet."""
        with writing(self._engine) as connection:
            self._insert(connection, coming, "expected")

    def expected(self, event_type: EventType) -> list[ListedEvent]:
        """Expected events of a type: whether they came true is not known yet."""
        query = sa.select(events).where(events.c.status == "expected", events.c.type == event_type.value)
        with reading(self._engine) as connection:
            return [from_row(ListedEvent, row) for row in connection.execute(query.order_by(events.c.position))]

    def conclude(self, came_true: Sequence[str], came_to_nothing: Sequence[str]) -> None:
        """Deliver the expected events (by identity) that came true, and delete those that came to nothing."""
        with writing(self._engine) as connection:
            lock_head(connection)
            is_expected = events.c.status == "expected"
            dropped = among(connection, events.c.event_id, came_to_nothing)
            connection.execute(sa.delete(events).where(is_expected, dropped))
            chosen = among(connection, events.c.event_id, came_true)
            rows = connection.execute(sa.select(events).where(is_expected, chosen)).all()
            connection.execute(sa.update(events).where(is_expected, chosen).values(status="recorded"))
            self._fan_out(connection, rows)

    def _record(self, connection: Connection, found: Sequence[Event]) -> None:
        wanted = [event for event in found if event.type in self._wanted]
        if wanted:
            self._fan_out(connection, self._insert(connection, wanted, "recorded"))

    def _insert(self, connection: Connection, found: Sequence[Event], status: str) -> Sequence[Any]:
        """Insert what is new; returns the rows. Under the lock, looking first is as good as a conflict clause."""
        if not found:
            return []
        lock_head(connection)
        by_id = {event.event_id: event for event in found}
        known = set(
            connection.scalars(sa.select(events.c.event_id).where(among(connection, events.c.event_id, list(by_id))))
        )
        last = connection.execute(sa.select(sa.func.coalesce(sa.func.max(events.c.position), 0))).scalar_one()
        new = [event for event_id, event in by_id.items() if event_id not in known]
        now = self._clock()
        rows = [
            to_row(events, event, position=position, type=event.type.value, status=status, recorded_at=now)
            for position, event in enumerate(new, start=last + 1)
        ]
        bulk.insert(connection, events, rows)
        chosen = among(connection, events.c.event_id, [event.event_id for event in new])
        return connection.execute(sa.select(events).where(chosen).order_by(events.c.position)).all()

    def _fan_out(self, connection: Connection, rows: Sequence[Any]) -> None:
        now = self._clock()
        deliveries = [
            {
                "event_id": row.event_id,
                "endpoint": endpoint,
                "position": row.position,
                "subject": row.subject,
                "status": "pending",
                "attempts": 0,
                "outcome": None,
                "status_code": None,
                "created_at": now,
                "not_before": now,
                "attempted_at": None,
                "replayed_by": None,
            }
            for row in rows
            for endpoint, wanted in self._subscriptions.items()
            if row.type in wanted
        ]
        bulk.insert(connection, webhook_deliveries, deliveries)


def read_event(engine: Engine, event_id: str) -> ListedEvent | None:
    """One event, or None."""
    with reading(engine) as connection:
        row = connection.execute(sa.select(events).where(events.c.event_id == event_id)).one_or_none()
        return None if row is None else from_row(ListedEvent, row)


def _of_payouts(connection: Connection, sequences: Sequence[int]) -> list[Event]:
    """The events of those entries that are payouts or reversals, in the order of the ledger."""
    if not sequences:
        return []
    query = (
        sa.select(payouts)
        .join_from(payouts, entries, payouts.c.sequence == entries.c.sequence)
        .where(among(connection, entries.c.sequence, sequences), payouts.c.kind.in_(("payout", "reversal")))
        .order_by(payouts.c.sequence)
    )
    return [_of_payout(row) for row in connection.execute(query)]


def _of_payout(row: Any) -> Event:
    is_reversal = row.kind == "reversal"
    fields: dict[str, object] = {
        "payout_key": row.payout_key,
        "participation_id": _plain(row.participation_id),
        "campaign_id": _plain(row.campaign_id),
        "brand_id": _plain(row.brand_id),
        "streamer_id": row.streamer_id,
        "gross_minor": row.gross_minor,
        "fee_minor": row.fee_minor,
        "amount_minor": row.amount_minor,
        "currency": row.currency,
    }
    if is_reversal:
        fields |= {"reverses": row.reverses, "reversed_at": time_text(row.created_at)}
    else:
        fields |= {
            "impressions": row.impressions,
            "target": row.target,
            "rule": row.rule,
            "paid_at": time_text(row.created_at),
            "held_until": None if row.release_at is None else time_text(row.release_at),
        }
    return Event(
        type=EventType.PAYOUT_REVERSED if is_reversal else EventType.PARTICIPATION_SETTLED,
        fact=row.payout_key,
        subject=participation_subject(row.participation_id),
        occurred_at=row.created_at,
        fields=fields,
    )


def _of_campaigns(connection: Connection, campaign_ids: Sequence[DocumentId], now: datetime) -> list[Event]:
    if not campaign_ids:
        return []
    totals = net_paid(connection, campaign_ids)
    return [campaign_completed(one, total_minor, currency, now) for one, (total_minor, currency) in totals.items()]


def _of_check(run: RunRecord) -> Event:
    assert run.finished_at is not None
    kinds = {kind.value for kind in BreakKind}
    return Event(
        type=EventType.CHECK_FINISHED,
        fact=run.run_id,
        subject=f"check:{run.run_id}",
        occurred_at=run.finished_at,
        fields={
            "run_id": run.run_id,
            "report_id": run.counts.get("report_id"),
            "verdict": run.outcome,
            "trigger": run.trigger,
            "started_at": time_text(run.started_at),
            "finished_at": time_text(run.finished_at),
            "breaks": {kind: count for kind, count in run.counts.items() if kind in kinds},
        },
    )


def _plain(tagged: str) -> str:
    return DocumentId.from_tagged(tagged).value
