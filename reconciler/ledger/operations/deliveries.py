"""Deliveries: which event still has to reach which endpoint, what became of each attempt, and what people do about it.

Order: of the pending deliveries of one subject to one endpoint only the first is due; the others wait for it. One that
is dead is given up and holds back nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.clock import CLOCKS_DIFFER_MAX, Clock
from reconciler.domain.events import EventType
from reconciler.ledger import bulk
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.journal.posting import Fence, no_fence
from reconciler.ledger.key_lists import among
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import events, webhook_deliveries, webhook_endpoints
from reconciler.ports.deliveries import Attempt, DueDelivery, EndpointBacklog

_table = webhook_deliveries
_earlier = webhook_deliveries.alias("earlier")

PRUNED_AT_ONCE = 1000
"""Events a transaction: pruning must not hold up whoever pays."""

_NEVER_AGAIN = (EventType.GKEY_RELEASED.value, EventType.CHECK_FINISHED.value)
"""Types whose fact cannot be recorded a second time: their rows need not be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedDelivery:
    """A delivery as people look it up; ``outcome`` and ``status_code`` are those of the last attempt."""

    event_id: str
    type: str
    subject: str
    endpoint: str
    position: int
    status: str
    attempts: int
    outcome: str | None
    status_code: int | None
    created_at: datetime
    not_before: datetime
    attempted_at: datetime | None
    replayed_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries; ``before`` is (position, endpoint) of the last one on the page before."""

    status: str | None = None
    endpoint: str | None = None
    event_id: str | None = None
    before: tuple[int, str] | None = None
    limit: int = 100


class Deliveries:
    """The queue of deliveries. ``fence`` is asked before an attempt is recorded: only the leader delivers."""

    def __init__(self, engine: Engine, *, clock: Clock, fence: Fence = no_fence) -> None:
        self._engine = engine
        self._clock = clock
        self._fence = fence

    def due(self, endpoint: str, limit: int) -> list[DueDelivery]:
        """What can be sent to an endpoint now, at most one of each subject, the oldest first."""
        waits_for_another = sa.exists().where(
            (_earlier.c.endpoint == _table.c.endpoint)
            & (_earlier.c.subject == _table.c.subject)
            & (_earlier.c.position < _table.c.position)
            & (_earlier.c.status == "pending")
        )
        now, written_at = self._clock(), sa.func.coalesce(_table.c.attempted_at, _table.c.created_at)
        query = (
            sa.select(_table.c.event_id, _table.c.subject, _table.c.attempts, events.c.type, events.c.payload)
            .join_from(_table, events, _table.c.event_id == events.c.event_id)
            .where(
                _table.c.endpoint == endpoint,
                _table.c.status == "pending",
                (_table.c.not_before <= now) | (written_at > now + CLOCKS_DIFFER_MAX),
                ~waits_for_another,
            )
            .order_by(_table.c.position)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            return [from_row(DueDelivery, row, endpoint=endpoint) for row in connection.execute(query)]

    def record(self, attempts: Sequence[Attempt]) -> None:
        """Keep what became of some attempts. Raises LeaseLost when another daemon leads: it tries them again."""
        now = self._clock()
        changed = ("status", "attempts", "outcome", "status_code", "not_before", "attempted_at")
        names = (*_table.primary_key.columns.keys(), *changed[:-1])
        in_order = sorted(attempts, key=lambda one: (one.event_id, one.endpoint))
        rows = [{name: getattr(one, name) for name in names} | {"attempted_at": now} for one in in_order]
        with writing(self._engine) as connection:
            self._fence(connection)
            bulk.update(connection, _table, rows, changed)

    def disable(self, endpoint: str, url: str) -> None:
        """Send nothing there any more: it answered that it is gone."""
        row = {"endpoint": endpoint, "url_hash": _hash(url), "disabled_at": self._clock()}
        with writing(self._engine) as connection:
            self._fence(connection)
            same = {"url_hash": "excluded.url_hash", "disabled_at": "excluded.disabled_at"}
            bulk.upsert(connection, webhook_endpoints, [row], same)

    def disabled(self, urls: Mapping[str, str]) -> dict[str, datetime]:
        """Which of some endpoints (name → URL) are gone under their URL, and since when."""
        with reading(self._engine) as connection:
            return {
                row.endpoint: row.disabled_at
                for row in connection.execute(sa.select(webhook_endpoints))
                if row.endpoint in urls and row.url_hash == _hash(urls[row.endpoint])
            }

    def enable(self, endpoint: str) -> bool:
        """Send there again; False when it was not disabled."""
        with writing(self._engine) as connection:
            is_it = webhook_endpoints.c.endpoint == endpoint
            return connection.execute(sa.delete(webhook_endpoints).where(is_it)).rowcount == 1

    def replay(self, event_id: str, endpoint: str | None, by: str) -> int:
        """Deliver an event again, from its first attempt on, to one endpoint or to all it went to; returns how many.

        What is on its way already is tried at once.
        """
        chosen = _table.c.event_id == event_id
        if endpoint is not None:
            chosen &= _table.c.endpoint == endpoint
        return self._again(chosen, by)

    def replay_dead(self, endpoint: str | None, by: str) -> int:
        """Deliver everything again that was given up; returns how many."""
        chosen = _table.c.status == "dead"
        if endpoint is not None:
            chosen &= _table.c.endpoint == endpoint
        return self._again(chosen, by)

    def _again(self, chosen: sa.ColumnElement[bool], by: str) -> int:
        has_payload = _table.c.event_id.in_(sa.select(events.c.event_id).where(events.c.payload.is_not(None)))
        again = {"status": "pending", "attempts": 0, "not_before": self._clock(), "replayed_by": by}
        with writing(self._engine) as connection:
            return connection.execute(sa.update(_table).where(chosen, has_payload).values(again)).rowcount

    def backlog(self) -> list[EndpointBacklog]:
        """How much every endpoint that has deliveries to come is behind, and how many were given up."""
        # Two queries, each on the index of its status: what was delivered, by far the most, is not looked at.
        counted = sa.select(
            _table.c.endpoint, sa.func.count().label("number"), sa.func.min(_table.c.created_at).label("oldest")
        ).group_by(_table.c.endpoint)
        with reading(self._engine) as connection:
            pending = {row.endpoint: row for row in connection.execute(counted.where(_table.c.status == "pending"))}
            dead = {row.endpoint: row for row in connection.execute(counted.where(_table.c.status == "dead"))}
        return [
            EndpointBacklog(
                endpoint=name,
                pending=pending[name].number if name in pending else 0,
                dead=dead[name].number if name in dead else 0,
                oldest_pending_at=pending[name].oldest if name in pending else None,
            )
            for name in sorted({*pending, *dead})
        ]

    def prune(self, before: datetime, endpoints: Sequence[str]) -> int:
        """Forget deliveries of events recorded before a time; returns how many events went.

        An event stays while it is on its way to one of ``endpoints`` (those that are configured), or was given up
        there. Where a fact may be recorded again, the identity stays for good.
        """
        with writing(self._engine) as connection:
            still_needed = sa.exists().where(
                (_table.c.event_id == events.c.event_id)
                & (_table.c.status != "delivered")
                & among(connection, _table.c.endpoint, endpoints)
            )
            query = (
                sa.select(events.c.event_id)
                .where(events.c.status == "recorded", events.c.recorded_at < before, ~still_needed)
                .order_by(events.c.recorded_at)
                .limit(PRUNED_AT_ONCE)
            )
            old = list(connection.scalars(query))
            _forget(connection, old)
        return len(old)


def _forget(connection: Connection, event_ids: Sequence[str]) -> None:
    connection.execute(sa.delete(_table).where(among(connection, _table.c.event_id, event_ids)))
    chosen = among(connection, events.c.event_id, event_ids)
    connection.execute(sa.delete(events).where(chosen, events.c.type.in_(_NEVER_AGAIN)))
    connection.execute(sa.update(events).where(chosen).values(status="pruned", payload=None))


def list_deliveries(engine: Engine, chosen: DeliveryFilter) -> list[ListedDelivery]:
    """Deliveries, those of the newest events first."""
    query = sa.select(_table, events.c.type).join_from(_table, events, _table.c.event_id == events.c.event_id)
    for name in ("status", "endpoint", "event_id"):
        if (value := getattr(chosen, name)) is not None:
            query = query.where(_table.c[name] == value)
    if chosen.before is not None:
        position, endpoint = chosen.before
        query = query.where(
            (_table.c.position < position) | ((_table.c.position == position) & (_table.c.endpoint < endpoint))
        )
    query = query.order_by(_table.c.position.desc(), _table.c.endpoint.desc()).limit(chosen.limit)
    with reading(engine) as connection:
        return [from_row(ListedDelivery, row) for row in connection.execute(query)]


def _hash(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
