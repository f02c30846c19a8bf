"""What the ledger holds, read outside its lock. ``reconciler.ledger`` implements it. Every method may raise Outage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from reconciler.domain.decision import PoolShare, Settled
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import OpenHold


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledFacts:
    """What the ledger knows of a page of participations, for the decision about them."""

    settled: Mapping[str, Settled]
    """Tagged participation → paid or reversed; absent: nothing."""
    paid_participations: Mapping[tuple[str, str], str]
    """(tagged campaign, streamer) → tagged participation that was paid."""
    pinned_currency: Mapping[str, str]
    """Tagged campaign → currency of its first funding."""
    held: Mapping[str, OpenHold]
    """Tagged participation → its open hold."""
    pool_lines: Mapping[str, PoolShare] = field(default_factory=dict)
    """Tagged participation → its line in the frozen settlement of its campaign."""
    pool_campaigns: Mapping[str, PoolShare] = field(default_factory=dict)
    """Tagged campaign with a frozen settlement → where those stand that have no line in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidTotals:
    """What the ledger paid in one currency: sums over the payouts table, in minor units."""

    currency: str
    payouts_count: int
    paid_minor: int
    reversed_minor: int
    held_minor: int


class LedgerReads(Protocol):
    """What the ledger holds, outside its lock."""

    def settled_facts(
        self, participation_ids: Sequence[str], campaign_streamers: Sequence[tuple[str, str]]
    ) -> SettledFacts:
        """Facts about the participations (tagged) and (tagged campaign, streamer) pairs of one page."""
        ...

    def existing_keys(self, payout_keys: Sequence[str]) -> set[str]:
        """Which of some payout keys exist."""
        ...

    def last_number(self, participation_id: str, campaign_id: str, streamer_id: str) -> int:
        """The highest number of a payout of a participation (tagged), or of its streamer in its campaign; 0: none."""
        ...

    def gross_paid_minor(self, campaign_id: DocumentId) -> int:
        """What was paid of a campaign, fees included and reversals taken off, in minor units."""
        ...

    def unposted_lines(self, after: str, limit: int) -> list[DocumentId]:
        """Members of frozen settlements that were neither paid nor voided, by tagged identity from ``after`` on."""
        ...

    def open_holds(self) -> list[OpenHold]:
        """Every open hold, in the order in which they are retried."""
        ...

    def campaign_totals(self, campaign_ids: Sequence[DocumentId]) -> Mapping[DocumentId, tuple[int, str]]:
        """Campaign → net amount paid in minor units, and its currency."""
        ...

    def totals(self, campaign_id: str | None = None) -> list[PaidTotals]:
        """Sums a currency over the whole ledger, or over one campaign (its plain identity)."""
        ...
