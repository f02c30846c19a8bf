"""A payout as the ledger holds it: what reversals, releases and explanations start from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedPayout:
    """A posted payout. Identities are tagged; amounts are minor units of ``currency``; gross = amount + fee."""

    payout_key: str
    n: int
    participation_id: str
    campaign_id: str
    streamer_id: str
    brand_id: str
    gross_minor: int
    fee_minor: int
    amount_minor: int
    currency: str
    created_at: datetime
    release_at: datetime | None
    is_released: bool
    is_reversed: bool

    @property
    def lies_held(self) -> bool:
        """Whether the amount still lies in the streamer's *held* account."""
        return self.release_at is not None and not self.is_released
