"""What the ledger holds about some participations and campaigns: before a decision, and again under the lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain.decision import Rule
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import OpenHold
from reconciler.domain.settlement import PoolDue
from reconciler.ledger.combined_select import CombinedSelect
from reconciler.ledger.engine import reading, reading_once
from reconciler.ledger.key_lists import Named, among
from reconciler.ledger.reads.campaign_sums import either_kind, gross_paid_minor, net_paid
from reconciler.ledger.reads.ledger_snapshot import (
    open_holds_of,
    open_holds_select,
    opened,
    posted_select,
    settled_facts,
    settled_of,
)
from reconciler.ledger.schema import accounts as accounts_table
from reconciler.ledger.schema import (
    adoptions,
    decisions,
    payouts,
    settlement_lines,
    settlements,
)
from reconciler.ports.ledger_reads import PaidTotals, SettledFacts

_ACCOUNTS = CombinedSelect(
    lambda connection: {
        "accounts": sa.select(
            accounts_table.c.account,
            accounts_table.c.currency,
            accounts_table.c.balance_minor,
            accounts_table.c.version,
        ).where(among(connection, accounts_table.c.account, Named("names")))
    }
)

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


class SqlLedgerReads:
    """What decisions are made on. It is read without the lock: the journal reads again before it posts."""

    def __init__(self, source: Engine | Callable[[], AbstractContextManager[Connection]]) -> None:
        """``source``: an engine, or what opens a transaction to read in."""
        self._read = (lambda: reading(source)) if isinstance(source, Engine) else source
        self._ask = (lambda: reading_once(source)) if isinstance(source, Engine) else source

    def settled_facts(
        self, participation_ids: Sequence[str], campaign_streamers: Sequence[tuple[str, str]]
    ) -> SettledFacts:
        """Facts about the participations (tagged) and pairs of (tagged campaign, streamer) of one page."""
        with self._ask() as connection:
            return settled_facts(connection, participation_ids, campaign_streamers)

    def open_holds(self) -> list[OpenHold]:
        """Every open hold, in the order in which they are retried."""
        with self._read() as connection:
            return open_holds_where(connection, sa.true())

    def campaign_totals(self, campaign_ids: Sequence[DocumentId]) -> dict[DocumentId, tuple[int, str]]:
        """Campaign → net amount paid in minor units (reversals taken off), and its currency."""
        with self._read() as connection:
            return net_paid(connection, campaign_ids)

    def existing_keys(self, payout_keys: Sequence[str]) -> set[str]:
        """Which of some payout keys exist."""
        with self._read() as connection:
            chosen = among(connection, payouts.c.payout_key, payout_keys)
            return set(connection.scalars(sa.select(payouts.c.payout_key).where(chosen)))

    def last_number(self, participation_id: str, campaign_id: str, streamer_id: str) -> int:
        """The highest number of a payout of a participation (tagged), or of its streamer in its campaign; 0: none."""
        is_pair = (payouts.c.campaign_id == campaign_id) & (payouts.c.streamer_id == streamer_id)
        is_one = (payouts.c.kind == "payout") & ((payouts.c.participation_id == participation_id) | is_pair)
        with self._read() as connection:
            query = sa.select(sa.func.coalesce(sa.func.max(payouts.c.n), 0)).where(is_one)
            return int(connection.execute(query).scalar_one())

    def gross_paid_minor(self, campaign_id: DocumentId) -> int:
        """What was paid of a campaign, fees included and reversals taken off, in minor units."""
        with self._read() as connection:
            return gross_paid_minor(connection, campaign_id.tagged)

    def unposted_lines(self, after: str, limit: int) -> list[DocumentId]:
        """Members of frozen settlements that were neither paid nor voided, by tagged identity from ``after`` on."""
        line = settlement_lines.c.participation_id
        query = _UNPOSTED_LINES.where(line > after).order_by(line).limit(limit)
        with self._read() as connection:
            return [DocumentId.from_tagged(one) for one in connection.scalars(query)]

    def totals(self, campaign_id: str | None = None) -> list[PaidTotals]:
        """Sums by currency over the whole ledger, or over one campaign (its plain identity)."""
        tagged = [] if campaign_id is None else either_kind(campaign_id)
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
            of_campaign = opened.c.campaign_id.in_(tagged)
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


def read_accounts(connection: Connection, names: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """(account, currency) → (balance in minor units, version)."""
    found = _ACCOUNTS.run(connection, {"names": list(names)})["accounts"]
    return {(row.account, row.currency): (row.balance_minor, row.version) for row in found}


def open_holds_where(connection: Connection, condition: sa.ColumnElement[bool]) -> list[OpenHold]:
    """Open holds for which ``condition`` is true of the opening row, in the order in which they are retried."""
    return open_holds_of(connection.execute(open_holds_select(condition)).all())


def settled_by_us_or_before(connection: Connection, participation_ids: Sequence[str]) -> set[str]:
    """Those of some participations (tagged) that have a payout, reversed or not, or were adopted."""
    posted = connection.execute(posted_select(among(connection, payouts.c.participation_id, participation_ids))).all()
    chosen = among(connection, adoptions.c.participation_id, participation_ids)
    adopted = connection.scalars(sa.select(adoptions.c.participation_id).where(chosen))
    return {*settled_of(posted), *adopted}


def hold_events_of(participation_id: str) -> sa.ColumnElement[bool]:
    """Holds of one participation (tagged), as a condition for :func:`open_holds_where`."""
    return opened.c.participation_id == participation_id


def holds_of_campaign(campaign_id: str) -> sa.ColumnElement[bool]:
    """Holds of one campaign (tagged), as a condition for :func:`open_holds_where`."""
    return opened.c.campaign_id == campaign_id


def unposted_lines_of(connection: Connection, campaign_id: str) -> list[str]:
    """Members (tagged) of a campaign's settlement that were neither paid nor voided."""
    query = _UNPOSTED_LINES.join(settlements, settlements.c.settlement_key == settlement_lines.c.settlement_key).where(
        settlements.c.campaign_id == campaign_id
    )
    return list(connection.scalars(query))


def pool_stands(connection: Connection, due: PoolDue) -> bool:
    """Whether a settlement can be frozen as it was decided: nobody of it was paid, settled or frozen since."""
    campaign_id = due.terms.campaign_id.tagged
    members = [line.participation for line in due.lines]
    pairs = [(campaign_id, one.streamer_id) for one in members]
    known = settled_facts(connection, [one.participation_id.tagged for one in members], pairs)
    if known.pool_campaigns or known.pool_lines or known.settled or known.paid_participations:
        return False
    if due.rule is Rule.BUDGET_EXHAUSTED and gross_paid_minor(connection, campaign_id) != due.paid_minor:
        return False
    return known.pinned_currency.get(campaign_id, due.terms.currency) == due.terms.currency
