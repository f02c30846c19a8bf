"""The general ledger: balances now and as of a time, the trial balance, the entries of a period.

Every function reads one snapshot. Where rows can be many it returns an iterator, which streams them and holds its
connection until it is exhausted or closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain.accounts import kind_of
from reconciler.ledger.engine import reading
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import accounts, chain, entries, postings

ROWS_A_FETCH = 2000
"""Rows that a stream holds in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From ``since`` on, until just before ``until``; None: from the first entry, to the last one.

    Periods that meet share no entry and lose none: the closing of one is the opening of the next.
    """

    since: datetime | None = None
    until: datetime | None = None


ALL_TIME = Period()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountBalance:
    """What an account holds of one currency, after ``version`` postings."""

    account: str
    kind: str
    currency: str
    balance_minor: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLine:
    """All accounts of one kind and currency together. The lines of a currency sum to zero."""

    kind: str
    currency: str
    accounts_count: int
    balance_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRow:
    """One leg of one entry. Identities are tagged; the legs of an entry sum to zero.

    ``booked_at`` is when it was written, ``effective_at`` when it took effect; ``corrects`` is the key of the entry
    that this one undoes or continues.
    """

    sequence: int
    leg: int
    key: str
    kind: str
    account: str
    account_kind: str
    currency: str
    amount_minor: int
    booked_at: datetime
    effective_at: datetime
    reason: str
    corrects: str | None
    campaign_id: str | None
    participation_id: str | None
    streamer_id: str | None
    run_id: str


@dataclass(frozen=True, slots=True)
class Span:
    """Batches after ``after``, up to ``to``: what a period is in the journal's own order."""

    after: int
    to: int


def account_balances(engine: Engine, *, as_of: datetime | None = None, prefix: str = "") -> Iterator[AccountBalance]:
    """Accounts whose name begins with ``prefix``, in the order of their names; with ``as_of``, as they were then.

    An account that had no posting by then is left out. Streams.
    """
    with reading(engine) as connection:
        held = _balances(connection, as_of, prefix)
        with streamed(connection, sa.select(held).order_by(held.c.account, held.c.currency)) as rows:
            for row in rows:
                yield from_row(AccountBalance, row, kind=kind_of(row.account))


def trial_balance(engine: Engine, *, as_of: datetime | None = None) -> list[TrialLine]:
    """Accounts summed by kind and currency, in the order of currency and kind."""
    with reading(engine) as connection:
        held = _balances(connection, as_of)
        query = (
            sa.select(accounts.c.kind, held.c.currency, sa.func.count(), sa.func.sum(held.c.balance_minor))
            .join_from(
                held, accounts, (accounts.c.account == held.c.account) & (accounts.c.currency == held.c.currency)
            )
            .group_by(accounts.c.kind, held.c.currency)
        )
        lines = [
            TrialLine(kind=kind, currency=currency, accounts_count=count, balance_minor=int(total))
            for kind, currency, count, total in connection.execute(query)
        ]
    return sorted(lines, key=lambda line: (line.currency, line.kind))


def journal_rows(engine: Engine, period: Period) -> Iterator[JournalRow]:
    """The general ledger of a period, a row a leg, in the order of booking. Streams."""
    query = (
        sa.select(entries, postings.c.leg, postings.c.account, postings.c.amount_minor)
        .join_from(postings, entries, postings.c.sequence == entries.c.sequence)
        .order_by(postings.c.sequence, postings.c.leg)
    )
    with reading(engine) as connection:
        span = span_of(connection, period)
        with streamed(connection, query.where(within(entries.c.batch, span))) as rows:
            for row in rows:
                yield from_row(JournalRow, row, account_kind=kind_of(row.account))


def span_of(connection: Connection, period: Period) -> Span:
    """A period as batches.

    A time is looked up once, in the chain, whose rows have the time of all their entries. Comparing each entry's own
    time instead would tear batches apart on a machine whose clock was set back: openings, lines and closings would no
    longer add up, nor a trial balance to zero. So a time stands for the state after the last batch booked before it.
    """
    since, until = period.since, period.until
    return Span(
        after=0 if since is None else _last_batch(connection, chain.c.created_at < since),
        to=_last_batch(connection, sa.true() if until is None else chain.c.created_at < until),
    )


def within(batch: sa.Column[int], span: Span) -> sa.ColumnElement[bool]:
    """``batch`` belongs to the span."""
    return (batch > span.after) & (batch <= span.to)


def last_postings(to: int, chosen: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Account, currency, ``balance_minor`` and ``version`` after batch ``to``: from the last posting of each account.

    ``chosen`` is a condition on ``postings`` that says of which accounts.
    """
    newest = (
        sa.select(postings.c.account, postings.c.currency, sa.func.max(postings.c.account_version).label("version"))
        .where(postings.c.batch <= to, chosen)
        .group_by(postings.c.account, postings.c.currency)
        .subquery("newest")
    )
    return sa.select(
        postings.c.account,
        postings.c.currency,
        postings.c.balance_after_minor.label("balance_minor"),
        postings.c.account_version.label("version"),
    ).join_from(
        newest,
        postings,
        (postings.c.account == newest.c.account)
        & (postings.c.currency == newest.c.currency)
        & (postings.c.account_version == newest.c.version),
    )


@contextmanager
def streamed(connection: Connection, query: sa.Select[Any]) -> Iterator[sa.CursorResult[Any]]:
    """The rows of a query, some at a time. Closes the cursor (on PostgreSQL one of the server) whoever stops early."""
    result = connection.execute(query.execution_options(yield_per=ROWS_A_FETCH))
    try:
        yield result
    finally:
        result.close()


def _balances(connection: Connection, as_of: datetime | None, prefix: str = "") -> sa.Subquery:
    if as_of is not None:
        to = _last_batch(connection, chain.c.created_at <= as_of)
        return last_postings(to, _begins(postings.c.account, prefix)).subquery("held")
    columns = (accounts.c.account, accounts.c.currency, accounts.c.balance_minor, accounts.c.version)
    return sa.select(*columns).where(_begins(accounts.c.account, prefix)).subquery("held")


def _begins(account: sa.Column[str], prefix: str) -> sa.ColumnElement[bool]:
    # Not LIKE: SQLite's takes upper and lower case for the same.
    return sa.func.substr(account, 1, len(prefix)) == prefix if prefix else sa.true()


def _last_batch(connection: Connection, condition: sa.ColumnElement[bool]) -> int:
    newest = connection.execute(sa.select(sa.func.max(chain.c.batch)).where(condition)).scalar_one()
    return newest or 0
