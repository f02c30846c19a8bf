"""What the ledger holds for a whole population. ``reconciler.ledger`` implements it. Methods may raise Outage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from reconciler.domain.effects import WalletPosition
from reconciler.domain.ids import DocumentId
from reconciler.domain.rederivation import PayoutRow
from reconciler.ports.scanning import ScannedPartition


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPartition:
    """What the ledger holds of a partition's participations: one tuple a payout row, and who else it knows.

    ``special``: those with a hold, a rejection or a frozen share. ``adopted``: those settled before the ledger began.
    """

    rows: Sequence[Sequence[Any]]
    """In the order of the fields of :class:`PayoutRow`."""
    special: frozenset[str]
    adopted: frozenset[str]
    pooled_campaigns: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSums:
    """Sums of one currency, in minor units. ``cut_minor``: the gross of payouts posted when the check began."""

    currency: str
    payouts_count: int
    cut_minor: int
    paid_minor: int
    reversed_minor: int
    refunded_minor: int

    @classmethod
    def nothing(cls, currency: str) -> LedgerSums:
        """A currency in which nothing was posted."""
        return cls(currency=currency, payouts_count=0, cut_minor=0, paid_minor=0, reversed_minor=0, refunded_minor=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPaid:
    """What was posted on one day of the reports' time zone, of one campaign (tagged) and currency."""

    day: str
    campaign_id: str
    currency: str
    payouts: int
    gross_minor: int
    fee_minor: int
    amount_minor: int
    reversed_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledBefore:
    """What was adopted in one currency; ``amount_minor``: of those whose document has an amount."""

    currency: str
    participations: int
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignMoney:
    """A campaign's account in the ledger, in minor units: the last budget seen, what was paid of it (gross), what its
    escrow holds, and the brands (tagged) that funded it."""

    campaign_id: DocumentId
    currency: str
    budget_minor: int
    paid_minor: int
    is_refunded: bool
    escrow_minor: int = 0
    brands: frozenset[str] = frozenset()


class PopulationReads(Protocol):
    """What the ledger holds, for a whole population."""

    def sequence(self) -> int:
        """The last entry's sequence."""
        ...

    def partition(self, scanned: ScannedPartition, campaign_id: str | None) -> LedgerPartition:
        """What is posted about a partition's participations, those that have no document among them."""
        ...

    def rows_of(self, participation_ids: Sequence[str]) -> list[PayoutRow]:
        """The rows of some participations (tagged)."""
        ...

    def settled_of(self, participation_ids: Sequence[str]) -> set[str]:
        """Which of some participations (tagged) have a payout, or were settled before the ledger began."""
        ...

    def text_participations(self, after: str, limit: int, campaign_id: str | None) -> list[str]:
        """Participations (tagged) with a row whose identity is text, from ``after`` on."""
        ...

    def sums(self, cut: int, campaign_id: str | None) -> list[LedgerSums]:
        """Sums a currency, by one statement."""
        ...

    def paid_by_day(self, days: Sequence[tuple[str, datetime, datetime]], campaign_id: str | None) -> list[DayPaid]:
        """What was posted on some days: (name, from, until)."""
        ...

    def settled_before(self, campaign_id: str | None) -> list[SettledBefore]:
        """What was adopted, a currency."""
        ...

    def campaign_money(self, after: str, limit: int) -> list[CampaignMoney]:
        """Funded campaigns by tagged identity, from ``after`` on."""
        ...

    def gross_paid(self, campaign_ids: Sequence[DocumentId]) -> Mapping[str, int]:
        """Campaign (tagged) → what was paid of it, fees included and reversals taken off, in minor units."""
        ...

    def projected_totals(self, campaign_ids: Sequence[DocumentId]) -> Mapping[DocumentId, tuple[int, str]]:
        """Campaign → net amount paid and currency, of those whose payouts were all projected."""
        ...

    def wallet_positions(self, after: tuple[str, str], limit: int, campaign_id: str | None) -> list[WalletPosition]:
        """Positions by (streamer, currency), from ``after`` on; with a campaign, of those who were paid in it."""
        ...

    def positions_of(self, keys: Sequence[tuple[str, str]]) -> list[WalletPosition]:
        """The positions of some (streamer, currency), as they are now."""
        ...

    def participations_of(self, streamer_ids: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Streamer → one paid participation and its campaign, both tagged."""
        ...

    def show_again(self, keys: Sequence[tuple[str, str]]) -> None:
        """Raise the versions of some (streamer, currency), so that their wallets take the position anew."""
        ...
