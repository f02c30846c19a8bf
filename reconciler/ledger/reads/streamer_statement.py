"""A streamer's statement: what they earned in a period, and where it lies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain import accounts as names
from reconciler.ledger.engine import reading
from reconciler.ledger.reads.general_ledger import Period, last_postings, span_of, within
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import accounts, entries, payouts, postings


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamerBalance:
    """What a streamer has of one currency, in minor units, and where it lies."""

    held_minor: int = 0
    wallet_minor: int = 0

    @property
    def total_minor(self) -> int:
        """Held and in the wallet."""
        return self.held_minor + self.wallet_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class EarningsLine:
    """One entry that touched a streamer's accounts. Identities are tagged, amounts minor units.

    ``gross_minor`` and ``fee_minor`` are those of a payout, negative for its reversal; other entries have no fee.
    ``net_minor`` is what the entry added to the streamer, ``held_minor`` and ``wallet_minor`` where: a release adds
    nothing, and moves from one to the other. ``after`` is what the streamer had then.
    """

    sequence: int
    booked_at: datetime
    effective_at: datetime
    kind: str
    key: str
    reason: str
    corrects: str | None
    campaign_id: str | None
    gross_minor: int
    fee_minor: int
    net_minor: int
    held_minor: int
    wallet_minor: int
    after: StreamerBalance

    @property
    def lies(self) -> str:
        """``held``, ``wallet``, or ``held to wallet`` for a release."""
        if self.held_minor and self.wallet_minor:
            return "held to wallet" if self.wallet_minor > 0 else "wallet to held"
        return "held" if self.held_minor else "wallet"


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrencyStatement:
    """A streamer's period in one currency: opening and all lines together are the closing."""

    currency: str
    opening: StreamerBalance
    lines: tuple[EarningsLine, ...]
    closing: StreamerBalance


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamerStatement:
    """What a streamer earned. Withdrawals are the platform's, and not in this ledger."""

    streamer_id: str
    currencies: tuple[CurrencyStatement, ...]


def streamer_statement(engine: Engine, streamer_id: str, period: Period) -> StreamerStatement | None:
    """A streamer's earnings by currency (plain identity); None when the ledger has no account of theirs."""
    held, wallet = names.held(streamer_id), names.wallet(streamer_id)
    own = accounts.c.account.in_([held, wallet])
    with reading(engine) as connection:
        currencies = sorted(set(connection.scalars(sa.select(accounts.c.currency).where(own))))
        if not currencies:
            return None
        span = span_of(connection, period)
        opening = _balances_after(connection, (held, wallet), span.after)
        query = (
            sa.select(
                entries,
                postings.c.account,
                postings.c.amount_minor,
                payouts.c.gross_minor,
                payouts.c.fee_minor,
            )
            .join_from(postings, entries, postings.c.sequence == entries.c.sequence)
            .outerjoin(payouts, payouts.c.sequence == entries.c.sequence)
            .where(postings.c.account.in_([held, wallet]), within(postings.c.batch, span))
            .order_by(postings.c.sequence, postings.c.leg)
        )
        legs: dict[str, dict[int, list[sa.Row[Any]]]] = defaultdict(lambda: defaultdict(list))
        for row in connection.execute(query):
            legs[row.currency][row.sequence].append(row)
        closing = _balances_after(connection, (held, wallet), span.to)
    return StreamerStatement(
        streamer_id=streamer_id,
        currencies=tuple(
            CurrencyStatement(
                currency=currency,
                opening=opening.get(currency, StreamerBalance()),
                lines=_lines(list(legs[currency].values()), held, opening.get(currency, StreamerBalance())),
                closing=closing.get(currency, StreamerBalance()),
            )
            for currency in currencies
        ),
    )


def _balances_after(connection: Connection, own: tuple[str, str], to: int) -> dict[str, StreamerBalance]:
    """Currency → what the two accounts (held, wallet) had after batch ``to``."""
    query = last_postings(to, postings.c.account.in_(own))
    found = {(row.account, row.currency): row.balance_minor for row in connection.execute(query)}
    held, wallet = own
    return {
        currency: StreamerBalance(
            held_minor=found.get((held, currency), 0), wallet_minor=found.get((wallet, currency), 0)
        )
        for currency in {currency for _, currency in found}
    }


def _lines(
    by_entry: Sequence[Sequence[sa.Row[Any]]], held_account: str, opening: StreamerBalance
) -> tuple[EarningsLine, ...]:
    lines: list[EarningsLine] = []
    balance = opening
    for legs in by_entry:
        first = legs[0]
        held_minor = sum(leg.amount_minor for leg in legs if leg.account == held_account)
        wallet_minor = sum(leg.amount_minor for leg in legs) - held_minor
        balance = StreamerBalance(
            held_minor=balance.held_minor + held_minor, wallet_minor=balance.wallet_minor + wallet_minor
        )
        net_minor = held_minor + wallet_minor
        lines.append(
            from_row(
                EarningsLine,
                first,
                gross_minor=net_minor if first.gross_minor is None else first.gross_minor,
                fee_minor=first.fee_minor or 0,
                net_minor=net_minor,
                held_minor=held_minor,
                wallet_minor=wallet_minor,
                after=balance,
            )
        )
    return tuple(lines)
