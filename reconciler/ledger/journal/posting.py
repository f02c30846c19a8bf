"""Posting: one transaction a batch, under one lock, and the moment of payment is its commit.

Lock the chain's head → read what the ledger holds → plan (pure) → write entries, postings, payouts, fundings, holds,
balances, outbox and the chain's next link → commit. Everybody who posts takes the same lock, so what was read under it
stays true until the commit; the unique keys stand behind that for the day when this is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain.batch import Outcome, PlannedBatch, PostingRules, plan_batch
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.plan import BatchPlan, NewDecision, NewPayout, NewSettlement
from reconciler.domain.settlement import PoolDue
from reconciler.errors import Halted
from reconciler.ledger.database_clock import LedgerClock
from reconciler.ledger.driver_errors import translated
from reconciler.ledger.engine import reading, reading_once, rehearsing, writing
from reconciler.ledger.journal.writing import Head, lock_head, read_times, write_batch
from reconciler.ledger.reads.halts import current_halt, require_not_halted
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads, pool_stands
from reconciler.ledger.reads.ledger_snapshot import read_snapshot
from reconciler.ledger.schema import accounts, postings
from reconciler.ports.journal import AccountChange, BatchStamp, Posted, PostingBatch

Begin = Callable[[], AbstractContextManager[Connection]]
Fence = Callable[[Connection], None]
"""The first statement after the lock: raises when the poster has lost the right to post."""


def no_fence(_connection: Connection) -> None:
    """The fence of commands, which hold no lease: keys and locks protect them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PosterParts:
    """What a poster works with. ``begin`` opens its transactions."""

    begin: Begin
    clock: LedgerClock
    rules: PostingRules
    fence: Fence = no_fence
    ignores_halt: bool = False
    """For a recovery, which has to post before a person lets paying go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """An open transaction that holds the right to post. ``now``: the ledger's time, read after the lock was taken."""

    connection: Connection
    now: datetime
    head: Head
    facts_age_max: timedelta

    def is_old(self, facts_at: datetime) -> bool:
        """Whether facts that were read then are too old to act on."""
        return facts_at < self.now - self.facts_age_max

    def write(self, plan: BatchPlan, stamp: BatchStamp) -> Mapping[str, int]:
        """Write a plan, once; returns entry key → sequence. An empty plan writes nothing."""
        return {} if plan.is_empty else write_batch(self.connection, self.head, plan, stamp, self.now)


class SqlPoster:
    """Posts batches in the transactions that ``begin`` opens."""

    def __init__(self, parts: PosterParts) -> None:
        self._parts = parts

    def post(self, batch: PostingBatch, stamp: BatchStamp) -> Posted:
        """Post what is new and fits. Raises Outage, Halted or InvariantBroken; then nothing of the batch was posted."""
        with self.locked() as locked:
            self._require_not_halted(locked)
            if batch.facts_at is not None and locked.is_old(batch.facts_at):
                batch = replace(batch, withdrawals=(), voids=())
            planned = self._plan(locked, batch)
            sequences = locked.write(planned.plan, stamp)
        return _posted(planned, sequences, locked.now)

    def freeze(self, due: PoolDue, facts_at: datetime, stamp: BatchStamp) -> bool:
        """Freeze a settlement. False when its campaign has one, the facts grew too old, or the ledger no longer holds
        what it was decided on: a member was paid, say, or settled in another way. Raises as :meth:`post`."""
        with self.locked() as locked:
            self._require_not_halted(locked)
            campaign_id = due.terms.campaign_id.tagged
            if locked.is_old(facts_at) or not pool_stands(locked.connection, due):
                return False
            frozen = NewSettlement(settlement_key=f"settlement:{campaign_id}:1", n=1, due=due, facts_at=facts_at)
            locked.write(BatchPlan(settlements=[frozen]), stamp)
        return True

    def repay(self, request: PayoutRequest, decision: NewDecision, stamp: BatchStamp) -> Posted:
        """Post a payment that a person decided, with the decision. Unless the outcome is NEW, nothing is posted."""
        with self.locked() as locked:
            require_not_halted(locked.connection)
            planned = self._plan(locked, PostingBatch(requests=(request,)))
            if planned.halt is None and planned.outcomes[request.key] is not Outcome.NEW:
                return Posted(outcomes=planned.outcomes, payout_sequences=(), paid_minor={})
            if planned.halt is None:
                planned.plan.decisions.append(decision)
            sequences = locked.write(planned.plan, stamp)
        return _posted(planned, sequences, locked.now)

    def _require_not_halted(self, locked: Locked) -> None:
        if not self._parts.ignores_halt:
            require_not_halted(locked.connection)

    def _plan(self, locked: Locked, batch: PostingBatch) -> PlannedBatch:
        snapshot = read_snapshot(locked.connection, batch, locked.now)
        return plan_batch(batch.requests, batch.withdrawals, snapshot, self._parts.rules, locked.now, batch.voids)

    @contextmanager
    def locked(self, *, may_be_off: bool = False) -> Iterator[Locked]:
        """Hold the right to post. The end of the block commits; an exception rolls everything back.

        Raises ClockOff where this host's clock and the ledger's time do not agree, unless ``may_be_off``.
        """
        clock = self._parts.clock
        with self._parts.begin() as connection:
            began_at = clock.host()
            head = lock_head(connection)
            self._parts.fence(connection)
            now = clock.now(head.times, began_at, may_be_off=may_be_off)
            age_max = self._parts.rules.facts_age_max
            yield Locked(connection=connection, now=now, head=head, facts_age_max=age_max)


class SqlJournal(SqlPoster):
    """A poster whose every batch is a transaction of its own: what real payments are made with."""

    def for_recovery(self) -> SqlPoster:
        """The same, but it posts also while paying is halted."""
        return SqlPoster(replace(self._parts, ignores_halt=True))

    def __init__(self, engine: Engine, *, clock: LedgerClock, rules: PostingRules, fence: Fence = no_fence) -> None:
        super().__init__(PosterParts(begin=lambda: writing(engine), clock=clock, rules=rules, fence=fence))
        self._engine = engine

    def now(self, engine: Engine | None = None) -> datetime:
        """The ledger's time, for decisions that post nothing. Raises ClockOff, as posting does.

        ``engine``: another pool of connections, for a caller that must not wait for those of others.
        """
        clock = self._parts.clock
        began_at = clock.host()
        with reading_once(engine or self._engine) as connection:
            times = read_times(connection)
        return clock.now(times, began_at)

    def is_halted(self) -> bool:
        """Whether paying is stopped, and nobody has resumed it."""
        with reading(self._engine) as connection:
            return current_halt(connection) is not None

    @contextmanager
    def rehearsal(self, *, has_limits: bool = True) -> Iterator[SqlRehearsal]:
        """A poster whose batches build on each other and are all rolled back in the end: a dry run by the same code.

        It holds the ledger's lock until then, so other writers wait for it. Without ``has_limits`` no limit of `safety`
        stops it: a check has to name everybody who is due, however many they are.
        """
        rules = self._parts.rules
        if not has_limits:
            rules = replace(rules, payouts_per_hour_max=None, amount_per_hour_max_minor={})
        with rehearsing(self._engine) as connection:
            yield SqlRehearsal(connection, replace(self._parts, rules=rules))


class SqlRehearsal(SqlPoster):
    """A poster inside one transaction that will be rolled back."""

    def __init__(self, connection: Connection, parts: PosterParts) -> None:
        # Nothing of it stays, so a halt has nothing to stop: checks go on.
        super().__init__(replace(parts, begin=lambda: _savepoint(connection), fence=no_fence, ignores_halt=True))
        self._connection = connection
        self._first_batch = lock_head(connection).batch + 1

    @property
    def ledger(self) -> SqlLedgerReads:
        """The ledger as it would be: with what was rehearsed so far."""
        return SqlLedgerReads(lambda: _savepoint(self._connection))

    def account_changes(self, limit: int) -> list[AccountChange]:
        """How the batches rehearsed so far changed accounts: the first ``limit`` by name."""
        table = postings
        query = (
            sa.select(table.c.account, table.c.currency, sa.func.sum(table.c.amount_minor), accounts.c.balance_minor)
            .join(accounts, (accounts.c.account == table.c.account) & (accounts.c.currency == table.c.currency))
            .where(table.c.batch >= self._first_batch)
            .group_by(table.c.account, table.c.currency, accounts.c.balance_minor)
            .order_by(table.c.account, table.c.currency)
            .limit(limit)
        )
        with translated(self._connection.engine):
            rows = self._connection.execute(query).all()
        return [
            AccountChange(account=account, currency=currency, before_minor=after - int(change), after_minor=after)
            for account, currency, change, after in rows
        ]


def _posted(planned: PlannedBatch, sequences: Mapping[str, int], now: datetime) -> Posted:
    """What a committed batch posted. Raises Halted where its plan says that paying halts with it."""
    if planned.halt is not None:
        raise Halted(f"{now:%Y-%m-%d %H:%M:%S} UTC", planned.halt)
    paid_minor: Counter[str] = Counter()
    new = [item for item in planned.plan.posted if isinstance(item, NewPayout)]
    for item in new:
        paid_minor[item.entry.currency] += item.request.due.earned.gross_minor
    return Posted(
        outcomes=planned.outcomes,
        payout_sequences=[sequences[item.entry.key] for item in new],
        paid_minor=dict(paid_minor),
    )


@contextmanager
def _savepoint(connection: Connection) -> Iterator[Connection]:
    with translated(connection.engine), connection.begin_nested():
        yield connection
