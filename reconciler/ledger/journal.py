"""Posting: one transaction a batch, under one lock, and the moment of payment is its commit.

Lock the chain's head → read what the ledger holds → plan (pure) → write entries, postings, payouts, fundings, holds,
balances, outbox and the chain's next link → commit. Everybody who posts takes the same lock, so what was read under it
stays true until the commit; the unique keys stand behind that for the day when this is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from sqlalchemy.engine import Connection, Engine

from reconciler.clock import Clock
from reconciler.domain.batch import HoldWithdrawal, NewPayout, PayoutRequest, plan_batch
from reconciler.ledger.engine import rehearsing, translated, writing
from reconciler.ledger.lookups import read_view
from reconciler.ledger.rows import lock_head, write_batch
from reconciler.ports import BatchStamp, Posted

Begin = Callable[[], AbstractContextManager[Connection]]


class Poster:
    """Posts batches in the transactions that ``begin`` opens.

    ``facts_age_max`` bounds how old a decision may be when it gets the lock.
    """

    def __init__(self, begin: Begin, *, clock: Clock, facts_age_max: timedelta) -> None:
        self._begin = begin
        self._clock = clock
        self._facts_age_max = facts_age_max

    def post(
        self,
        requests: Sequence[PayoutRequest],
        stamp: BatchStamp,
        withdrawals: Sequence[HoldWithdrawal] = (),
    ) -> Posted:
        """Post what is new and fits. Raises Outage or InvariantBroken; then nothing of the batch was posted."""
        with self._begin() as connection:
            head = lock_head(connection)
            now = self._clock()
            view = read_view(connection, requests, [withdrawal.campaign_id.tagged for withdrawal in withdrawals])
            plan = plan_batch(requests, withdrawals, view, now=now, facts_age_max=self._facts_age_max)
            sequences = write_batch(connection, head, plan, stamp, now) if plan.posted or plan.hold_events else {}
        paid_minor: Counter[str] = Counter()
        new = [item for item in plan.posted if isinstance(item, NewPayout)]
        for item in new:
            paid_minor[item.entry.currency] += item.request.due.earned.gross_minor
        return Posted(
            outcomes=plan.outcomes,
            payout_sequences=[sequences[item.entry.key] for item in new],
            paid_minor=dict(paid_minor),
        )


class Journal(Poster):
    """A poster whose every batch is a transaction of its own: what real payments are made with."""

    def __init__(self, engine: Engine, *, clock: Clock, facts_age_max: timedelta) -> None:
        super().__init__(lambda: writing(engine), clock=clock, facts_age_max=facts_age_max)
        self._engine = engine

    @contextmanager
    def rehearsal(self) -> Iterator[Poster]:
        """A poster whose batches see each other and are all rolled back in the end: a dry run by the same code.

        It holds the ledger's lock until then, so other writers wait for it.
        """
        with rehearsing(self._engine) as connection:
            yield Poster(lambda: _savepoint(connection), clock=self._clock, facts_age_max=self._facts_age_max)


@contextmanager
def _savepoint(connection: Connection) -> Iterator[Connection]:
    with translated(), connection.begin_nested():
        yield connection
