"""Escrows of campaigns that are over: what they hold, since when, and the refund to the brand."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.clock import Clock, is_of_the_future
from reconciler.domain import accounts as account_names
from reconciler.domain.entries import given_back, refund_entry
from reconciler.domain.ids import DocumentId
from reconciler.domain.plan import BatchPlan, NewTransfer
from reconciler.ledger.bulk import insert_new
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.journal.decisions import Signature, decision_of
from reconciler.ledger.journal.posting import SqlPoster
from reconciler.ledger.journal.releases import release_due
from reconciler.ledger.reads.halts import require_not_halted
from reconciler.ledger.reads.ledger_reads import holds_of_campaign, open_holds_where, read_accounts, unposted_lines_of
from reconciler.ledger.schema import accounts, closures, entries, postings
from reconciler.ports.journal import BatchStamp
from reconciler.ports.refunds import Escrow, Refund, RefundOutcome

_RELEASES_A_BATCH = 2000


class Treasury:
    """Posts what follows from time: releases of held earnings, and refunds of what an escrow still holds."""

    def __init__(self, engine: Engine, poster: SqlPoster, *, clock: Clock) -> None:
        self._engine = engine
        self._poster = poster
        self._clock = clock

    def release_due(self, stamp: BatchStamp) -> int:
        """Move held earnings whose days are over into wallets; returns how many payouts. Raises Halted."""
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
        """When the campaign was first seen to be over; remembered from the first call on, whoever called.

        A time in the future came from a clock that was wrong: it is replaced by now.
        """
        now, is_it = self._clock(), closures.c.campaign_id == campaign_id.tagged
        with writing(self._engine) as connection:
            # Another leader may be about to write it down: its row stands.
            insert_new(connection, closures, {"campaign_id": campaign_id.tagged, "seen_at": now})
            seen_at: datetime = connection.execute(sa.select(closures.c.seen_at).where(is_it)).scalar_one()
            if not is_of_the_future(seen_at, now):
                return seen_at
            connection.execute(sa.update(closures).where(is_it).values(seen_at=now))
        return now

    def refund(self, wanted: Refund, stamp: BatchStamp) -> RefundOutcome:
        """Return what an escrow holds to the accounts that funded it, unless the campaign has an open hold or share.

        Raises Halted.
        """
        campaign, currency = wanted.escrow.campaign_id, wanted.escrow.currency
        with self._poster.locked() as locked:
            require_not_halted(locked.connection)
            if locked.is_old(wanted.facts_at):
                return RefundOutcome.FACTS_TOO_OLD
            name = account_names.escrow(campaign)
            balance_minor, _ = read_accounts(locked.connection, [name]).get((name, currency), (0, 0))
            if balance_minor <= 0:
                return RefundOutcome.NOTHING_LEFT
            unpaid = unposted_lines_of(locked.connection, campaign.tagged)
            if open_holds_where(locked.connection, holds_of_campaign(campaign.tagged)) or (unpaid and not wanted.by):
                return RefundOutcome.SOMETHING_IS_OPEN
            movements = _movements(locked.connection, name, currency)
            if not movements and wanted.brand_id is None:
                return RefundOutcome.NOBODY_FUNDED
            otherwise = movements[-1][0] if wanted.brand_id is None else account_names.funding(wanted.brand_id)
            entry = refund_entry(
                name,
                _refunds_count(locked.connection, campaign.tagged) + 1,
                given_back(movements, balance_minor, otherwise),
                currency=currency,
                reason=wanted.reason or "campaign_over",
            )
            plan = BatchPlan(posted=[NewTransfer(entry=entry)])
            if wanted.by:
                signed = Signature(by=wanted.by, reason=wanted.reason)
                before = {"escrow_minor": balance_minor, "unpaid_shares": len(unpaid)}
                amount = (balance_minor, currency)
                plan.decisions.append(decision_of("refund", entry.key, signed, locked.now, amount, before))
            locked.write(plan, stamp)
        return RefundOutcome.REFUNDED


def _movements(connection: Connection, escrow: str, currency: str) -> list[tuple[str, int]]:
    """(brand's account, minor units from it into an escrow; negative: back), in the order of the ledger."""
    own, other = postings.alias("own"), postings.alias("other")
    query = (
        sa.select(other.c.account, other.c.amount_minor)
        .join_from(own, entries, entries.c.sequence == own.c.sequence)
        .join(other, other.c.sequence == own.c.sequence)
        .where(
            own.c.account == escrow,
            own.c.currency == currency,
            entries.c.kind.in_(("fund", "refund", "adjustment")),
        )
        .order_by(own.c.sequence, other.c.leg)
    )
    rows = connection.execute(query).all()
    return [(row.account, -row.amount_minor) for row in rows if account_names.kind_of(row.account) == "funding"]


def _refunds_count(connection: Connection, campaign_id: str) -> int:
    query = sa.select(sa.func.count()).where(entries.c.kind == "refund", entries.c.campaign_id == campaign_id)
    return int(connection.execute(query).scalar_one())
