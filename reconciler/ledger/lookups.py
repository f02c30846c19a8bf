"""What the ledger holds about some participations and campaigns: before a decision, and again under the lock."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain import accounts
from reconciler.domain.decision import PoolStanding, Rule, Settled
from reconciler.domain.ids import DocumentId, IdKind, payout_key
from reconciler.domain.ledger_view import Funding, LedgerView, OpenHold, Recent
from reconciler.ledger.bulk import among, pairs
from reconciler.ledger.engine import reading
from reconciler.ledger.schema import accounts as accounts_table
from reconciler.ledger.schema import (
    adoptions,
    decisions,
    entries,
    fundings,
    hold_events,
    payouts,
    settlement_lines,
    settlements,
)
from reconciler.ports import PaidTotals, PostingBatch, SettledFacts

_opened = hold_events.alias("opened")
_closed = hold_events.alias("closed")

_UNPOSTED_LINES = (
    sa.select(settlement_lines.c.participation_id)
    .select_from(settlement_lines)
    .where(
        ~sa.exists().where(payouts.c.participation_id == settlement_lines.c.participation_id),
        ~sa.exists().where((decisions.c.kind == "void") & (decisions.c.subject == settlement_lines.c.participation_id)),
        # What a person rejected or adopted is settled as well, and would keep the rest of the escrow for ever.
        ~sa.exists().where(
            (decisions.c.kind == "reject")
            & (decisions.c.subject == "payout:" + settlement_lines.c.participation_id + ":1")
        ),
        ~sa.exists().where(adoptions.c.participation_id == settlement_lines.c.participation_id),
    )
)


class LedgerReader:
    """Reads for decisions. Not under the lock: the journal asks again before it posts."""

    def __init__(self, source: Engine | Callable[[], AbstractContextManager[Connection]]) -> None:
        """``source``: an engine, or what opens a transaction to read in."""
        self._read = (lambda: reading(source)) if isinstance(source, Engine) else source

    def settled_facts(
        self, participation_ids: Sequence[str], campaign_streamers: Sequence[tuple[str, str]]
    ) -> SettledFacts:
        """Facts about the participations (tagged) and pairs of (tagged campaign, streamer) of one page."""
        campaign_ids = sorted({campaign_id for campaign_id, _ in campaign_streamers})
        with self._read() as connection:
            return SettledFacts(
                settled=_adopted_or_rejected(connection, participation_ids) | _settled(connection, participation_ids),
                paid_participations=_paid_participations(connection, campaign_streamers),
                pinned_currency=_pinned_currency(connection, campaign_ids),
                pool_lines=_pool_lines(connection, participation_ids),
                pool_campaigns=_pool_campaigns(connection, campaign_ids),
                held={
                    hold.participation_id: hold
                    for hold in open_holds_where(
                        connection, among(connection, _opened.c.participation_id, participation_ids)
                    )
                },
            )

    def open_holds(self) -> list[OpenHold]:
        """Every open hold, in the order in which they are retried."""
        with self._read() as connection:
            return open_holds_where(connection, sa.true())

    def campaign_totals(self, campaign_ids: Sequence[DocumentId]) -> dict[DocumentId, tuple[int, str]]:
        """Campaign → net amount paid in minor units (reversals taken off), and its currency."""
        query = sa.select(payouts.c.campaign_id, payouts.c.currency, sa.func.sum(payouts.c.amount_minor)).group_by(
            payouts.c.campaign_id, payouts.c.currency
        )
        with self._read() as connection:
            chosen = among(connection, payouts.c.campaign_id, [one.tagged for one in campaign_ids])
            # All kinds there are: the index on campaigns begins with the kind, and without one the whole table is read.
            rows = connection.execute(query.where(payouts.c.kind.in_(("payout", "reversal")), chosen))
            return {DocumentId.from_tagged(campaign): (int(total), currency) for campaign, currency, total in rows}

    def existing_keys(self, payout_keys: Sequence[str]) -> set[str]:
        """Which of some payout keys exist."""
        with self._read() as connection:
            return set(_fingerprints(connection, payout_keys))

    def payouts_count(self, participation_id: str) -> int:
        """How many payouts a participation (tagged) ever had, reversed ones included."""
        is_one = (payouts.c.participation_id == participation_id) & (payouts.c.kind == "payout")
        with self._read() as connection:
            query = sa.select(sa.func.count()).select_from(payouts).where(is_one)
            return int(connection.execute(query).scalar_one())

    def gross_paid_minor(self, campaign_id: DocumentId) -> int:
        """What was paid of a campaign, fees included and reversals taken off, in minor units."""
        query = sa.select(sa.func.coalesce(sa.func.sum(payouts.c.gross_minor), 0))
        with self._read() as connection:
            return int(connection.execute(query.where(payouts.c.campaign_id == campaign_id.tagged)).scalar_one())

    def unposted_lines(self, after: str, limit: int) -> list[DocumentId]:
        """Members of frozen settlements that were neither paid nor voided, by tagged identity from ``after`` on."""
        line = settlement_lines.c.participation_id
        query = _UNPOSTED_LINES.where(line > after).order_by(line).limit(limit)
        with self._read() as connection:
            return [DocumentId.from_tagged(one) for one in connection.scalars(query)]

    def totals(self, campaign_id: str | None = None) -> list[PaidTotals]:
        """Sums a currency over the whole ledger, or over one campaign (its plain identity)."""
        tagged = [f"{kind.value}:{campaign_id}" for kind in IdKind]
        is_payout = payouts.c.kind == "payout"
        query = sa.select(
            payouts.c.currency,
            sa.func.count().filter(is_payout),
            sa.func.coalesce(sa.func.sum(payouts.c.gross_minor).filter(is_payout), 0),
            sa.func.coalesce(sa.func.sum(payouts.c.gross_minor).filter(~is_payout), 0),
        ).group_by(payouts.c.currency)
        of_campaign: sa.ColumnElement[bool] = sa.true()
        if campaign_id is not None:
            query = query.where(payouts.c.campaign_id.in_(tagged))
            of_campaign = _opened.c.campaign_id.in_(tagged)
        held: Counter[str] = Counter()
        with self._read() as connection:
            for hold in open_holds_where(connection, of_campaign):
                held[hold.currency] += hold.amount_minor
            paid = {row[0]: row for row in connection.execute(query)}
        return [
            PaidTotals(
                currency=currency,
                payouts_count=paid[currency][1] if currency in paid else 0,
                paid_minor=int(paid[currency][2]) if currency in paid else 0,
                reversed_minor=-int(paid[currency][3]) if currency in paid else 0,
                held_minor=held[currency],
            )
            for currency in sorted({*paid, *held})
        ]


def read_view(connection: Connection, batch: PostingBatch, now: datetime) -> LedgerView:
    """Everything :func:`plan_batch` looks at. To be called with the chain's head locked."""
    requests = batch.requests
    terms = {request.due.terms.campaign_id.tagged: request.due.terms for request in requests}
    campaign_ids = sorted({*terms, *(withdrawal.campaign_id.tagged for withdrawal in batch.withdrawals)})
    streamers = [(r.due.participation.campaign_id.tagged, r.due.participation.streamer_id) for r in requests]
    participation_ids = [request.due.participation.participation_id.tagged for request in requests]
    keys = [request.key for request in requests]
    pools = settlement_of(connection, campaign_ids)
    by_person = [request for request in requests if request.decision_key is not None]
    return LedgerView(
        fingerprints=_fingerprints(connection, [*keys, *(payout_key(one, 1) for one in batch.voids)]),
        paid_participations=_paid_participations(connection, streamers),
        fundings=_fundings(connection, campaign_ids),
        escrow_minor=_balances(connection, [accounts.escrow(found.campaign_id) for found in terms.values()]),
        open_holds=open_holds_where(connection, among(connection, _opened.c.campaign_id, campaign_ids)),
        holds_count=_holds_count(connection, participation_ids),
        approved_minor=_approved(connection, keys),
        rejected=frozenset(_decided(connection, "reject", keys)),
        adopted=frozenset(_adopted(connection, participation_ids)),
        adopted_minor=_adopted_minor(connection, campaign_ids),
        pooled=frozenset(pools),
        pool_currency={campaign_id: pool.currency for campaign_id, pool in pools.items()},
        standing=_standing(connection, [one.due.participation.participation_id.tagged for one in by_person]),
        voids=frozenset(_decided(connection, "void", [*participation_ids, *(one.tagged for one in batch.voids)])),
        recent=_recent(connection, now - timedelta(hours=1)),
    )


def read_accounts(connection: Connection, names: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """(account, currency) → (balance in minor units, version)."""
    table = accounts_table
    query = sa.select(table.c.account, table.c.currency, table.c.balance_minor, table.c.version).where(
        among(connection, table.c.account, names)
    )
    return {(row.account, row.currency): (row.balance_minor, row.version) for row in connection.execute(query)}


def _balances(connection: Connection, names: Sequence[str]) -> dict[tuple[str, str], int]:
    return {key: balance for key, (balance, _) in read_accounts(connection, names).items()}


def _fingerprints(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    query = sa.select(payouts.c.payout_key, payouts.c.fingerprint).where(among(connection, payouts.c.payout_key, keys))
    return {row.payout_key: row.fingerprint for row in connection.execute(query)}


def _settled(connection: Connection, participation_ids: Sequence[str]) -> dict[str, Settled]:
    query = sa.select(payouts.c.participation_id, payouts.c.kind, payouts.c.n).where(
        among(connection, payouts.c.participation_id, participation_ids)
    )
    paid: dict[str, set[int]] = defaultdict(set)
    reversed_: dict[str, set[int]] = defaultdict(set)
    for row in connection.execute(query):
        (paid if row.kind == "payout" else reversed_)[row.participation_id].add(row.n)
    return {
        participation_id: Settled.PAID if numbers - reversed_[participation_id] else Settled.REVERSED
        for participation_id, numbers in paid.items()
    }


def _standing(connection: Connection, participation_ids: Sequence[str]) -> frozenset[str]:
    """Those with a payout that was not reversed."""
    settled = _settled(connection, participation_ids) if participation_ids else {}
    return frozenset(tagged for tagged, found in settled.items() if found is Settled.PAID)


def _paid_participations(
    connection: Connection, campaign_streamers: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    wanted = pairs(connection, sorted(set(campaign_streamers)))
    # A condition, not a join: without statistics SQLite takes `kind` alone for the best use of the index, and compares
    # every payout there is with every pair.
    query = sa.select(payouts.c.campaign_id, payouts.c.streamer_id, payouts.c.participation_id).where(
        payouts.c.kind == "payout",
        sa.tuple_(payouts.c.campaign_id, payouts.c.streamer_id).in_(sa.select(wanted.c.first, wanted.c.second)),
    )
    return {(row.campaign_id, row.streamer_id): row.participation_id for row in connection.execute(query)}


def _fundings(connection: Connection, campaign_ids: Sequence[str]) -> dict[str, Funding]:
    query = (
        sa.select(fundings)
        .where(among(connection, fundings.c.campaign_id, campaign_ids))
        .order_by(fundings.c.campaign_id, fundings.c.n)
    )
    refunded = _refunded(connection, campaign_ids)
    found: dict[str, Funding] = {}
    for row in connection.execute(query):
        before = found.get(row.campaign_id)
        found[row.campaign_id] = Funding(
            n=row.n,
            currency=row.currency,
            budget_minor=row.budget_minor,
            funded_minor=row.amount_minor + (before.funded_minor if before else 0),
            facts_at=row.facts_at,
            was_refunded=refunded.get(row.campaign_id, 0) > row.sequence,
        )
    return found


def open_holds_where(connection: Connection, condition: sa.ColumnElement[bool]) -> list[OpenHold]:
    """Open holds for which ``condition`` is true of the opening row, in the order in which they are retried."""
    is_closed = sa.exists().where((_closed.c.hold_key == _opened.c.hold_key) & (_closed.c.event == "closed"))
    query = sa.select(_opened).where(_opened.c.event == "opened", ~is_closed, condition)
    holds = [
        OpenHold(
            hold_key=row.hold_key,
            participation_id=row.participation_id,
            campaign_id=row.campaign_id,
            streamer_id=row.streamer_id,
            opened_at=row.occurred_at,
            amount_minor=row.amount_minor,
            currency=row.currency,
            reason=row.reason,
        )
        for row in connection.execute(query)
    ]
    return sorted(holds, key=lambda hold: hold.order)


def _pinned_currency(connection: Connection, campaign_ids: Sequence[str]) -> dict[str, str]:
    """Campaign → the currency of its first funding, or of its frozen settlement, whose shares are in no other."""
    of_pools = {campaign_id: pool.currency for campaign_id, pool in settlement_of(connection, campaign_ids).items()}
    return of_pools | {key: funding.currency for key, funding in _fundings(connection, campaign_ids).items()}


def _holds_count(connection: Connection, participation_ids: Sequence[str]) -> dict[str, int]:
    query = (
        sa.select(_opened.c.participation_id, sa.func.count())
        .where(_opened.c.event == "opened", among(connection, _opened.c.participation_id, participation_ids))
        .group_by(_opened.c.participation_id)
    )
    return dict(connection.execute(query).all())


def _refunded(connection: Connection, campaign_ids: Sequence[str]) -> dict[str, int]:
    """Campaign → sequence of its last refund: a funding before it moves no budget any more."""
    query = (
        sa.select(entries.c.campaign_id, sa.func.max(entries.c.sequence))
        .where(entries.c.kind == "refund", among(connection, entries.c.campaign_id, campaign_ids))
        .group_by(entries.c.campaign_id)
    )
    return dict(connection.execute(query).all())


def _approved(connection: Connection, keys: Sequence[str]) -> dict[str, int]:
    """Payout key → amount approved last."""
    query = (
        sa.select(decisions.c.subject, decisions.c.amount_minor)
        .where(decisions.c.kind == "approve", among(connection, decisions.c.subject, keys))
        .order_by(decisions.c.occurred_at, decisions.c.batch)
    )
    return {row.subject: row.amount_minor for row in connection.execute(query)}


def _decided(connection: Connection, kind: str, subjects: Sequence[str]) -> set[str]:
    query = sa.select(decisions.c.subject).where(
        decisions.c.kind == kind, among(connection, decisions.c.subject, subjects)
    )
    return set(connection.scalars(query))


def _adopted(connection: Connection, participation_ids: Sequence[str]) -> set[str]:
    chosen = among(connection, adoptions.c.participation_id, participation_ids)
    return set(connection.scalars(sa.select(adoptions.c.participation_id).where(chosen)))


def settled_by_us_or_before(connection: Connection, participation_ids: Sequence[str]) -> set[str]:
    """Those of some participations (tagged) that have a payout, reversed or not, or were adopted."""
    return {*_settled(connection, participation_ids), *_adopted(connection, participation_ids)}


def _adopted_minor(connection: Connection, campaign_ids: Sequence[str]) -> dict[tuple[str, str], int]:
    of = (adoptions.c.campaign_id, adoptions.c.currency)
    query = (
        sa.select(*of, sa.func.coalesce(sa.func.sum(adoptions.c.amount_minor), 0))
        .where(among(connection, adoptions.c.campaign_id, campaign_ids))
        .group_by(*of)
    )
    return {(campaign_id, currency): int(total) for campaign_id, currency, total in connection.execute(query)}


def _adopted_or_rejected(connection: Connection, participation_ids: Sequence[str]) -> dict[str, Settled]:
    """What people decided about participations that have no payout."""
    keys = {payout_key(DocumentId.from_tagged(one), 1): one for one in participation_ids}
    rejected = {keys[key]: Settled.REJECTED for key in _decided(connection, "reject", list(keys))}
    return rejected | dict.fromkeys(_adopted(connection, participation_ids), Settled.ADOPTED)


def hold_events_of(participation_id: str) -> sa.ColumnElement[bool]:
    """Holds of one participation (tagged), as a condition for :func:`open_holds_where`."""
    return _opened.c.participation_id == participation_id


def holds_of_campaign(campaign_id: str) -> sa.ColumnElement[bool]:
    """Holds of one campaign (tagged), as a condition for :func:`open_holds_where`."""
    return _opened.c.campaign_id == campaign_id


def unposted_lines_of(connection: Connection, campaign_id: str) -> list[str]:
    """Members (tagged) of a campaign's settlement that were neither paid nor voided."""
    query = _UNPOSTED_LINES.join(settlements, settlements.c.settlement_key == settlement_lines.c.settlement_key).where(
        settlements.c.campaign_id == campaign_id
    )
    return list(connection.scalars(query))


def settlement_of(connection: Connection, campaign_ids: Sequence[str]) -> dict[str, sa.Row[Any]]:
    """Campaign → its frozen settlement."""
    query = sa.select(settlements).where(among(connection, settlements.c.campaign_id, campaign_ids))
    return {row.campaign_id: row for row in connection.execute(query)}


def _pool_campaigns(connection: Connection, campaign_ids: Sequence[str]) -> dict[str, PoolStanding]:
    return {
        campaign_id: PoolStanding(settlement_key=pool.settlement_key, rule=Rule(pool.rule), share_minor=None)
        for campaign_id, pool in settlement_of(connection, campaign_ids).items()
    }


def _pool_lines(connection: Connection, participation_ids: Sequence[str]) -> dict[str, PoolStanding]:
    query = (
        sa.select(settlement_lines, settlements.c.rule)
        .join(settlements, settlements.c.settlement_key == settlement_lines.c.settlement_key)
        .where(among(connection, settlement_lines.c.participation_id, participation_ids))
    )
    lines = connection.execute(query).all()
    voids = _decided(connection, "void", [row.participation_id for row in lines])
    return {
        row.participation_id: PoolStanding(
            settlement_key=row.settlement_key,
            rule=Rule(row.rule),
            share_minor=row.share_minor,
            impressions=row.impressions,
            is_void=row.participation_id in voids,
        )
        for row in lines
    }


def _recent(connection: Connection, since: datetime) -> Recent:
    """What was paid since a time."""
    query = (
        sa.select(payouts.c.currency, sa.func.count(), sa.func.sum(payouts.c.gross_minor))
        .where(payouts.c.created_at > since, payouts.c.kind == "payout")
        .group_by(payouts.c.currency)
    )
    rows = connection.execute(query).all()
    return Recent(
        payouts_count=sum(count for _, count, _ in rows),
        paid_minor={currency: int(paid) for currency, _, paid in rows},
    )
