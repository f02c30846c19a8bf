"""Releases: held earnings whose days are over move into the wallet."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.clock import CLOCKS_DIFFER_MAX
from reconciler.domain.entries import release_entry
from reconciler.domain.plan import BatchPlan, NewTransfer
from reconciler.domain.posted import PostedPayout
from reconciler.ledger.journal.posting import SqlPoster
from reconciler.ledger.reads.halts import require_not_halted
from reconciler.ledger.reads.payout_list import LIES_HELD, POSTED
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import outbox, payouts
from reconciler.ports.journal import BatchStamp


def release_due(poster: SqlPoster, stamp: BatchStamp, limit: int) -> int:
    """Release at most ``limit`` payouts in one batch; returns how many. Raises Halted."""
    with poster.locked() as locked:
        require_not_halted(locked.connection)
        due = _releasable(locked.connection, locked.now, limit)
        locked.write(BatchPlan(posted=[NewTransfer(entry=release_entry(one), is_projected=True) for one in due]), stamp)
    return len(due)


def _releasable(connection: Connection, now: datetime, limit: int) -> list[PostedPayout]:
    """Payouts whose hold days are over and that still lie in *held*, oldest first."""
    held = POSTED.where(LIES_HELD).limit(limit)
    by_time = held.where(payouts.c.release_at <= now).order_by(payouts.c.release_at, payouts.c.sequence)
    is_misdated = (payouts.c.created_at > now + CLOCKS_DIFFER_MAX) & (payouts.c.release_at > payouts.c.created_at)
    misdated = held.where(is_misdated).order_by(payouts.c.sequence)
    due, early = ([from_row(PostedPayout, row) for row in connection.execute(query)] for query in (by_time, misdated))
    return [*due, *(one for one in early if _has_waited(connection, one, now))][:limit]


def _has_waited(connection: Connection, payout: PostedPayout, now: datetime) -> bool:
    """Whether a payout that a wrong clock dated in the future has waited its days since somebody else was paid."""
    later = (outbox.c.sequence > payout.sequence) & (outbox.c.created_at <= now)
    at: datetime | None = connection.execute(sa.select(sa.func.min(outbox.c.created_at)).where(later)).scalar_one()
    return at is not None and payout.release_at is not None and at + (payout.release_at - payout.created_at) <= now
