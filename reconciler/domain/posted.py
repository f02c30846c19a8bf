"""A payout as the ledger holds it: what lists, reversals, releases, explanations and recomputations start from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PayoutStatus(StrEnum):
    """Where a payout is now. Each payout has one of the first four; ``pending`` may be true beside it."""

    PAID = "paid"
    """In the wallet since it was posted."""
    HELD = "held"
    """In the *held* account until its hold days are over."""
    RELEASED = "released"
    """In the wallet since its hold days were over."""
    REVERSED = "reversed"
    """Taken back; the row of kind ``reversal`` says when."""
    PENDING = "pending"
    """Not all its effects are projected yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedPayout:
    """A row of the ledger table: a payout, or a reversal with negative amounts; and what became of it since.

    Identities are tagged, but ``streamer_id``. Amounts are minor units of ``currency``; gross = fee + ``amount_minor``,
    which is the net. ``rate`` is exact decimal text of major units.
    """

    payout_key: str
    sequence: int
    kind: str
    n: int
    participation_id: str
    campaign_id: str
    streamer_id: str
    brand_id: str
    impressions: int
    target: int
    payment_type: str
    rate: str
    overdelivery: str
    impressions_paid: int
    rounding: str
    gross_minor: int
    fee_bps: int
    fee_minor: int
    amount_minor: int
    currency: str
    rule: str
    trigger: str
    run_id: str
    facts_at: datetime
    created_at: datetime
    release_at: datetime | None
    settlement_key: str | None
    reverses: str | None
    """The key of the payout that a reversal takes back."""
    decision_key: str | None
    status: str = PayoutStatus.PAID
    """A :class:`PayoutStatus`; ``reversal`` for a reversal."""
    released_at: datetime | None = None
    reversed_at: datetime | None = None
    projection: str | None = None
    """``pending``, ``blocked`` or ``done``."""
    told_at: datetime | None = None
    """When all its effects were projected."""

    @property
    def is_reversed(self) -> bool:
        """Whether it was taken back."""
        return self.status == PayoutStatus.REVERSED

    @property
    def lies_held(self) -> bool:
        """Whether the amount still lies in the streamer's *held* account."""
        return self.status == PayoutStatus.HELD
