"""What the jobs ask of the two databases, as Protocols, and the data that passes through.

The jobs know nothing else of MongoDB and SQL. ``reconciler.ledger`` and ``reconciler.mongo`` implement these, unaware
of each other. Every method may raise ``Outage``; what posts may also raise ``InvariantBroken``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable

from reconciler.domain.batch import Outcome
from reconciler.domain.break_memory import CheckMark, Remembered
from reconciler.domain.breaks import Break
from reconciler.domain.campaign import Campaign, CampaignTerms
from reconciler.domain.decision import Policy, PoolStanding, Settled
from reconciler.domain.effects import BlockedEffect, ProjectionResult, ProjectionTask, WalletPosition
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_view import HoldWithdrawal, OpenHold, PayoutRequest
from reconciler.domain.participation import MalformedParticipation, Participation
from reconciler.domain.recording import Outcome as RecordingOutcome
from reconciler.domain.recording import ViewerReport
from reconciler.domain.settlement import PoolDue

Moment = tuple[int, int]
"""A point in MongoDB's history: its cluster time as seconds since 1970 and a number within that second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsPage:
    """Participations and their campaigns."""

    participations: Sequence[Participation | MalformedParticipation]
    campaigns: Mapping[str, Campaign]
    """Tagged identity → campaign; absent when no such document exists."""
    missing: Sequence[DocumentId]
    """Identities asked for that no document has."""
    facts_at: datetime
    as_of: Moment | None = None
    """What happened up to then is in it; None where MongoDB has no snapshots."""


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
    pool_lines: Mapping[str, PoolStanding] = field(default_factory=dict)
    """Tagged participation → its line in the frozen settlement of its campaign."""
    pool_campaigns: Mapping[str, PoolStanding] = field(default_factory=dict)
    """Tagged campaign with a frozen settlement → where those stand that have no line in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPosition:
    """Which ledger it is, by the identity drawn when it was created, and the sequence of its last entry."""

    ledger_id: str
    sequence: int


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


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxCounts:
    """How many payouts wait for their effects, and how many cannot have them."""

    pending: int
    blocked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Escrow:
    """What a campaign's escrow holds, in minor units."""

    campaign_id: DocumentId
    currency: str
    balance_minor: int


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


class RefundOutcome(StrEnum):
    """What became of a refund."""

    REFUNDED = "refunded"
    SOMETHING_IS_OPEN = "something_is_open"
    """A hold, or an unpaid share of a pool, still claims the money."""
    NOTHING_LEFT = "nothing_left"
    FACTS_TOO_OLD = "facts_too_old"
    """What was read of the campaign is too old by now: look again."""
    NOBODY_FUNDED = "nobody_funded"
    """No brand ever put money in, and none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """The wish to give back what an escrow holds. ``brand_id``: the brand today, for what no brand put in.

    ``by`` and ``reason`` are those of a person, who goes beyond shares that can be paid to nobody any more; empty: time
    did it. ``facts_at``: when the campaign was read, and nothing of it was owed.
    """

    escrow: Escrow
    brand_id: DocumentId | None
    facts_at: datetime
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedPayout:
    """A payout of which an effect cannot be applied."""

    task: ProjectionTask
    blocked: BlockedEffect


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidTotals:
    """What the ledger paid in one currency: sums over the payouts table, in minor units."""

    currency: str
    payouts_count: int
    paid_minor: int
    reversed_minor: int
    held_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityFault:
    """Something the ledger contradicts itself in; ``kind`` is that of the break it becomes."""

    kind: str
    detail: str
    batch: int | None = None
    """The batch it lies in, where the rows tell."""
    sequence: int | None = None
    """The entry it lies in, where the rows tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """What the ledger proves of itself."""

    entries: int
    ledger_sequence: int
    chain_head: str
    chain_verified_to: int
    """The last batch up to which every hash is right."""
    faults: tuple[IntegrityFault, ...]
    """In the order of the ledger: the first bad batch, and in it the first bad entry, come first."""
    payouts: int = 0
    """How many amounts were derived again from their stored facts, reversals among them."""
    table_sums: str = ""
    """What the rows of the verified batches add up to, in the same snapshot; empty where nobody asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A sweep or check as it is kept: what it was and how it ended."""

    run_id: str
    kind: str
    trigger: str
    started_at: datetime
    finished_at: datetime | None = None
    outcome: str | None = None
    counts: Mapping[str, object] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """An event that can be sent to an endpoint now; ``payload`` is the body, ``attempts`` how many there were."""

    event_id: str
    endpoint: str
    subject: str
    type: str
    payload: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What became of sending an event to an endpoint; ``status`` is that of the delivery now."""

    event_id: str
    endpoint: str
    status: str
    attempts: int
    outcome: str
    status_code: int | None
    not_before: datetime
    """When the next attempt is due, of a delivery that is pending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointBacklog:
    """How far an endpoint is behind."""

    endpoint: str
    pending: int
    dead: int
    oldest_pending_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestedKey:
    """A G-key in cool-off of which the end has come."""

    key_id: DocumentId
    streamer_id: str
    category: str
    rested_until: datetime


class Facts(Protocol):
    """MongoDB's documents that decisions read."""

    def paying_campaigns(self) -> Iterator[Sequence[Campaign]]:
        """Campaigns with a status that pays, in pages no larger than ``candidates`` takes."""
        ...

    def all_campaigns(self) -> Iterator[Sequence[Campaign]]:
        """Every campaign, whatever its status, in pages."""
        ...

    def candidates(
        self, campaigns: Sequence[CampaignTerms], page_size: int
    ) -> Iterator[Sequence[DocumentId | MalformedParticipation]]:
        """Participations that may be due, in the order of their identity."""
        ...

    def read(self, participation_ids: Sequence[DocumentId]) -> FactsPage:
        """Some participations with their campaigns, authoritatively, from one snapshot."""
        ...

    def pages(self, page_size: int, campaign_id: str | None = None) -> Iterator[FactsPage]:
        """Every participation there is, or those of one campaign (its plain identity)."""
        ...

    def credited_elsewhere(self, campaign_streamers: Iterable[tuple[DocumentId, str]]) -> set[tuple[str, str]]:
        """Which pairs have a statement line of earnings; as (tagged campaign, streamer)."""
        ...

    def pool_candidates(self, campaigns: Sequence[CampaignTerms], policy: Policy, now: datetime) -> list[CampaignTerms]:
        """Those of some campaigns whose pool may be due; a hint, like :meth:`candidates`."""
        ...

    def campaigns(self, campaign_ids: Sequence[DocumentId]) -> Mapping[str, Campaign]:
        """Some campaigns, by tagged identity; those that do not exist are absent."""
        ...

    def read_campaign(self, campaign_id: DocumentId) -> FactsPage:
        """A campaign with all of its participations, authoritatively, from one snapshot."""
        ...

    def count(self) -> int:
        """About how many participations there are, for progress."""
        ...

    def catch_up(self, moment: Moment) -> None:
        """Wait, for a bounded time, until later reads show what happened up to ``moment``."""
        ...


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
    """A poster of which nothing stays."""

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


class Outbox(Protocol):
    """Payouts whose effects MongoDB must still be told."""

    def ready(self, limit: int) -> list[ProjectionTask]:
        """The oldest tasks whose time has come."""
        ...

    def of_entries(self, sequences: Sequence[int]) -> list[ProjectionTask]:
        """The tasks of some entries."""
        ...

    def told(self, participation_ids: Sequence[str]) -> list[ProjectionTask]:
        """Payouts of participations (tagged) of which MongoDB was told everything."""
        ...

    def blocked(self, participation_ids: Sequence[str] | None = None) -> list[BlockedPayout]:
        """Payouts of which an effect cannot be applied; all, or those of participations (tagged)."""
        ...

    def again(self, sequences: Sequence[int]) -> None:
        """Put entries back into the queue, since MongoDB no longer shows their effects."""
        ...

    def settle(self, result: ProjectionResult) -> None:
        """Record what became of a chunk."""
        ...

    def overdue(self, within: timedelta, after: int, limit: int) -> list[ProjectionTask]:
        """Entries behind ``after`` that MongoDB should have been told of by now, and for which nothing says why not."""
        ...

    def lagging(self, limit: int, within: timedelta | None = None) -> list[WalletPosition]:
        """Positions that changed without an entry MongoDB is told of, and were not shown yet (``within`` a time)."""
        ...

    def counts(self) -> OutboxCounts:
        """How much is still to be told."""
        ...


class LedgerGuard(Protocol):
    """Knows whether this ledger is the one that MongoDB was told by last, or an older copy of it."""

    def check(self) -> None:
        """Raises InvariantBroken("ledger_behind") when MongoDB has seen a later sequence, or another ledger."""
        ...

    def advance(self, sequence: int) -> None:
        """Write down, before anything else is told, how far this ledger is."""
        ...


class Verifier(Protocol):
    """Proves the ledger from itself."""

    def verify(self) -> Integrity:
        """Check the whole ledger, and name what is wrong."""
        ...


class Projection(Protocol):
    """MongoDB's documents that are told what the ledger decided."""

    def apply(self, tasks: Sequence[ProjectionTask]) -> ProjectionResult:
        """Apply all effects of some payouts."""
        ...

    def show_positions(self, positions: Sequence[WalletPosition]) -> ProjectionResult:
        """Bring wallets to positions, beside any payout."""
        ...

    def negative_wallets(self, streamer_ids: Iterable[str]) -> list[str]:
        """Streamers of some whose withdrawable balance lies below zero."""
        ...

    def find_stale(self, tasks: Sequence[ProjectionTask]) -> Mapping[int, str]:
        """Sequence → which effects are not as they were told, in words."""
        ...

    def complete_campaigns(self, totals: Mapping[DocumentId, tuple[int, str]]) -> list[DocumentId]:
        """Complete those campaigns of which every participation is settled; answers them."""
        ...


class Hints(Protocol):
    """Where hints go that something may be due: deduplicated, looked at soon, and never in the way of whoever hints."""

    def participation(self, participation_id: DocumentId) -> None:
        """A participation changed."""
        ...

    def campaign(self, campaign_id: DocumentId) -> None:
        """A campaign changed."""
        ...


class BreakRecords(Protocol):
    """What is remembered of breaks from one check to the next."""

    def compare(self, found: Iterable[Break], check: CheckMark) -> Remembered:
        """What a check's findings are beside what is remembered. Writes nothing."""
        ...

    def record(self, found: Iterable[Break], check: CheckMark) -> None:
        """Remember a check's findings, once its report is on disk."""
        ...


class Recorder(Protocol):
    """Where reports of impressions and clicks are counted."""

    def record(self, reports: Sequence[ViewerReport]) -> Sequence[RecordingOutcome]:
        """Record some reports together, each whole or not at all; an outcome for each, in their order.

        Raises nothing: an outage is a refusal of each report it met. Not for two threads at once.
        """
        ...


class Runs(Protocol):
    """The record of every sweep and check."""

    def start(self, run: RunRecord) -> None:
        """Record that a run began."""
        ...

    def beat(self, run_id: str) -> None:
        """Give a sign of life of a run that goes on."""
        ...

    def end_silent(self) -> Sequence[RunRecord]:
        """Mark those as interrupted that have no end and gave no sign of life for long; answers them."""
        ...

    def finish(self, run: RunRecord) -> None:
        """Record how it ended."""
        ...
