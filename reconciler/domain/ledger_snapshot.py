"""What the ledger holds about the subjects of one batch, read under its lock, and what asks to be posted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.domain.decision import Due
from reconciler.domain.ids import DocumentId, payout_fingerprint, payout_key, tie_break


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A payment that MongoDB shows and an older copy of the ledger lacks. ``release_at``: None if it was not held."""

    release_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRequest:
    """A decision to pay that asks to be posted. ``decision_key``: the person's decision behind a repayment; ``lost``:
    what a recovery posts again, as it was."""

    due: Due
    facts_at: datetime
    n: int = 1
    decision_key: str | None = None
    lost: Lost | None = None

    @property
    def key(self) -> str:
        """The payout's permanent key."""
        return payout_key(self.due.participation.participation_id, self.n)

    @property
    def fingerprint(self) -> str:
        """The payout's identity; see :func:`ids.payout_fingerprint`."""
        return payout_fingerprint(
            participation_id=self.due.participation.participation_id,
            campaign_id=self.due.participation.campaign_id,
            streamer_id=self.due.participation.streamer_id,
            currency=self.due.terms.currency,
            n=self.n,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldWithdrawal:
    """A participation that is held and no longer due: its hold must not stand before others.

    ``hold_key``: the hold that was there when its facts were read; a later one rests on later facts, and stays.
    """

    participation_id: DocumentId
    campaign_id: DocumentId
    reason: str
    hold_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHold:
    """A payout that waits: for budget, where ``opened_at`` decides the order, or for a person's approval."""

    hold_key: str
    participation_id: str
    campaign_id: str
    streamer_id: str
    opened_at: datetime
    amount_minor: int
    currency: str
    reason: str = "over_budget"

    @property
    def order(self) -> tuple[datetime, tuple[bool, str]]:
        """Who is first when money arrives."""
        return self.opened_at, tie_break(self.participation_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """The last budget seen of a campaign, and what all fundings together moved into escrow."""

    n: int
    currency: str
    budget_minor: int
    funded_minor: int
    facts_at: datetime
    was_refunded: bool = False
    """After a refund the budget moves nothing any more, but by a person's command."""
    movements: Sequence[tuple[str, int]] = ()
    """(brand's account, minor units from it into escrow; negative: back), in the order of the fundings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenLine:
    """A share of a frozen settlement, as the ledger holds it. Identities are tagged, but the streamer's."""

    settlement_key: str
    campaign_id: str
    streamer_id: str
    share_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What was paid in the hour before now: payouts, and gross minor units a currency."""

    payouts_count: int = 0
    paid_minor: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSnapshot:
    """What the ledger holds about the participations and campaigns of one batch, read under the lock."""

    fingerprints: Mapping[str, str]
    """Payout key → fingerprint, for those requests that exist."""
    paid_participations: Mapping[tuple[str, str], str]
    """(campaign, streamer) → tagged participation that was paid, be it reversed since."""
    fundings: Mapping[str, Funding]
    escrow_minor: Mapping[tuple[str, str], int]
    """(escrow account, currency) → balance."""
    open_holds: Sequence[OpenHold]
    """Every open hold of the campaigns and of the participations of the batch."""
    holds_count: Mapping[str, int]
    """Tagged participation → holds it ever had, open or closed."""
    approved_minor: Mapping[str, int] = field(default_factory=dict)
    """Payout key → gross amount that a person approved last, for the campaign, streamer and currency of the request."""
    too_fast: frozenset[str] = frozenset()
    """Tagged participations that were ever held for their pace: time alone does not let them through."""
    rejected: frozenset[str] = frozenset()
    """Payout keys that a person rejected."""
    adopted: frozenset[str] = frozenset()
    """Tagged participations that were settled before this ledger began."""
    adopted_minor: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(campaign, currency) → sum of what was settled before us, which its budget no longer covers."""
    pooled: frozenset[str] = frozenset()
    """Campaigns with a frozen settlement: nobody is paid there but from its lines."""
    pool_currency: Mapping[str, str] = field(default_factory=dict)
    """Campaign with a frozen settlement → the currency that its shares are minor units of."""
    lines: Mapping[str, FrozenLine] = field(default_factory=dict)
    """Tagged participation → its line in a frozen settlement, whatever its document says today."""
    unreversed: frozenset[str] = frozenset()
    """Tagged participations, of those a person wants repaid, with a payout that was not reversed."""
    numbers: Mapping[tuple[str, str], Mapping[int, str | None]] = field(default_factory=dict)
    """(campaign, streamer) → number of each payout → the tagged participation it stands for; None once reversed."""
    voids: frozenset[str] = frozenset()
    """Tagged participations whose share of a pool is void."""
    recent: Recent = field(default_factory=Recent)
    balance_minor: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(account, currency) → balance of every account that the batch may post to."""
