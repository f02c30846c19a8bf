"""What a full check asks of the two databases, as Protocols, and the columns that pass through.

Beside :mod:`reconciler.ports.payment`, which everything else asks: these read whole populations, a partition at a time,
as columns rather than as one object a row. What they answer chooses what is looked at again; nothing is decided on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import Campaign, CampaignTerms
from reconciler.domain.ids import DocumentId
from reconciler.domain.participation import MalformedParticipation
from reconciler.ports.watch import KeptPosition


@dataclass(slots=True, kw_only=True)
class FactColumns:
    """A partition of participations as columns of one length, in the order of ``_id``.

    ``is_plain``: the row holds what its columns are made for (ObjectIds, numbers, text, booleans); the other columns of
    a row that is not are fillers. Identities are tagged.
    """

    participation_ids: list[str] = field(default_factory=list)
    campaign_ids: list[str] = field(default_factory=list)
    streamer_ids: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    impressions: list[int | float] = field(default_factory=list)
    forfeited: list[bool] = field(default_factory=list)
    marked_paid: list[bool] = field(default_factory=list)
    completion_reasons: list[str] = field(default_factory=list)
    final_earnings: list[float] = field(default_factory=list)
    """As the document has them, in major units; NaN where there are none."""
    is_plain: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.participation_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedPartition:
    """One partition: everything after ``after`` up to and with ``up_to``; None: from the beginning, to the end.

    ``unreadable`` are documents without a usable identity; they are in no column. ``is_resumable``: reading can begin
    again after ``up_to`` without meeting one of its documents twice.
    """

    columns: FactColumns
    unreadable: Sequence[MalformedParticipation]
    after: DocumentId | None
    up_to: DocumentId | None
    read_at: datetime
    is_resumable: bool = True

    @property
    def size(self) -> int:
        """How many documents it holds."""
        return len(self.columns) + len(self.unreadable)


class MissingCollection(NamedTuple):
    """A mapped collection that does not exist. ``detail``: what is there instead, in words.

    ``is_suspect``: its name is wrong, or nothing can be checked without it. A collection that comes with its
    first document is not, where no other collection lies there that could be meant.
    """

    name: str
    detail: str
    is_suspect: bool


class Reached(NamedTuple):
    """A document whose counter is not below its campaign's target, as it lies in MongoDB. Identities are tagged."""

    participation_id: str
    campaign_id: str
    impressions: object
    status: object
    forfeited: object


class PayoutRow(NamedTuple):
    """A row of the ledger table as the check reads it, with the state of its effects and its share of a pool."""

    payout_key: str
    sequence: int
    kind: str
    n: int
    participation_id: str
    campaign_id: str
    streamer_id: str
    impressions: int
    target: int
    payment_type: str
    rate: str
    overdelivery: str
    gross_minor: int
    fee_minor: int
    amount_minor: int
    fee_bps: int
    currency: str
    rule: str
    settlement_key: str | None
    share_minor: int | None
    outbox_status: str | None


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
    """What was adopted in one currency; ``amount_minor`` of those whose document told one."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletAccount:
    """A streamer's position, in minor units. ``acknowledged_version``: the newest that their wallet was read with."""

    streamer_id: str
    currency: str
    version: int
    available_minor: int
    held_minor: int
    acknowledged_version: int

    @property
    def is_told(self) -> bool:
        """Whether nothing of it is on its way to the wallet."""
        return self.version == self.acknowledged_version


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletFault:
    """A wallet that does not say what the ledger does. ``shown_minor``: what it says, as ``expected_minor``.

    ``is_repairable``: its record of the ledger is behind, and can be told again. The other faults are a person's.
    """

    streamer_id: str
    currency: str
    expected_minor: int
    shown_minor: int | None
    detail: str
    kind: BreakKind = BreakKind.WALLET_DRIFT
    field: str = ""
    """The shared field that contradicts the ledger; empty for the record itself."""

    @property
    def is_repairable(self) -> bool:
        return self.kind is BreakKind.WALLET_DRIFT and not self.field

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same fault when it is looked at again."""
        return self.streamer_id, self.currency, self.field


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignCounters:
    """What a campaign's document says beside its terms. ``remaining_minor``: None where it cannot be read."""

    title: str
    remaining_minor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBudget:
    """A campaign's budget, and what its document says is left of it, in minor units of ``currency``.

    ``drift_minor``: as :func:`reconciler.domain.recording.budget_drift_minor` has it; 0 is in order.
    """

    currency: str
    budget_minor: int
    remaining_minor: int
    drift_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckKey:
    """What makes two checks the same work: one that was interrupted is continued by the next with the same key."""

    config_fingerprint: str
    campaign_id: str
    dry_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DonePartition:
    """A partition that a check is through with: where it ended, and what it found."""

    number: int
    up_to: str
    tally: Mapping[str, Any]
    breaks: Sequence[Break]


class FactScan(Protocol):
    """Every participation, a partition at a time."""

    def partitions(
        self, size: int, *, campaign_id: str | None, after: DocumentId | None
    ) -> AbstractContextManager[Iterator[ScannedPartition]]:
        """Partitions in the order of ``_id``, read ahead in a thread. The last one has no ``up_to``."""
        ...

    def collections(self) -> Mapping[str, str]:
        """The collections that are compared: name → what makes it this one, and not another of the name."""
        ...

    def counters(
        self, campaign_ids: Sequence[DocumentId], currencies: Mapping[str, str]
    ) -> Mapping[str, CampaignCounters]:
        """Of some campaigns (tagged identity → …), what their documents say; ``currencies`` by tagged identity."""
        ...

    def last_streams(self, campaign_ids: Sequence[DocumentId]) -> Mapping[str, datetime]:
        """Campaign (tagged) → when anybody who takes part streamed last; absent where no date says so."""
        ...

    def missing_collections(self) -> Mapping[str, MissingCollection]:
        """Mapped collections that do not exist: what each is for → its name, and what is there instead."""
        ...

    def reached(self, campaigns: Sequence[CampaignTerms]) -> Iterator[Sequence[Reached]]:
        """Whoever may have reached the target of some campaigns, as MongoDB compares; in pages."""
        ...


class RecordedBudgets(Protocol):
    """What recording left of budgets."""

    def read(self, campaign_id: DocumentId) -> RecordedBudget | None:
        """A campaign beside its members' counters, from one snapshot; None where nothing can be said."""
        ...


class EffectStates(Protocol):
    """What MongoDB shows of payouts, looked up for many at once."""

    def odd_lines(self, lines: Sequence[tuple[str, int, str]]) -> set[str]:
        """Which of some (entry key, amount in minor units, currency) have no statement line that says so."""
        ...

    def locked(self, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of some (streamer, plain campaign) have a G-key that this campaign still locks."""
        ...

    def wallet_faults(self, accounts: Sequence[WalletAccount]) -> list[WalletFault]:
        """Wallets that say less, or something else, than they acknowledged or we left in them."""
        ...

    def stale_campaigns(self, totals: Mapping[DocumentId, tuple[int, str]]) -> dict[DocumentId, str]:
        """Campaigns that are settled and do not say so: identity → what is wrong, in words."""
        ...


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

    def told_totals(self, campaign_ids: Sequence[DocumentId]) -> Mapping[DocumentId, tuple[int, str]]:
        """Campaign → net amount paid and currency, of those whose payouts were all told to MongoDB."""
        ...

    def wallet_accounts(self, after: tuple[str, str], limit: int, campaign_id: str | None) -> list[WalletAccount]:
        """Positions by (streamer, currency), from ``after`` on; with a campaign, of those who were paid in it."""
        ...

    def accounts_of(self, keys: Sequence[tuple[str, str]]) -> list[WalletAccount]:
        """The positions of some (streamer, currency), as they are now."""
        ...

    def participations_of(self, streamer_ids: Sequence[str]) -> Mapping[str, tuple[str, str]]:
        """Streamer → one paid participation and its campaign, both tagged."""
        ...

    def show_again(self, keys: Sequence[tuple[str, str]]) -> None:
        """Raise the versions of some (streamer, currency), so that their wallets take the position anew."""
        ...


class SweepWatch(Protocol):
    """Whether whoever is due should have been paid by now."""

    def must_be_paid(self, read_at: datetime) -> bool:
        """Whether a whole sweep began and ended since, or nobody sweeps."""
        ...


class WatchedPosition(Protocol):
    """How far the watch has read; it goes on moving while a check looks elsewhere."""

    def load(self) -> KeptPosition:
        """What is kept of it. Raises Outage."""
        ...


class CheckRuns(Protocol):
    """What checks keep of their work while they do it."""

    def close_interrupted(self) -> int:
        """Write into the record of runs which checks ended without saying so; answers how many."""
        ...

    def done(self, key: CheckKey, since: datetime) -> list[DonePartition]:
        """Partitions of an unfinished check of the same kind, if its last one was kept after ``since``."""
        ...

    def keep(self, key: CheckKey, done: DonePartition) -> None:
        """Remember a partition."""
        ...

    def finish(self, waiting: Mapping[str, datetime]) -> None:
        """Forget all partitions; keep who was due and unpaid, and when that was read first."""
        ...

    def waiting(self) -> Mapping[str, datetime]:
        """Who was due and unpaid when the last check looked: tagged participation → when that was read first."""
        ...


class CheckLease(Protocol):
    """The right to check: one process at a time."""

    def acquire(self) -> int | None:
        """Take or renew it; None while another process has it."""
        ...

    def resign(self) -> None:
        """Give it back."""
        ...

    def holder(self) -> str | None:
        """Who had it last."""
        ...


Terms = Mapping[str, Campaign]
"""Tagged identity → campaign."""
