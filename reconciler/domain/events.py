"""Events: what other systems are notified of, as plain data. Each is made from one business fact, once, ever.

The identity of an event follows from its fact, so that whoever records it again after a crash records the same event.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.domain.ids import DocumentId

PAYLOAD_VERSION = 1
"""Raised when a field changes its meaning or goes; new fields may come at any time."""


class EventType(StrEnum):
    """What can have happened."""

    PARTICIPATION_SETTLED = "participation.settled"
    """A payout was committed, and every effect of it has been applied."""
    CAMPAIGN_COMPLETED = "campaign.completed"
    """Nothing of a campaign is left to settle, and its document says so."""
    GKEY_RELEASED = "gkey.released"
    """A category slot is available again after its cool-off."""
    PAYOUT_REVERSED = "payout.reversed"
    """A payout was taken back, and every effect of that has been applied."""
    CHECK_FINISHED = "check.finished"
    """A full check ended with a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened. ``fact`` is what it is made from: the same fact is the same event.

    ``subject``: what it is about, tagged; events of one subject are delivered in their order. ``fields`` are plain JSON
    values: identities as text, amounts in minor units beside their currency, times as :func:`time_text` writes them.
    """

    type: EventType
    fact: str
    subject: str
    occurred_at: datetime
    fields: Mapping[str, object]

    @property
    def event_id(self) -> str:
        """The identity that receivers deduplicate by. Letters and digits only: it travels in a header."""
        identity = f"{self.type.value}\n{self.fact}"
        return f"evt_{hashlib.sha256(identity.encode()).hexdigest()[:32]}"

    @property
    def payload(self) -> str:
        """The body that is delivered, byte for byte the same at every attempt."""
        envelope = {
            "type": self.type.value,
            "version": PAYLOAD_VERSION,
            "id": self.event_id,
            "timestamp": time_text(self.occurred_at),
            "data": dict(self.fields),
        }
        return json.dumps(envelope, separators=(",", ":"), ensure_ascii=True)


def participation_subject(participation_id: str) -> str:
    """The subject of everything about a participation (tagged)."""
    return f"participation:{participation_id}"


def campaign_completed(campaign_id: DocumentId, total_minor: int, currency: str, at: datetime) -> Event:
    """``total_minor``: the net amount paid when it was first seen complete."""
    return Event(
        type=EventType.CAMPAIGN_COMPLETED,
        fact=campaign_id.tagged,
        subject=f"campaign:{campaign_id.tagged}",
        occurred_at=at,
        fields={"campaign_id": str(campaign_id), "total_minor": total_minor, "currency": currency},
    )


def gkey_released(key_id: DocumentId, streamer_id: str, category: str, rested_until: datetime) -> Event:
    """``rested_until``: when the cool-off ended; each cool-off of a key ends once."""
    return Event(
        type=EventType.GKEY_RELEASED,
        fact=f"{key_id.tagged}\n{time_text(rested_until)}",
        subject=f"gkey:{key_id.tagged}",
        occurred_at=rested_until,
        fields={
            "gkey_id": str(key_id),
            "streamer_id": streamer_id,
            "category": category,
            "cooloff_ended_at": time_text(rested_until),
        },
    )


def time_text(time: datetime) -> str:
    """UTC in whole milliseconds, as ``2026-03-01T12:00:00.125Z``."""
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03}Z"
