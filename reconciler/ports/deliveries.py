"""What passes between the delivery of webhooks and the ledger, which keeps events and attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """An event that can be sent to an endpoint now; ``payload`` is the body, ``attempts`` how many there were."""

    event_id: str
    endpoint: str
    subject: str
    type: str
    payload: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What became of sending an event to an endpoint; ``status`` is that of the delivery now."""

    event_id: str
    endpoint: str
    status: str
    attempts: int
    outcome: str
    status_code: int | None
    not_before: datetime
    """When the next attempt is due, of a delivery that is pending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointBacklog:
    """How far an endpoint is behind."""

    endpoint: str
    pending: int
    dead: int
    oldest_pending_at: datetime | None
