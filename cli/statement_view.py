"""How statements look: a streamer's earnings, a brand's campaigns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import click

from cli import render
from cli.commands import print_json
from cli.tables import local_time, show_table
from reconciler.clock import utc_text
from reconciler.domain.money import format_minor
from reconciler.ledger.reads.brand_statement import CampaignStatement
from reconciler.ledger.reads.general_ledger import Period
from reconciler.ledger.reads.streamer_statement import CurrencyStatement, StreamerBalance, StreamerStatement
from reconciler.reports.tables import Column, Columns, Kind, plain, record, write_csv

EARNINGS_ONLY = (
    "This statement shows earnings, not withdrawals: those are the platform's, and the ledger does not know them."
)

LINE_COLUMNS: Columns = (
    Column("booked_at", Kind.TIME),
    Column("effective_at", Kind.TIME, shown=False),
    Column("kind"),
    Column("campaign_id", Kind.IDENTITY),
    Column("currency", shown=False),
    Column("gross_minor", Kind.AMOUNT),
    Column("fee_minor", Kind.AMOUNT),
    Column("net_minor", Kind.AMOUNT),
    Column("lies"),
    Column("held_minor", Kind.AMOUNT, shown=False),
    Column("wallet_minor", Kind.AMOUNT, shown=False),
    Column("held_after_minor", Kind.AMOUNT, shown=False),
    Column("wallet_after_minor", Kind.AMOUNT, shown=False),
    Column("balance_after_minor", Kind.AMOUNT),
    Column("reason", shown=False),
    Column("key", shown=False),
    Column("corrects", shown=False),
    Column("sequence", Kind.COUNT, shown=False),
)
"""In CSV a currency begins with a row of kind ``opening`` and ends with one of kind ``closing``: only balances."""

STANDING_COLUMNS: Columns = (
    Column("held_minor", Kind.AMOUNT),
    Column("wallet_minor", Kind.AMOUNT),
    Column("total_minor", Kind.AMOUNT),
)
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


def bounds(period: Period) -> dict[str, str | None]:
    """A period's ends for a JSON document, in UTC."""
    return {
        "since": None if period.since is None else utc_text(period.since),
        "until": None if period.until is None else utc_text(period.until),
    }


def show(found: StreamerStatement, period: Period, form: str, zone: ZoneInfo) -> None:
    """A streamer's statement as ``table``, ``json`` or ``csv``."""
    if form == "json":
        print_json(_document(found, period))
    elif form == "csv":
        write_csv((row for one in found.currencies for row in _framed_rows(one)), LINE_COLUMNS, render.result_file())
        click.echo(EARNINGS_ONLY, err=True)
    else:
        _show_table(found, period, zone)


def show_brand(found: Sequence[CampaignStatement], zone: ZoneInfo, *, as_json: bool) -> None:
    """What became of a brand's money."""
    rows = [_brand_row(one) for one in found]
    if as_json:
        print_json({"campaigns": [record(row, BRAND_COLUMNS) for row in rows]})
        return
    show_table(rows, BRAND_COLUMNS, zone, "Campaigns")
    for currency in sorted({one.currency for one in found}):
        of_currency = [one for one in found if one.currency == currency]
        sums = {
            "funded": sum(one.funded_minor for one in of_currency),
            "paid, fees included": sum(one.paid_gross_minor for one in of_currency),
            "of it fees": sum(one.fee_minor for one in of_currency),
            "reversed": sum(one.reversed_gross_minor for one in of_currency),
            "refunded": sum(one.refunded_minor for one in of_currency),
            "adjusted by hand": sum(one.adjusted_minor for one in of_currency),
            "left in escrow": sum(one.left_minor for one in of_currency),
        }
        render.facts(
            f"All campaigns together, {currency}",
            [(name, format_minor(amount, currency)) for name, amount in sums.items()],
        )


def _brand_row(one: CampaignStatement) -> dict[str, Any]:
    row = {name: getattr(one, name) for name in CampaignStatement.__slots__}
    return row | {"brand_id": " ".join(plain(brand) or "" for brand in one.brand_ids)}


def _document(found: StreamerStatement, period: Period) -> dict[str, Any]:
    return {
        "streamer_id": found.streamer_id,
        **bounds(period),
        "note": EARNINGS_ONLY,
        "currencies": [
            {
                "currency": one.currency,
                "opening": _standing(one.opening, one.currency),
                "lines": [record(row, LINE_COLUMNS) for row in _rows(one)],
                "closing": _standing(one.closing, one.currency),
            }
            for one in found.currencies
        ],
    }


def _standing(standing: StreamerBalance, currency: str) -> dict[str, Any]:
    row = {"currency": currency, "held_minor": standing.held_minor, "wallet_minor": standing.wallet_minor}
    return record(row | {"total_minor": standing.total_minor}, STANDING_COLUMNS)


def _rows(one: CurrencyStatement) -> Iterator[dict[str, Any]]:
    for line in one.lines:
        row = {column.name: getattr(line, column.name, None) for column in LINE_COLUMNS}
        yield row | _balances(line.after) | {"currency": one.currency}


def _framed_rows(one: CurrencyStatement) -> Iterator[dict[str, Any]]:
    nothing = {column.name: None for column in LINE_COLUMNS} | {"currency": one.currency}
    yield nothing | {"kind": "opening"} | _balances(one.opening)
    yield from _rows(one)
    yield nothing | {"kind": "closing"} | _balances(one.closing)


def _balances(standing: StreamerBalance) -> dict[str, int]:
    return {
        "held_after_minor": standing.held_minor,
        "wallet_after_minor": standing.wallet_minor,
        "balance_after_minor": standing.total_minor,
    }


def _show_table(found: StreamerStatement, period: Period, zone: ZoneInfo) -> None:
    since = "the beginning" if period.since is None else local_time(period.since, zone)
    until = "now" if period.until is None else local_time(period.until, zone)
    click.echo(f"Earnings of streamer {found.streamer_id}, from {since} until {until}")
    click.echo(EARNINGS_ONLY)
    for one in found.currencies:
        render.facts(f"Opening {one.currency}", _standing_facts(one.opening, one.currency))
        show_table(_rows(one), LINE_COLUMNS, zone, f"Lines {one.currency}")
        render.facts(f"Closing {one.currency}", _standing_facts(one.closing, one.currency))


def _standing_facts(standing: StreamerBalance, currency: str) -> list[tuple[str, str]]:
    return [
        ("held", f"{format_minor(standing.held_minor, currency)} {currency}"),
        ("wallet", f"{format_minor(standing.wallet_minor, currency)} {currency}"),
        ("together", f"{format_minor(standing.total_minor, currency)} {currency}"),
    ]
