"""How statements look: a streamer's earnings, a brand's campaigns."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import click

from cli import render
from cli.session import print_json
from cli.tables import local_time, show_table
from reconciler.domain.money import format_minor
from reconciler.ledger.reads.brand_statement import CampaignStatement
from reconciler.ledger.reads.general_ledger import Period
from reconciler.ledger.reads.streamer_statement import StreamerBalance, StreamerStatement
from reconciler.queries.brand import BRAND_COLUMNS, brand_row
from reconciler.queries.streamer import EARNINGS_ONLY, LINE_COLUMNS, framed_rows, statement_document, statement_rows
from reconciler.reports.tables import record, write_csv


def show(found: StreamerStatement, period: Period, form: str, zone: ZoneInfo) -> None:
    """A streamer's statement as ``table``, ``json`` or ``csv``."""
    if form == "json":
        print_json(statement_document(found, period))
    elif form == "csv":
        write_csv((row for one in found.currencies for row in framed_rows(one)), LINE_COLUMNS, render.result_file())
        click.echo(EARNINGS_ONLY, err=True)
    else:
        _show_table(found, period, zone)


def show_brand(found: Sequence[CampaignStatement], zone: ZoneInfo, *, as_json: bool) -> None:
    """What became of a brand's money."""
    rows = [brand_row(one) for one in found]
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


def _show_table(found: StreamerStatement, period: Period, zone: ZoneInfo) -> None:
    since = "the beginning" if period.since is None else local_time(period.since, zone)
    until = "now" if period.until is None else local_time(period.until, zone)
    click.echo(f"Earnings of streamer {found.streamer_id}, from {since} until {until}")
    click.echo(EARNINGS_ONLY)
    for one in found.currencies:
        render.facts(f"Opening {one.currency}", _balance_facts(one.opening, one.currency))
        show_table(statement_rows(one), LINE_COLUMNS, zone, f"Lines {one.currency}")
        render.facts(f"Closing {one.currency}", _balance_facts(one.closing, one.currency))


def _balance_facts(balance: StreamerBalance, currency: str) -> list[tuple[str, str]]:
    return [
        ("held", f"{format_minor(balance.held_minor, currency)} {currency}"),
        ("wallet", f"{format_minor(balance.wallet_minor, currency)} {currency}"),
        ("together", f"{format_minor(balance.total_minor, currency)} {currency}"),
    ]
