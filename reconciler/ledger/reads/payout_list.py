"""Payouts and reversals, each with its status now. One row each, so that a plain sum of amounts is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain.posted import PayoutStatus, PostedPayout
from reconciler.ledger.engine import reading
from reconciler.ledger.key_lists import among
from reconciler.ledger.reads.general_ledger import ALL_TIME, Period, streamed
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import accounts, entries, outbox, payouts


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutFilter:
    """Which payouts: those that match every field given. ``campaigns`` are tagged, ``streamer_id`` is plain.

    ``newest`` takes only so many, the newest first; else the order is that of posting. ``before``: only those posted
    before that sequence, which is how a list is read on page by page.
    """

    period: Period = ALL_TIME
    campaigns: Sequence[str] = ()
    streamer_id: str | None = None
    status: PayoutStatus | None = None
    trigger: str | None = None
    currency: str | None = None
    newest: int | None = None
    before: int | None = None


_release = entries.alias("release")
_reversal = payouts.alias("reversal")
# By key, which is unique and therefore indexed: what an entry corrects is not.
_IS_ITS_RELEASE = payouts.c.release_at.is_not(None) & (_release.c.key == sa.literal("release:") + payouts.c.payout_key)
_IS_ITS_REVERSAL = _reversal.c.payout_key == sa.literal("reversal:") + payouts.c.payout_key
_STATUS = sa.case(
    (payouts.c.kind != "payout", payouts.c.kind),
    (_reversal.c.payout_key.is_not(None), PayoutStatus.REVERSED.value),
    (payouts.c.release_at.is_(None), PayoutStatus.PAID.value),
    (_release.c.key.is_not(None), PayoutStatus.RELEASED.value),
    else_=PayoutStatus.HELD.value,
)
POSTED = (
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
"""Every payout and reversal with what became of it since: the fields of :class:`PostedPayout`."""

LIES_HELD = (
    (payouts.c.kind == "payout")
    & payouts.c.release_at.is_not(None)
    & _release.c.key.is_(None)
    & _reversal.c.payout_key.is_(None)
)
"""The status ``held``, in a form that lets the database choose rows by index."""


def payout_lines(engine: Engine, chosen: PayoutFilter) -> Iterator[PostedPayout]:
    """The payouts and reversals that a filter admits. Streams."""
    with reading(engine) as connection:
        query = POSTED.where(*_conditions(chosen))
        if chosen.campaigns:
            query = query.where(among(connection, payouts.c.campaign_id, list(chosen.campaigns)))
        if chosen.newest is not None:
            query = query.order_by(payouts.c.sequence.desc()).limit(chosen.newest)
        else:
            query = query.order_by(payouts.c.sequence)
        with streamed(connection, query) as rows:
            for row in rows:
                yield from_row(PostedPayout, row)


def payouts_of(engine: Engine, wanted: str, participations: Sequence[str]) -> list[PostedPayout]:
    """The payout or reversal with the key ``wanted``, or all of any of some participations (tagged)."""
    with reading(engine) as connection:
        chosen = (payouts.c.payout_key == wanted) | among(connection, payouts.c.participation_id, list(participations))
        return _posted_payouts(connection, chosen)


def payouts_of_participation(connection: Connection, participation_id: str) -> list[PostedPayout]:
    """All payouts and reversals of a participation (tagged), in the order of posting."""
    return _posted_payouts(connection, payouts.c.participation_id == participation_id)


def find_payout(connection: Connection, payout_key: str) -> PostedPayout | None:
    """A payout by its key; None for a key that is not there, or is a reversal's."""
    found = _posted_payouts(connection, (payouts.c.payout_key == payout_key) & (payouts.c.kind == "payout"))
    return found[0] if found else None


def known_accounts(engine: Engine, wanted: Sequence[str]) -> set[str]:
    """Which of some account names the ledger has: whether it knows a campaign or streamer at all."""
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
    if chosen.status is PayoutStatus.PENDING:
        conditions.append(outbox.c.status != "done")
    elif chosen.status is not None:
        conditions.append(sa.literal(chosen.status.value) == _STATUS)
    return conditions


def _posted_payouts(connection: Connection, chosen: sa.ColumnElement[bool]) -> list[PostedPayout]:
    query = POSTED.where(chosen).order_by(payouts.c.sequence)
    return [from_row(PostedPayout, row) for row in connection.execute(query)]
