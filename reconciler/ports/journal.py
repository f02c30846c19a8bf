"""Where payments are made. ``reconciler.ledger`` implements it.

Every method may raise Outage and InvariantBroken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from reconciler.domain.batch import Outcome
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import HoldWithdrawal, PayoutRequest
from reconciler.domain.settlement import PoolDue
from reconciler.ports.ledger_reads import LedgerReads


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStamp:
    """Which run posts, and what set it off; kept with every entry and payout."""

    run_id: str
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChange:
    """An account before and after, in minor units of ``currency``."""

    account: str
    currency: str
    before_minor: int
    after_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PostingBatch:
    """What asks to be posted in one transaction."""

    requests: Sequence[PayoutRequest] = ()
    withdrawals: Sequence[HoldWithdrawal] = ()
    voids: Sequence[DocumentId] = ()
    """Members of a pool who were forfeited before their share was posted."""
    facts_at: datetime | None = None
    """When the facts of withdrawals and voids were read: grown too old, they are left to the next look."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.requests or self.withdrawals or self.voids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What one batch did: an outcome for each request's key, and the entries of the new payouts."""

    outcomes: Mapping[str, Outcome]
    payout_sequences: Sequence[int]
    paid_minor: Mapping[str, int]
    """Currency → sum of the new payouts' gross amounts, in minor units."""


class Poster(Protocol):
    """Where payments are made."""

    def post(self, batch: PostingBatch, stamp: BatchStamp) -> Posted:
        """Post what is new and fits, in one transaction."""
        ...

    def freeze(self, due: PoolDue, facts_at: datetime, stamp: BatchStamp) -> bool:
        """Freeze a settlement; False when its campaign has one, or the facts grew too old."""
        ...


@runtime_checkable
class Rehearsal(Poster, Protocol):
    """A poster whose batches are all rolled back."""

    @property
    def ledger(self) -> LedgerReads:
        """The ledger as it would be: with what was rehearsed so far."""
        ...

    def account_changes(self, limit: int) -> list[AccountChange]:
        """What the batches rehearsed so far did to accounts, by name; the first ``limit``."""
        ...


class Journal(Poster, Protocol):
    """A poster that can also rehearse."""

    def rehearsal(self, *, has_limits: bool = True) -> AbstractContextManager[Rehearsal]:
        """A poster whose batches see each other and are all rolled back in the end; without limits it never halts."""
        ...
