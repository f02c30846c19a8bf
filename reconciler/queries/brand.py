"""What became of a brand's money, campaign by campaign."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.ledger.engine import Engine
from reconciler.ledger.reads.brand_statement import CampaignStatement, brand_statement
from reconciler.queries import Document
from reconciler.queries.identities import UnknownName, tagged_forms
from reconciler.reports.tables import Column, Columns, Kind, plain

BRAND_COLUMNS: Columns = (
    Column("campaign_id", Kind.IDENTITY),
    Column("brand_id"),
    Column("currency", shown=False),
    Column("budget_minor", Kind.AMOUNT),
    Column("funded_minor", Kind.AMOUNT),
    Column("payouts_count", Kind.COUNT),
    Column("paid_gross_minor", Kind.AMOUNT),
    Column("fee_minor", Kind.AMOUNT),
    Column("reversed_gross_minor", Kind.AMOUNT),
    Column("refunded_minor", Kind.AMOUNT),
    Column("adjusted_minor", Kind.AMOUNT, shown=False),
    Column("left_minor", Kind.AMOUNT),
    Column("open_holds_count", Kind.COUNT),
    Column("open_holds_minor", Kind.AMOUNT),
    Column("settled_before_us_minor", Kind.AMOUNT, shown=False),
)


def find_campaigns(engine: Engine, text: str) -> Sequence[CampaignStatement]:
    """The campaigns of the brand that a text names, or the campaign that it names. Raises UnknownName for none."""
    found = brand_statement(engine, tagged_forms(text))
    if not found:
        raise UnknownName(f"the ledger has no brand or campaign {text!r}")
    return found


def brand_row(one: CampaignStatement) -> Document:
    """A campaign by the names of BRAND_COLUMNS."""
    row = {name: getattr(one, name) for name in CampaignStatement.__slots__}
    return row | {"brand_id": " ".join(plain(brand) or "" for brand in one.brand_ids)}
