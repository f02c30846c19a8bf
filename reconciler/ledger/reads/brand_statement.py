"""A brand's statement: what became of its money, campaign by campaign."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain import accounts as names
from reconciler.domain.ids import DocumentId
from reconciler.ledger.engine import reading
from reconciler.ledger.key_lists import among
from reconciler.ledger.reads.campaign_sums import brands_of
from reconciler.ledger.reads.ledger_reads import open_holds_where
from reconciler.ledger.reads.ledger_snapshot import opened
from reconciler.ledger.schema import accounts, adoptions, entries, fundings, payouts, postings


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignStatement:
    """What became of a brand's money in one campaign and currency. Identities are tagged, amounts minor units.

    funded − paid + reversed − refunded + adjusted = left. ``paid_gross_minor`` counts fees in; ``fee_minor`` is what
    of it the platform kept, less what reversals gave back. ``budget_minor`` is the last budget seen.
    ``settled_before_us_minor`` came out of the budget before this ledger began, and is in none of the others.
    """

    campaign_id: str
    brand_ids: tuple[str, ...]
    currency: str
    budget_minor: int
    settled_before_us_minor: int
    funded_minor: int
    payouts_count: int
    paid_gross_minor: int
    reversed_gross_minor: int
    fee_minor: int
    refunded_minor: int
    adjusted_minor: int
    left_minor: int
    open_holds_count: int
    open_holds_minor: int


def brand_statement(engine: Engine, candidates: Sequence[str]) -> list[CampaignStatement]:
    """The campaigns that any of ``candidates`` (tagged) names, or that a brand it names has funded; may be none."""
    with reading(engine) as connection:
        campaign_ids = _campaigns_of(connection, candidates)
        return sorted(_campaign_statements(connection, campaign_ids), key=lambda one: (one.campaign_id, one.currency))


def _campaigns_of(connection: Connection, candidates: Sequence[str]) -> list[str]:
    identities = [DocumentId.from_tagged(one) for one in candidates]
    escrows = {names.escrow(one): one.tagged for one in identities}
    own = connection.scalars(sa.select(accounts.c.account).where(among(connection, accounts.c.account, list(escrows))))
    found = {escrows[account] for account in own}
    funded_by = among(connection, postings.c.account, [names.funding(one) for one in identities])
    query = (
        sa.select(entries.c.campaign_id)
        .distinct()
        .join_from(postings, entries, postings.c.sequence == entries.c.sequence)
        .where(funded_by, entries.c.kind == "fund")
    )
    return sorted(found | set(connection.scalars(query)))


def _campaign_statements(connection: Connection, campaign_ids: Sequence[str]) -> list[CampaignStatement]:
    escrow_of = {names.escrow(DocumentId.from_tagged(one)): one for one in campaign_ids}
    moved = _escrow_movements(connection, escrow_of)
    paid = _payout_sums(connection, campaign_ids)
    budgets, brands = _last_budgets(connection, campaign_ids), brands_of(connection, campaign_ids)
    holds, adopted = _open_holds(connection, campaign_ids), _adopted(connection, campaign_ids)
    left = connection.execute(
        sa.select(accounts.c.account, accounts.c.currency, accounts.c.balance_minor).where(
            among(connection, accounts.c.account, list(escrow_of))
        )
    ).all()
    statements = []
    for account, currency, balance_minor in left:
        key = (escrow_of[account], currency)
        by_kind = moved.get(key, {})
        payouts_count, fee_minor = paid.get(key, (0, 0))
        holds_count, holds_minor = holds.get(key, (0, 0))
        known = {"fund", "payout", "reversal", "refund"}
        statements.append(
            CampaignStatement(
                campaign_id=key[0],
                brand_ids=tuple(sorted(brands.get(key[0], set()))),
                currency=currency,
                budget_minor=budgets.get(key, 0),
                settled_before_us_minor=adopted.get(key, 0),
                funded_minor=by_kind.get("fund", 0),
                payouts_count=payouts_count,
                paid_gross_minor=-by_kind.get("payout", 0),
                reversed_gross_minor=by_kind.get("reversal", 0),
                fee_minor=fee_minor,
                refunded_minor=-by_kind.get("refund", 0),
                adjusted_minor=sum(amount for kind, amount in by_kind.items() if kind not in known),
                left_minor=balance_minor,
                open_holds_count=holds_count,
                open_holds_minor=holds_minor,
            )
        )
    return statements


def _escrow_movements(connection: Connection, escrow_of: Mapping[str, str]) -> dict[tuple[str, str], dict[str, int]]:
    """(campaign, currency) → kind of entry → what it added to escrow."""
    query = (
        sa.select(postings.c.account, postings.c.currency, entries.c.kind, sa.func.sum(postings.c.amount_minor))
        .join_from(postings, entries, postings.c.sequence == entries.c.sequence)
        .where(among(connection, postings.c.account, list(escrow_of)))
        .group_by(postings.c.account, postings.c.currency, entries.c.kind)
    )
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for account, currency, kind, total in connection.execute(query):
        found[escrow_of[account], currency][kind] = int(total)
    return found


def _payout_sums(connection: Connection, campaign_ids: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """(campaign, currency) → payouts (not reversals), and fees less those given back."""
    query = (
        sa.select(
            payouts.c.campaign_id,
            payouts.c.currency,
            sa.func.count().filter(payouts.c.kind == "payout"),
            sa.func.sum(payouts.c.fee_minor),
        )
        .where(among(connection, payouts.c.campaign_id, campaign_ids))
        .group_by(payouts.c.campaign_id, payouts.c.currency)
    )
    return {(row[0], row[1]): (row[2], int(row[3])) for row in connection.execute(query)}


def _last_budgets(connection: Connection, campaign_ids: Sequence[str]) -> dict[tuple[str, str], int]:
    query = (
        sa.select(fundings.c.campaign_id, fundings.c.currency, fundings.c.budget_minor)
        .where(among(connection, fundings.c.campaign_id, campaign_ids))
        .order_by(fundings.c.n)
    )
    return {(campaign_id, currency): budget_minor for campaign_id, currency, budget_minor in connection.execute(query)}


def _open_holds(connection: Connection, campaign_ids: Sequence[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """(campaign, currency) → how many holds are open, and their amounts together."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for hold in open_holds_where(connection, among(connection, opened.c.campaign_id, campaign_ids)):
        count, total_minor = found.get((hold.campaign_id, hold.currency), (0, 0))
        found[hold.campaign_id, hold.currency] = (count + 1, total_minor + hold.amount_minor)
    return found


def _adopted(connection: Connection, campaign_ids: Sequence[str]) -> dict[tuple[str, str], int]:
    query = (
        sa.select(adoptions.c.campaign_id, adoptions.c.currency, sa.func.sum(adoptions.c.amount_minor))
        .where(among(connection, adoptions.c.campaign_id, campaign_ids))
        .group_by(adoptions.c.campaign_id, adoptions.c.currency)
    )
    return {(row[0], row[1]): int(row[2] or 0) for row in connection.execute(query)}
