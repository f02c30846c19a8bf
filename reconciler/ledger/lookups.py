"""What the ledger holds about some participations and campaigns: before a decision, and again under the lock."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain import accounts
from reconciler.domain.batch import Funding, LedgerView, OpenHold, PayoutRequest
from reconciler.domain.decision import Settled
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.ledger.bulk import among, pairs
from reconciler.ledger.engine import reading
from reconciler.ledger.schema import accounts as accounts_table
from reconciler.ledger.schema import fundings, hold_events, payouts
from reconciler.ports import PaidTotals, SettledFacts

_opened = hold_events.alias("opened")
_closed = hold_events.alias("closed")


class LedgerReader:
    """Reads for decisions. Not under the lock: the journal asks again before it posts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def settled_facts(
        self, participation_ids: Sequence[str], campaign_streamers: Sequence[tuple[str, str]]
    ) -> SettledFacts:
        """Facts about the participations (tagged) and pairs of (tagged campaign, streamer) of one page."""
        campaign_ids = sorted({campaign_id for campaign_id, _ in campaign_streamers})
        with reading(self._engine) as connection:
            return SettledFacts(
                settled=_settled(connection, participation_ids),
                paid_participations=_paid_participations(connection, campaign_streamers),
                pinned_currency={key: funding.currency for key, funding in _fundings(connection, campaign_ids).items()},
                held={
                    hold.participation_id: hold
                    for hold in _open_holds(
                        connection, among(connection, _opened.c.participation_id, participation_ids)
                    )
                },
            )

    def open_holds(self) -> list[OpenHold]:
        """Every open hold, in the order in which they are retried."""
        with reading(self._engine) as connection:
            return _open_holds(connection, sa.true())

    def campaign_totals(self, campaign_ids: Sequence[DocumentId]) -> dict[DocumentId, tuple[int, str]]:
        """Campaign → net amount paid in minor units (reversals taken off), and its currency."""
        query = sa.select(payouts.c.campaign_id, payouts.c.currency, sa.func.sum(payouts.c.amount_minor)).group_by(
            payouts.c.campaign_id, payouts.c.currency
        )
        with reading(self._engine) as connection:
            chosen = among(connection, payouts.c.campaign_id, [one.tagged for one in campaign_ids])
            # All kinds there are: the index on campaigns begins with the kind, and without one the whole table is read.
            rows = connection.execute(query.where(payouts.c.kind.in_(("payout", "reversal")), chosen))
            return {DocumentId.from_tagged(campaign): (int(total), currency) for campaign, currency, total in rows}

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
        with reading(self._engine) as connection:
            for hold in _open_holds(connection, of_campaign):
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


def read_view(
    connection: Connection, requests: Sequence[PayoutRequest], other_campaign_ids: Iterable[str]
) -> LedgerView:
    """Everything :func:`plan_batch` looks at. To be called with the chain's head locked."""
    terms = {request.due.terms.campaign_id.tagged: request.due.terms for request in requests}
    campaign_ids = sorted({*terms, *other_campaign_ids})
    streamers = [(r.due.participation.campaign_id.tagged, r.due.participation.streamer_id) for r in requests]
    participation_ids = [request.due.participation.participation_id.tagged for request in requests]
    return LedgerView(
        fingerprints=_fingerprints(connection, [request.key for request in requests]),
        paid_participations=_paid_participations(connection, streamers),
        fundings=_fundings(connection, campaign_ids),
        escrow_minor=_balances(connection, [accounts.escrow(found.campaign_id) for found in terms.values()]),
        open_holds=_open_holds(connection, among(connection, _opened.c.campaign_id, campaign_ids)),
        holds_count=_holds_count(connection, participation_ids),
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
    found: dict[str, Funding] = {}
    for row in connection.execute(query):
        before = found.get(row.campaign_id)
        found[row.campaign_id] = Funding(
            n=row.n,
            currency=row.currency,
            budget_minor=row.budget_minor,
            funded_minor=row.amount_minor + (before.funded_minor if before else 0),
            facts_at=row.facts_at,
        )
    return found


def _open_holds(connection: Connection, condition: sa.ColumnElement[bool]) -> list[OpenHold]:
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
        )
        for row in connection.execute(query)
    ]
    return sorted(holds, key=lambda hold: hold.order)


def _holds_count(connection: Connection, participation_ids: Sequence[str]) -> dict[str, int]:
    query = (
        sa.select(_opened.c.participation_id, sa.func.count())
        .where(_opened.c.event == "opened", among(connection, _opened.c.participation_id, participation_ids))
        .group_by(_opened.c.participation_id)
    )
    return dict(connection.execute(query).all())
