"""Escrows after their campaigns: what they hold, since when the campaign is over, and the way back to the brand."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.clock import Clock, is_of_the_future
from reconciler.domain import accounts as account_names
from reconciler.domain.entries import refund_entry
from reconciler.domain.ids import DocumentId
from reconciler.domain.plan import BatchPlan, NewTransfer
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.halts import require_not_halted
from reconciler.ledger.journal import Poster
from reconciler.ledger.lookups import holds_of_campaign, open_holds_where, read_accounts, unposted_lines_of
from reconciler.ledger.payouts import release_due
from reconciler.ledger.schema import accounts, closures, entries
from reconciler.ports import BatchStamp, Escrow, RefundOutcome

_RELEASES_A_BATCH = 2000


class Treasury:
    """Movements that follow from time passing: releases of held earnings, refunds of what is left."""

    def __init__(self, engine: Engine, poster: Poster, *, clock: Clock) -> None:
        self._engine = engine
        self._poster = poster
        self._clock = clock

    def release_due(self, stamp: BatchStamp) -> int:
        """Move what has waited its days into wallets; answers how many payouts. Raises Halted."""
        released = 0
        while count := release_due(self._poster, stamp, _RELEASES_A_BATCH):
            released += count
        return released

    def escrows(self) -> list[Escrow]:
        """Escrows that hold something."""
        query = sa.select(accounts).where(accounts.c.kind == "escrow", accounts.c.balance_minor > 0)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(accounts.c.account)).all()
        return [
            Escrow(
                campaign_id=account_names.campaign_of(row.account),
                currency=row.currency,
                balance_minor=row.balance_minor,
            )
            for row in rows
        ]

    def first_seen_over(self, campaign_id: DocumentId) -> datetime:
        """When the campaign was first seen to be over; remembered from the first call on.

        Seen at a time of the future, by a clock that was wrong, it is seen now.
        """
        now = self._clock()
        with writing(self._engine) as connection:
            is_it = closures.c.campaign_id == campaign_id.tagged
            seen_at: datetime | None = connection.execute(
                sa.select(closures.c.seen_at).where(is_it)
            ).scalar_one_or_none()
            if seen_at is not None and not is_of_the_future(seen_at, now):
                return seen_at
            connection.execute(sa.delete(closures).where(is_it))
            connection.execute(sa.insert(closures).values(campaign_id=campaign_id.tagged, seen_at=now))
        return now

    def refund(self, escrow: Escrow, brand_id: DocumentId, stamp: BatchStamp) -> RefundOutcome:
        """Give back what an escrow holds, unless under the lock something of the campaign is open. Raises Halted."""
        tagged = escrow.campaign_id.tagged
        with self._poster.locked() as locked:
            require_not_halted(locked.connection)
            name = account_names.escrow(escrow.campaign_id)
            balance_minor, _ = read_accounts(locked.connection, [name]).get((name, escrow.currency), (0, 0))
            if balance_minor <= 0:
                return RefundOutcome.NOTHING_LEFT
            if open_holds_where(locked.connection, holds_of_campaign(tagged)) or unposted_lines_of(
                locked.connection, tagged
            ):
                return RefundOutcome.SOMETHING_IS_OPEN
            entry = refund_entry(
                escrow.campaign_id,
                brand_id,
                _refunds_count(locked.connection, tagged) + 1,
                amount_minor=balance_minor,
                currency=escrow.currency,
            )
            locked.write(BatchPlan(posted=[NewTransfer(entry=entry)]), stamp)
        return RefundOutcome.REFUNDED


def _refunds_count(connection: Connection, campaign_id: str) -> int:
    query = sa.select(sa.func.count()).where(entries.c.kind == "refund", entries.c.campaign_id == campaign_id)
    return int(connection.execute(query).scalar_one())
