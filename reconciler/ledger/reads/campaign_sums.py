"""What was paid of some campaigns, and who funded them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.domain.accounts import kind_of
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.ledger.key_lists import among
from reconciler.ledger.schema import fundings, payouts, postings

ALL_KINDS = payouts.c.kind.in_(("payout", "reversal"))
"""All kinds there are: the index on campaigns begins with the kind, and without one the whole table is read."""


def either_kind(campaign_id: str) -> list[str]:
    """The tagged forms that a plain identity may have."""
    return [f"{kind.value}:{campaign_id}" for kind in IdKind]


def net_paid(connection: Connection, campaign_ids: Sequence[DocumentId]) -> dict[DocumentId, tuple[int, str]]:
    """Campaign → net amount paid in minor units (reversals taken off), and its currency; in the order of identities."""
    sums = _sums(connection, [one.tagged for one in campaign_ids], payouts.c.amount_minor)
    return {DocumentId.from_tagged(campaign): (minor, currency) for (campaign, currency), minor in sums.items()}


def gross_paid(connection: Connection, campaign_ids: Sequence[str]) -> dict[tuple[str, str], int]:
    """(tagged campaign, currency) → what was paid, fees included and reversals taken off, in minor units."""
    return _sums(connection, campaign_ids, payouts.c.gross_minor)


def gross_paid_minor(connection: Connection, campaign_id: str) -> int:
    """What was paid of a campaign (tagged), fees included and reversals taken off, in minor units."""
    return sum(gross_paid(connection, [campaign_id]).values())


def brands_of(connection: Connection, campaign_ids: Sequence[str]) -> dict[str, set[str]]:
    """Campaign → the brands from whose accounts it was funded, all tagged: several when its brand was changed."""
    query = (
        sa.select(fundings.c.campaign_id, postings.c.account)
        .distinct()
        .join_from(fundings, postings, postings.c.sequence == fundings.c.sequence)
        .where(among(connection, fundings.c.campaign_id, campaign_ids))
    )
    found: dict[str, set[str]] = defaultdict(set)
    for campaign_id, account in connection.execute(query):
        if kind_of(account) == "funding":
            found[campaign_id].add(account.removeprefix("brand:").removesuffix(":funding"))
    return found


def _sums(connection: Connection, campaign_ids: Sequence[str], column: sa.Column[int]) -> dict[tuple[str, str], int]:
    query = (
        sa.select(payouts.c.campaign_id, payouts.c.currency, sa.func.sum(column))
        .where(ALL_KINDS, among(connection, payouts.c.campaign_id, campaign_ids))
        .group_by(payouts.c.campaign_id, payouts.c.currency)
        .order_by(payouts.c.campaign_id)
    )
    return {(campaign, currency): int(total) for campaign, currency, total in connection.execute(query)}
