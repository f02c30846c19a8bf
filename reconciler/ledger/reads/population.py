"""What the ledger holds, read for a whole population: a partition's rows, sums, wallets and campaigns.

Rows come as the driver gives them. An identity that is an ObjectId's hex is as long as every other, so that ranges of
them mean the same in every collation; identities that are text are looked up one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain.accounts import escrow as escrow_of
from reconciler.domain.effects import WalletPosition
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.rederivation import PayoutRow
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.journal.writing import lock_head
from reconciler.ledger.key_lists import among
from reconciler.ledger.reads.campaign_sums import ALL_KINDS, brands_of, either_kind, gross_paid, net_paid
from reconciler.ledger.reads.ledger_reads import read_accounts, settled_by_us_or_before
from reconciler.ledger.reads.wallet_positions import POSITIONS, read_positions
from reconciler.ledger.rows import from_row
from reconciler.ledger.schema import (
    adoptions,
    chain_head,
    decisions,
    entries,
    fundings,
    hold_events,
    outbox,
    payouts,
    postings,
    settlement_lines,
    settlements,
    wallet_positions,
)
from reconciler.ports.population import (
    CampaignMoney,
    DayPaid,
    LedgerPartition,
    LedgerSums,
    SettledBefore,
)
from reconciler.ports.scanning import ScannedPartition

_FIRST, _BEYOND = "oid:", "oid:g"
"""Bounds around every ObjectId's hex."""

_ROW = [
    *(payouts.c[name] for name in PayoutRow._fields if name not in ("share_minor", "outbox_status")),
    settlement_lines.c.share_minor,
    outbox.c.status,
]
_ROWS = (
    sa.select(*_ROW)
    .join_from(payouts, outbox, outbox.c.sequence == payouts.c.sequence, isouter=True)
    .join(
        settlement_lines,
        (settlement_lines.c.settlement_key == payouts.c.settlement_key)
        & (settlement_lines.c.participation_id == payouts.c.participation_id),
        isouter=True,
    )
)


class SqlPopulationReads:
    """Reads for the full check. Every method may raise Outage."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def sequence(self) -> int:
        """The last entry's sequence."""
        with reading(self._engine) as connection:
            return int(connection.execute(sa.select(chain_head.c.sequence)).scalar_one())

    def partition(self, scanned: ScannedPartition, campaign_id: str | None) -> LedgerPartition:
        """What is posted about participations in the range of a partition, whether they have a document or not."""
        low, high = _bounds(scanned)
        query = _ROWS.where(payouts.c.participation_id > low, payouts.c.participation_id <= high)
        if campaign_id is not None:
            query = query.where(payouts.c.campaign_id.in_(either_kind(campaign_id)))
        with reading(self._engine) as connection:
            return LedgerPartition(
                rows=connection.execute(query).all(),
                special=frozenset(_special(connection, low, high)),
                adopted=frozenset(
                    connection.scalars(
                        sa.select(adoptions.c.participation_id).where(
                            adoptions.c.participation_id > low, adoptions.c.participation_id <= high
                        )
                    )
                ),
                pooled_campaigns=frozenset(connection.scalars(sa.select(settlements.c.campaign_id))),
            )

    def rows_of(self, participation_ids: Sequence[str]) -> list[PayoutRow]:
        """The rows of some participations (tagged), in the order of their entries."""
        with reading(self._engine) as connection:
            chosen = among(connection, payouts.c.participation_id, participation_ids)
            return [PayoutRow(*row) for row in connection.execute(_ROWS.where(chosen).order_by(payouts.c.sequence))]

    def settled_of(self, participation_ids: Sequence[str]) -> set[str]:
        """Which of some participations (tagged) have a payout, or were settled before the ledger began."""
        with reading(self._engine) as connection:
            return settled_by_us_or_before(connection, participation_ids)

    def text_participations(self, after: str, limit: int, campaign_id: str | None) -> list[str]:
        """Participations (tagged) with a row whose identity is text, from ``after`` on."""
        one = payouts.c.participation_id
        query = sa.select(one).distinct().where(one > after, one.like("str:%")).order_by(one).limit(limit)
        if campaign_id is not None:
            query = query.where(payouts.c.campaign_id.in_(either_kind(campaign_id)))
        with reading(self._engine) as connection:
            return list(connection.scalars(query))

    def sums(self, cut: int, campaign_id: str | None) -> list[LedgerSums]:
        """Sums by currency. ``cut``: the sequence at which the check began."""
        is_payout = payouts.c.kind == "payout"
        gross = payouts.c.gross_minor
        query = sa.select(
            payouts.c.currency,
            sa.func.count().filter(is_payout),
            _sum(gross, is_payout & (payouts.c.sequence <= cut)),
            _sum(gross, is_payout),
            _sum(gross, ~is_payout),
        ).group_by(payouts.c.currency)
        refunds = (
            sa.select(postings.c.currency, sa.func.sum(-postings.c.amount_minor))
            .join_from(entries, postings, postings.c.sequence == entries.c.sequence)
            .where(entries.c.kind == "refund", postings.c.account.like("campaign:%"))
            .group_by(postings.c.currency)
        )
        if campaign_id is not None:
            query = query.where(payouts.c.campaign_id.in_(either_kind(campaign_id)))
            refunds = refunds.where(entries.c.campaign_id.in_(either_kind(campaign_id)))
        with reading(self._engine) as connection:
            paid = {row[0]: row for row in connection.execute(query)}
            refunded = {currency: int(total) for currency, total in connection.execute(refunds)}
        nothing = (None, 0, 0, 0, 0)
        return [
            LedgerSums(
                currency=currency,
                payouts_count=int(paid.get(currency, nothing)[1]),
                cut_minor=int(paid.get(currency, nothing)[2]),
                paid_minor=int(paid.get(currency, nothing)[3]),
                reversed_minor=-int(paid.get(currency, nothing)[4]),
                refunded_minor=refunded.get(currency, 0),
            )
            for currency in sorted({*paid, *refunded})
        ]

    def paid_by_day(self, days: Sequence[tuple[str, datetime, datetime]], campaign_id: str | None) -> list[DayPaid]:
        """What was posted on some days: (name, from, until). A query a day, by the index on times."""
        is_payout = payouts.c.kind == "payout"
        query = sa.select(
            payouts.c.campaign_id,
            payouts.c.currency,
            sa.func.count().filter(is_payout),
            *(_sum(payouts.c[name], is_payout) for name in ("gross_minor", "fee_minor", "amount_minor")),
            _sum(-payouts.c.gross_minor, ~is_payout),
        ).group_by(payouts.c.campaign_id, payouts.c.currency)
        if campaign_id is not None:
            query = query.where(payouts.c.campaign_id.in_(either_kind(campaign_id)))
        found: list[DayPaid] = []
        with reading(self._engine) as connection:
            for day, begin, end in days:
                of_day = query.where(payouts.c.created_at >= begin, payouts.c.created_at < end)
                found += [
                    DayPaid(
                        day=day,
                        campaign_id=row[0],
                        currency=row[1],
                        payouts=int(row[2]),
                        gross_minor=int(row[3]),
                        fee_minor=int(row[4]),
                        amount_minor=int(row[5]),
                        reversed_minor=int(row[6]),
                    )
                    for row in connection.execute(of_day)
                ]
        return found

    def settled_before(self, campaign_id: str | None) -> list[SettledBefore]:
        """What was adopted, by currency."""
        query = sa.select(
            adoptions.c.currency, sa.func.count(), sa.func.coalesce(sa.func.sum(adoptions.c.amount_minor), 0)
        ).group_by(adoptions.c.currency)
        if campaign_id is not None:
            query = query.where(adoptions.c.campaign_id.in_(either_kind(campaign_id)))
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(adoptions.c.currency)).all()
        return [SettledBefore(currency=row[0], participations=int(row[1]), amount_minor=int(row[2])) for row in rows]

    def campaign_money(self, after: str, limit: int) -> list[CampaignMoney]:
        """Funded campaigns from ``after`` on, each with its last budget seen and its gross payments."""
        later = fundings.alias("later")
        is_last = ~sa.exists().where((later.c.campaign_id == fundings.c.campaign_id) & (later.c.n > fundings.c.n))
        query = (
            sa.select(fundings.c.campaign_id, fundings.c.currency, fundings.c.budget_minor, fundings.c.sequence)
            .where(is_last, fundings.c.campaign_id > after)
            .order_by(fundings.c.campaign_id)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
            ids = [row.campaign_id for row in rows]
            paid = gross_paid(connection, ids)
            refunds = _refunds_of(connection, ids)
            brands = brands_of(connection, ids)
            escrows = read_accounts(connection, [escrow_of(DocumentId.from_tagged(one)) for one in ids])
        return [
            CampaignMoney(
                campaign_id=DocumentId.from_tagged(row.campaign_id),
                currency=row.currency,
                budget_minor=row.budget_minor,
                paid_minor=paid.get((row.campaign_id, row.currency), 0),
                is_refunded=refunds.get(row.campaign_id, 0) > row.sequence,
                escrow_minor=escrows.get((escrow_of(DocumentId.from_tagged(row.campaign_id)), row.currency), (0, 0))[0],
                brands=frozenset(brands.get(row.campaign_id, ())),
            )
            for row in rows
        ]

    def gross_paid(self, campaign_ids: Sequence[DocumentId]) -> dict[str, int]:
        """Campaign (tagged) → what was paid of it, fees included and reversals taken off, in minor units."""
        with reading(self._engine) as connection:
            paid: dict[str, int] = {}
            for (campaign, _), minor in gross_paid(connection, [one.tagged for one in campaign_ids]).items():
                paid[campaign] = paid.get(campaign, 0) + minor
            return paid

    def projected_totals(self, campaign_ids: Sequence[DocumentId]) -> dict[DocumentId, tuple[int, str]]:
        """Campaign → net amount paid and currency, of those all of whose payouts and reversals are projected."""
        with reading(self._engine) as connection:
            chosen = among(connection, payouts.c.campaign_id, [one.tagged for one in campaign_ids])
            open_tasks = (
                sa.select(payouts.c.campaign_id)
                .distinct()
                .join_from(payouts, outbox, outbox.c.sequence == payouts.c.sequence)
                .where(ALL_KINDS, chosen, outbox.c.status != "done")
            )
            waiting = set(connection.scalars(open_tasks))
            return net_paid(connection, [one for one in campaign_ids if one.tagged not in waiting])

    def wallet_positions(self, after: tuple[str, str], limit: int, campaign_id: str | None) -> list[WalletPosition]:
        """Positions from ``after`` on with their balances; with a campaign, of those who were paid in it."""
        table = wallet_positions
        query = (
            POSITIONS.where(sa.tuple_(table.c.streamer_id, table.c.currency) > sa.tuple_(*map(sa.literal, after)))
            .order_by(table.c.streamer_id, table.c.currency)
            .limit(limit)
        )
        if campaign_id is not None:
            of_campaign = sa.select(payouts.c.streamer_id).where(payouts.c.campaign_id.in_(either_kind(campaign_id)))
            query = query.where(table.c.streamer_id.in_(of_campaign))
        with reading(self._engine) as connection:
            return [from_row(WalletPosition, row) for row in connection.execute(query)]

    def positions_of(self, keys: Sequence[tuple[str, str]]) -> list[WalletPosition]:
        """The positions of some (streamer, currency), as they are now."""
        with reading(self._engine) as connection:
            return list(read_positions(connection, keys).values())

    def participations_of(self, streamer_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Streamer → the participation of their first payout and its campaign, both tagged."""
        with reading(self._engine) as connection:
            chosen = among(connection, payouts.c.streamer_id, streamer_ids)
            query = (
                sa.select(payouts.c.streamer_id, payouts.c.participation_id, payouts.c.campaign_id)
                .where(chosen)
                .order_by(payouts.c.sequence.desc())
            )
            return {streamer: (one, campaign) for streamer, one, campaign in connection.execute(query)}

    def show_again(self, keys: Sequence[tuple[str, str]]) -> None:
        """Raise the versions of some (streamer, currency), so that their wallets take the position anew."""
        table = wallet_positions
        with writing(self._engine) as connection:
            lock_head(connection)
            for streamer_id, currency in sorted(keys):
                is_one = (table.c.streamer_id == streamer_id) & (table.c.currency == currency)
                connection.execute(sa.update(table).where(is_one).values(version=table.c.version + 1))


def _bounds(scanned: ScannedPartition) -> tuple[str, str]:
    """The range of tagged ObjectIds that a partition covers; empty where it ends before the first of them."""
    low = scanned.after.tagged if scanned.after and scanned.after.kind is IdKind.OBJECT_ID else _FIRST
    if scanned.up_to is None:
        return low, _BEYOND
    return low, scanned.up_to.tagged if scanned.up_to.kind is IdKind.OBJECT_ID else low


def _special(connection: Connection, low: str, high: str) -> set[str]:
    """Participations with a hold, a frozen share or a rejection: each is looked at by itself."""
    found: set[str] = set()
    for column in (hold_events.c.participation_id, settlement_lines.c.participation_id):
        found.update(connection.scalars(sa.select(column).distinct().where(column > low, column <= high)))
    subject = decisions.c.subject
    rejected = sa.select(subject).where(
        decisions.c.kind == "reject", subject > f"payout:{low}", subject <= f"payout:{high}:g"
    )
    found.update(one.removeprefix("payout:").rpartition(":")[0] for one in connection.scalars(rejected))
    return found


def _refunds_of(connection: Connection, campaign_ids: Sequence[str]) -> Mapping[str, int]:
    query = (
        sa.select(entries.c.campaign_id, sa.func.max(entries.c.sequence))
        .where(entries.c.kind == "refund", among(connection, entries.c.campaign_id, campaign_ids))
        .group_by(entries.c.campaign_id)
    )
    return dict(connection.execute(query).all())


def _sum(column: sa.ColumnElement[Any], condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
    return sa.func.coalesce(sa.func.sum(column).filter(condition), 0)
