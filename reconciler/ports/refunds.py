"""What passes between refunding and the ledger: an escrow, the wish to give it back, and what became of that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from reconciler.domain.ids import DocumentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Escrow:
    """What a campaign's escrow holds, in minor units."""

    campaign_id: DocumentId
    currency: str
    balance_minor: int


class RefundOutcome(StrEnum):
    """What became of a refund."""

    REFUNDED = "refunded"
    SOMETHING_IS_OPEN = "something_is_open"
    """A hold, or an unpaid share of a pool, still claims the money."""
    NOTHING_LEFT = "nothing_left"
    FACTS_TOO_OLD = "facts_too_old"
    """The campaign was read too long ago: read it again."""
    NOBODY_FUNDED = "nobody_funded"
    """No brand ever put money in, and none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """The wish to give back what an escrow holds. ``brand_id``: the brand today, for what no brand put in.

    ``by`` and ``reason`` are those of a person, who goes beyond shares that can be paid to nobody any more; empty: time
    did it. ``facts_at``: when the campaign was read, and nothing of it was owed.
    """

    escrow: Escrow
    brand_id: DocumentId | None
    facts_at: datetime
    by: str = ""
    reason: str = ""
