"""A participation: one streamer in one campaign, and what was counted for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.domain.ids import DocumentId, parse_id
from reconciler.domain.parsing import (
    SHOWN_LENGTH_MAX,
    FieldProblem,
    Foreign,
    Unreadable,
    keep,
    parse_count,
    parse_date,
    parse_flag,
    parse_status,
)

STATUSES_THAT_PAY = frozenset({"active", "completed"})
"""``completed`` too: somebody may have marked it by hand, and it was never paid."""

STATUSES_SETTLED = frozenset({"rejected", "left_early", "removed"})
"""With these a participation is over without a payment, and its campaign does not wait for it."""

STATUSES = STATUSES_THAT_PAY | STATUSES_SETTLED | {"paused", "participation_paused"}
"""Every word that is known. Another one says nothing, least of all that nobody wants this one to be paid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """A participation whose identities can be read.

    ``impressions`` may still be unreadable: that matters only when nothing else stands in the way of a payment.
    """

    participation_id: DocumentId
    campaign_id: DocumentId
    streamer_id: str
    """Plain text form, as ``wallets.userId`` holds it: an ObjectId and its hex as a string are one person with one
    wallet, and must share one account (docs/decisions/0003)."""
    status: str | None
    impressions: int | Unreadable
    forfeited: bool | Unreadable
    marked_paid: bool | Unreadable
    last_stream_at: datetime | None = None
    created_at: datetime | None = None
    """When it was made, by its own date or else by its ObjectId; None where neither says."""

    @property
    def problems(self) -> tuple[FieldProblem, ...]:
        """Every field that cannot be read and that money depends on."""
        flags = (
            ("impressions", self.impressions),
            ("earnings_forfeited", self.forfeited),
            ("final_earnings_transferred", self.marked_paid),
        )
        found = [FieldProblem(field=name, why=value.why) for name, value in flags if isinstance(value, Unreadable)]
        if self.status is None:
            found.insert(0, FieldProblem(field="status", why="is not text"))
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class MalformedParticipation:
    """A participation that cannot be tied to a campaign and a streamer, or not even named in the ledger."""

    participation_id: DocumentId | None
    shown_id: str
    problems: tuple[FieldProblem, ...]
    campaign_id: DocumentId | None = None


def parse_participation(record: Mapping[str, object]) -> Participation | MalformedParticipation:
    """Read a record (our field names; ObjectIds as DocumentId, Decimal128 as Decimal). Never raises."""
    problems: list[FieldProblem] = []
    participation_id = keep(parse_id(record.get("id")), "id", problems)
    campaign_id = keep(parse_id(record.get("campaign_id")), "campaign_id", problems)
    streamer_id = keep(parse_id(record.get("streamer_id")), "streamer_id", problems)
    if participation_id is None or campaign_id is None or streamer_id is None:
        return MalformedParticipation(
            participation_id=participation_id,
            shown_id=_shown(participation_id, record.get("id")),
            problems=tuple(problems),
            campaign_id=campaign_id,
        )
    return Participation(
        participation_id=participation_id,
        campaign_id=campaign_id,
        streamer_id=streamer_id.value,
        status=parse_status(record.get("status")),
        impressions=parse_count(record.get("impressions")),
        forfeited=parse_flag(record.get("earnings_forfeited")),
        marked_paid=parse_flag(record.get("final_earnings_transferred")),
        last_stream_at=parse_date(record.get("last_stream_date")),
        created_at=parse_date(record.get("created_at")) or participation_id.made_at,
    )


def _shown(participation_id: DocumentId | None, raw: object) -> str:
    """A short text that lets a person find the document; its identity may be of any type and length."""
    if participation_id is not None:
        return participation_id.value
    return str(raw) if isinstance(raw, Foreign) else repr(raw)[:SHOWN_LENGTH_MAX]
