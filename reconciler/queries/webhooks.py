"""Events and their deliveries: what other systems were told, and how far each endpoint is behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from reconciler.clock import utc_text
from reconciler.config.webhooks import WebhookEndpoint
from reconciler.ledger.engine import Engine
from reconciler.ledger.operations.deliveries import Deliveries, DeliveryFilter, ListedDelivery, list_deliveries
from reconciler.ledger.operations.events import ListedEvent
from reconciler.queries import Document


def endpoint_rows(deliveries: Deliveries, endpoints: Sequence[WebhookEndpoint]) -> list[Document]:
    """Every endpoint that is configured or has deliveries, by name: its state, and how much waits for it."""
    configured = {endpoint.name: endpoint for endpoint in endpoints}
    backlog = {one.endpoint: one for one in deliveries.backlog()}
    gone = deliveries.disabled({name: endpoint.url for name, endpoint in configured.items()})
    rows: list[Document] = []
    for name in sorted({*configured, *backlog}):
        behind = backlog.get(name)
        state = "not configured" if name not in configured else "disabled" if name in gone else "enabled"
        rows.append(
            {
                "endpoint": name,
                "state": state,
                "pending": behind.pending if behind else 0,
                "dead": behind.dead if behind else 0,
                "oldest_pending_at": _text(behind.oldest_pending_at if behind else None),
            }
        )
    return rows


def delivery_rows(engine: Engine, chosen: DeliveryFilter) -> list[Document]:
    """The deliveries that a filter admits, those of the newest events first."""
    return [_delivery_row(one) for one in list_deliveries(engine, chosen)]


def event_document(engine: Engine, event: ListedEvent) -> Document:
    """An event with its payload, which is None once it was pruned, and its deliveries."""
    return {
        "event_id": event.event_id,
        "type": event.type,
        "subject": event.subject,
        "status": event.status,
        "occurred_at": utc_text(event.occurred_at),
        "recorded_at": utc_text(event.recorded_at),
        "payload": None if event.payload is None else json.loads(event.payload),
        "deliveries": delivery_rows(engine, DeliveryFilter(event_id=event.event_id)),
    }


def _delivery_row(one: ListedDelivery) -> Document:
    return {
        "event_id": one.event_id,
        "type": one.type,
        "subject": one.subject,
        "endpoint": one.endpoint,
        "status": one.status,
        "attempts": one.attempts,
        "outcome": one.outcome,
        "status_code": one.status_code,
        "created_at": _text(one.created_at),
        "not_before": _text(one.not_before),
        "attempted_at": _text(one.attempted_at),
        "replayed_by": one.replayed_by,
    }


def _text(time: datetime | None) -> str | None:
    return None if time is None else utc_text(time)
