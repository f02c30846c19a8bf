"""Events and their deliveries: what other systems were sent, and how far each endpoint is behind."""

from __future__ import annotations

import json
from collections.abc import Sequence

from reconciler.clock import spelled, utc_text
from reconciler.config.webhooks import WebhookEndpoint
from reconciler.ledger.engine import Engine
from reconciler.ledger.operations.deliveries import Deliveries, DeliveryFilter, list_deliveries
from reconciler.ledger.operations.events import ListedEvent
from reconciler.queries import Document, fields_document


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
                "oldest_pending_at": spelled(behind.oldest_pending_at if behind else None),
            }
        )
    return rows


def delivery_rows(engine: Engine, chosen: DeliveryFilter) -> list[Document]:
    """The deliveries that a filter admits, those of the newest events first."""
    rows = [fields_document(one) for one in list_deliveries(engine, chosen)]
    # Where a delivery lies in the table is of use to who reads on page by page only.
    return [{name: value for name, value in row.items() if name != "position"} for row in rows]


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
