"""What MongoDB has to show after a payment, as plain data, and what may stand in the way of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.domain.ids import DocumentId


class Effect(StrEnum):
    """The effects of a payment, in the order in which they are applied."""

    LEDGER_STATE = "ledger_state"
    """How far MongoDB was brought (`reconciler_state`): no document of the platform."""
    PARTICIPATION = "participation"
    WALLET = "wallet"
    TRANSACTION = "transaction"
    GKEYS = "gkeys"
    RECEIPT = "receipt"
    CAMPAIGN = "campaign"


class Obstacle(StrEnum):
    """Why an effect cannot be applied; a person has to mend the document."""

    PARTICIPATION_MISSING = "participation_missing"
    WALLET_MISSING = "wallet_missing"
    WALLET_AMBIGUOUS = "wallet_ambiguous"
    """The user has two wallets of type ``streamer``: which of them was credited, or should be, cannot be known."""
    WALLET_TYPE = "wallet_type"
    """The user's wallet is not one of type ``streamer``."""
    WALLET_INACTIVE = "wallet_inactive"
    WALLET_CURRENCY = "wallet_currency"
    """The wallet is kept in another currency."""
    WALLET_MALFORMED = "wallet_malformed"
    """A field that would be added to is not a finite number."""
    BASELINE_LOST = "baseline_lost"
    """The wallet no longer says how much of it came from us, though it did: adding again could pay twice."""
    LEDGER_BEHIND = "ledger_behind"
    """The wallet has seen a later version than this ledger knows: an older copy of the ledger was put in place."""
    GKEY_MALFORMED = "gkey_malformed"
    """A key is locked by the campaign at no readable time."""
    REFUSED = "refused_by_mongodb"
    """MongoDB refuses the write itself: a validator, a unique index, a missing right. Its words stand beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletPosition:
    """All that a streamer has in one currency, in minor units, under a version that only grows."""

    streamer_id: str
    currency: str
    version: int
    available_minor: int
    held_minor: int
    acknowledged_version: int
    """The newest version that a wallet was read back with; 0 when none ever was."""

    @property
    def is_acknowledged(self) -> bool:
        """Whether nothing of it is on its way to the wallet."""
        return self.version == self.acknowledged_version


class TaskKind(StrEnum):
    """What happened to a payout, and has to be projected."""

    PAYOUT = "payout"
    HOLD_RELEASE = "hold_release"
    REVERSAL = "reversal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a participation shows of its latest payout: nothing earned once that is reversed."""

    amount_minor: int
    rule: str
    paid_at: datetime
    reversed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionTask:
    """One entry whose effects are to be applied: a payout, or what became of it later.

    ``amount_minor`` is that of the entry, negative for a reversal; ``paid_at`` is when the payout was committed,
    ``posted_at`` when this entry was.
    """

    sequence: int
    kind: TaskKind = TaskKind.PAYOUT
    entry_key: str = ""
    payout_key: str
    participation_id: DocumentId
    campaign_id: DocumentId
    brand_id: DocumentId
    streamer_id: str
    currency: str
    amount_minor: int
    rule: str
    cooloff_hours: int
    paid_at: datetime
    posted_at: datetime
    is_held: bool = False
    """Whether the payout lay in *held* first."""
    shown: Shown
    position: WalletPosition

    @property
    def key(self) -> str:
        """The entry's permanent key."""
        return self.entry_key or self.payout_key

    @property
    def statement_type(self) -> str:
        """The platform's word for the statement line of this entry."""
        if self.kind is TaskKind.HOLD_RELEASE:
            return "earnings_release"
        if self.kind is TaskKind.REVERSAL:
            return "earnings_reversal"
        return "earnings_hold" if self.is_held else "earnings_credit"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedEffect:
    """An effect that could not be applied, and why; ``words`` are MongoDB's, where it refused it."""

    effect: Effect
    obstacle: Obstacle
    words: str = ""

    def __str__(self) -> str:
        return f"{self.effect.value}: {self.obstacle.value}{f', {self.words}' if self.words else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionResult:
    """What became of a chunk of tasks; every sequence is in exactly one of the two."""

    done: Sequence[int]
    blocked: Mapping[int, BlockedEffect]
    wallets: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(streamer, currency) → version read back from the wallet."""
    campaigns_completed: Sequence[DocumentId] = ()
