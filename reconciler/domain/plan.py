"""What one batch writes, as data: the ledger turns it into rows and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.domain.accounts import Entry
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.posted import PostedPayout
from reconciler.domain.settlement import PoolDue


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldEvent:
    """A hold that opens or closes."""

    hold_key: str
    event: str
    participation_id: str
    campaign_id: str
    streamer_id: str
    reason: str
    detail: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFunding:
    """A budget seen, with the entry that moves the difference."""

    entry: Entry
    campaign_id: str
    n: int
    currency: str
    budget_minor: int
    amount_minor: int
    facts_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPayout:
    """A payment, with the entry that makes it. ``release_at``: until then it lies in *held*."""

    entry: Entry
    request: PayoutRequest
    release_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReversal:
    """A payout taken back, with the mirrored entry."""

    entry: Entry
    payout: PostedPayout
    decision_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTransfer:
    """An entry that needs no row beside it: a release, a refund, an adjustment. ``is_projected``: it has effects."""

    entry: Entry
    is_projected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSettlement:
    """A pool to be frozen."""

    settlement_key: str
    n: int
    due: PoolDue
    facts_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDecision:
    """A decision by a person, or a halt by this program. ``state_before``: what was true when it was taken."""

    decision_key: str
    kind: str
    subject: str
    decided_by: str
    reason: str
    state_before: Mapping[str, object] = field(default_factory=dict)
    amount_minor: int | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdoption:
    """A participation that was settled before this ledger began. The amount is None where the document has none."""

    participation_id: str
    campaign_id: str
    streamer_id: str
    amount_minor: int | None
    currency: str
    decision_key: str


PostedItem = NewFunding | NewPayout | NewReversal | NewTransfer


@dataclass(slots=True, kw_only=True)
class BatchPlan:
    """All that one batch writes; ``posted`` in the order in which sequences are given out."""

    posted: list[PostedItem] = field(default_factory=list)
    hold_events: list[HoldEvent] = field(default_factory=list)
    settlements: list[NewSettlement] = field(default_factory=list)
    decisions: list[NewDecision] = field(default_factory=list)
    adoptions: list[NewAdoption] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.posted or self.hold_events or self.settlements or self.decisions or self.adoptions)


def halting_plan(invariant: str, detail: str, now: datetime) -> BatchPlan:
    """A batch that pays nothing and says that paying has stopped, and why."""
    plan = BatchPlan()
    plan.decisions.append(
        NewDecision(
            decision_key=f"halt:{now:%Y-%m-%dT%H:%M:%S.%f}",
            kind="halt",
            subject="paying",
            decided_by="reconciler",
            reason=f"{invariant}: {detail}",
        )
    )
    return plan


def void_of(participation_id: DocumentId) -> NewDecision:
    """That a share is void, for good."""
    return NewDecision(
        decision_key=f"void:{participation_id.tagged}",
        kind="void",
        subject=participation_id.tagged,
        decided_by="reconciler",
        reason="forfeited before its share of the pool was posted",
    )
