"""The payouts, listed: each with where it stands now. One row a payout or reversal, so that a plain sum is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.ledger.engine import reading
from reconciler.ledger.key_lists import among
from reconciler.ledger.reads.general_ledger import ALL_TIME, Period, streamed
from reconciler.ledger.schema import accounts, entries, outbox, payouts


class Status(StrEnum):
    """Where a payout stands. One of the first four is told of each payout; ``pending`` may be true beside it."""

    PAID = "paid"
    """In the wallet since it was posted."""
    HELD = "held"
    """In the *held* account until its hold days are over."""
    RELEASED = "released"
    """In the wallet since its hold days were over."""
    REVERSED = "reversed"
    """Taken back; the row of kind ``reversal`` says when."""
    PENDING = "pending"
    """MongoDB has not been told everything about it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutFilter:
    """Which payouts: all that every field given agrees with. ``campaigns`` are tagged, ``streamer_id`` is plain.

    ``newest`` takes only so many, the newest first; else the order is that of posting. ``before``: only those posted
    before that sequence, which is how a list is read on page by page.
    """

    period: Period = ALL_TIME
    campaigns: Sequence[str] = ()
    streamer_id: str | None = None
    status: Status | None = None
    trigger: str | None = None
    currency: str | None = None
    newest: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutLine:
    """One row of the ledger table. Identities are tagged but the streamer's; amounts minor units of ``currency``.

    ``amount_minor`` is the net. A row of kind ``reversal`` has negative amounts, names in ``reverses`` what it takes
    back, and has ``reversal`` for a status. ``projection`` is ``pending``, ``blocked`` or ``done``.
    """

    payout_key: str
    kind: str
    status: str
    n: int
    participation_id: str
    campaign_id: str
    streamer_id: str
    brand_id: str
    impressions: int
    target: int
    gross_minor: int
    fee_minor: int
    amount_minor: int
    currency: str
    rule: str
    trigger: str
    run_id: str
    created_at: datetime
    release_at: datetime | None
    released_at: datetime | None
    reversed_at: datetime | None
    reverses: str | None
    settlement_key: str | None
    projection: str
    told_at: datetime | None
    sequence: int


_release = entries.alias("release")
_reversal = payouts.alias("reversal")
# By key, which is unique and therefore indexed: what an entry corrects is not.
_IS_ITS_RELEASE = payouts.c.release_at.is_not(None) & (_release.c.key == sa.literal("release:") + payouts.c.payout_key)
_IS_ITS_REVERSAL = _reversal.c.payout_key == sa.literal("reversal:") + payouts.c.payout_key
_STATUS = sa.case(
    (payouts.c.kind != "payout", payouts.c.kind),
    (_reversal.c.payout_key.is_not(None), Status.REVERSED.value),
    (payouts.c.release_at.is_(None), Status.PAID.value),
    (_release.c.key.is_not(None), Status.RELEASED.value),
    else_=Status.HELD.value,
)
_LISTED = (
    sa.select(
        payouts,
        _STATUS.label("status"),
        _release.c.booked_at.label("released_at"),
        _reversal.c.created_at.label("reversed_at"),
        outbox.c.status.label("projection"),
        outbox.c.done_at.label("told_at"),
    )
    .select_from(payouts)
    .outerjoin(_release, _IS_ITS_RELEASE)
    .outerjoin(_reversal, _IS_ITS_REVERSAL)
    .outerjoin(outbox, outbox.c.sequence == payouts.c.sequence)
)


def payout_lines(engine: Engine, chosen: PayoutFilter) -> Iterator[PayoutLine]:
    """The payouts and reversals that a filter admits. Streams."""
    with reading(engine) as connection:
        query = _LISTED.where(*_conditions(chosen))
        if chosen.campaigns:
            query = query.where(among(connection, payouts.c.campaign_id, list(chosen.campaigns)))
        if chosen.newest is not None:
            query = query.order_by(payouts.c.sequence.desc()).limit(chosen.newest)
        else:
            query = query.order_by(payouts.c.sequence)
        with streamed(connection, query) as rows:
            for row in rows:
                yield _line(row)


def payouts_of(engine: Engine, wanted: str, participations: Sequence[str]) -> list[PayoutLine]:
    """The payout or reversal with the key ``wanted``, or all of any of some participations (tagged)."""
    with reading(engine) as connection:
        chosen = (payouts.c.payout_key == wanted) | among(connection, payouts.c.participation_id, list(participations))
        return [_line(row) for row in connection.execute(_LISTED.where(chosen).order_by(payouts.c.sequence))]


def known_accounts(engine: Engine, wanted: Sequence[str]) -> set[str]:
    """Those of some account names that the ledger has: whether a campaign or streamer is known to it at all."""
    with reading(engine) as connection:
        chosen = among(connection, accounts.c.account, list(wanted))
        return set(connection.scalars(sa.select(accounts.c.account).where(chosen)))


def _conditions(chosen: PayoutFilter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if chosen.period.since is not None:
        conditions.append(payouts.c.created_at >= chosen.period.since)
    if chosen.period.until is not None:
        conditions.append(payouts.c.created_at < chosen.period.until)
    if chosen.before is not None:
        conditions.append(payouts.c.sequence < chosen.before)
    if chosen.streamer_id is not None:
        conditions.append(payouts.c.streamer_id == chosen.streamer_id)
    if chosen.trigger is not None:
        conditions.append(payouts.c.trigger == chosen.trigger)
    if chosen.currency is not None:
        conditions.append(payouts.c.currency == chosen.currency)
    if chosen.status is Status.PENDING:
        conditions.append(outbox.c.status != "done")
    elif chosen.status is not None:
        conditions.append(sa.literal(chosen.status.value) == _STATUS)
    return conditions


def _line(row: sa.Row[Any]) -> PayoutLine:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it begins with an underscore
    return PayoutLine(**{name: values[name] for name in PayoutLine.__slots__})
