"""What MongoDB shows of payments that were made before: what recovering and adopting go through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from reconciler.domain.ids import DocumentId
from reconciler.domain.participation import Participation


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPayment:
    """A participation that its document says was paid, with the amount, if the document has a readable one."""

    participation: Participation
    amount_minor: int | None
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """A statement line of ours as MongoDB has it; the amount is minor units of ``currency``."""

    payout_key: str
    participation_id: DocumentId
    statement_type: str
    amount_minor: int
    currency: str
    at: datetime | None = None
    """When it was posted; None where the line does not say."""
