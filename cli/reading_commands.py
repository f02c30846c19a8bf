"""Commands that read the ledger: balances, statements, the general ledger, the payouts. They need no MongoDB."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from app.ledger import LedgerParts
from cli import payout_view, render, statement_view
from cli.opening import open_ledger, zone_of
from cli.periods import DATE_HELP, moment, period_of
from cli.session import Command, Session, as_json_option, chosen_format, format_option, print_json
from cli.tables import local_time, show_table
from reconciler.clock import utc_text
from reconciler.domain.money import format_minor, minor_digits
from reconciler.domain.posted import PayoutStatus, PostedPayout
from reconciler.errors import UsageError
from reconciler.exit_codes import ExitCode
from reconciler.ledger.reads.general_ledger import account_balances, journal_rows, trial_balance
from reconciler.queries.brand import find_campaigns
from reconciler.queries.payouts import PayoutQuery, find_payout, find_payouts, payout_document
from reconciler.queries.streamer import bounds, find_statement
from reconciler.reports.payout_rows import PAYOUT_COLUMNS
from reconciler.reports.tables import (
    Column,
    Columns,
    Kind,
    record,
    require_parquet,
    write_csv,
    write_json,
    write_parquet,
)

_TABLE_ROWS = 50
"""Payouts that a table shows unless told otherwise: the newest; the formats for machines have all."""

BALANCE_COLUMNS: Columns = (
    Column("account"),
    Column("kind"),
    Column("currency", shown=False),
    Column("balance_minor", Kind.AMOUNT),
    Column("version", Kind.COUNT),
)
TRIAL_COLUMNS: Columns = (
    Column("currency"),
    Column("kind"),
    Column("accounts_count", Kind.COUNT),
    Column("balance_minor", Kind.AMOUNT),
)
JOURNAL_COLUMNS: Columns = (
    Column("sequence", Kind.COUNT),
    Column("leg", Kind.COUNT),
    Column("booked_at", Kind.TIME),
    Column("effective_at", Kind.TIME),
    Column("kind"),
    Column("key"),
    Column("account"),
    Column("account_kind"),
    Column("currency"),
    Column("amount_minor", Kind.AMOUNT),
    Column("reason"),
    Column("corrects"),
    Column("campaign_id", Kind.IDENTITY),
    Column("participation_id", Kind.IDENTITY),
    Column("streamer_id"),
    Column("run_id"),
)


def _period(command: Command) -> Command:
    since = click.option("--since", metavar="TIME", help=f"From this time on. {DATE_HELP}")
    until = click.option("--until", metavar="TIME", help="Until just before this time.")
    return since(until(command))


@click.command()
@click.option("--as-of", metavar="TIME", help=f"As it was after the last entry booked by then. {DATE_HELP}")
@click.option("--account", "prefix", metavar="PREFIX", default="", help="Accounts whose name begins so.")
@as_json_option
@click.pass_obj
def balances(session: Session, *, as_of: str | None, prefix: str) -> ExitCode:
    """What each account holds."""
    with open_ledger(session) as parts:
        at = moment("--as-of", as_of, parts.settings)
        rows = account_balances(parts.engine, as_of=at, prefix=prefix)
        if session.as_json:
            head = {"as_of": None if at is None else utc_text(at)}
            write_json(rows, BALANCE_COLUMNS, sys.stdout, name="balances", head=head)
        else:
            zone = zone_of(parts.settings)
            show_table(rows, BALANCE_COLUMNS, zone, "Balances" + (f" as of {local_time(at, zone)}" if at else ""))
    return ExitCode.CLEAN


@click.command(name="trial-balance")
@click.option("--as-of", metavar="TIME", help=f"As it was after the last entry booked by then. {DATE_HELP}")
@as_json_option
@click.pass_obj
def trial(session: Session, *, as_of: str | None) -> ExitCode:
    """All accounts by kind and currency; the sum of each currency must be zero (exit code 4 if it is not)."""
    with open_ledger(session) as parts:
        at, zone = moment("--as-of", as_of, parts.settings), zone_of(parts.settings)
        lines = trial_balance(parts.engine, as_of=at)
    sums: Counter[str] = Counter()
    for line in lines:
        sums[line.currency] += line.balance_minor
    is_balanced = not any(sums.values())
    if session.as_json:
        print_json(
            {
                "as_of": None if at is None else utc_text(at),
                "lines": [record(line, TRIAL_COLUMNS) for line in lines],
                "sums_minor": dict(sums),
                "is_balanced": is_balanced,
            }
        )
    else:
        show_table(lines, TRIAL_COLUMNS, zone, "Trial balance" + (f" as of {local_time(at, zone)}" if at else ""))
        render.facts(
            "Sums (zero when the books balance)",
            [(currency, format_minor(total, currency)) for currency, total in sums.items()] or [("no accounts", "")],
        )
    if not is_balanced:
        click.echo("The accounts do not sum to zero: run `python run.py ledger verify`.", err=True)
        return ExitCode.HALTED
    return ExitCode.CLEAN


@click.command()
@click.argument("streamer")
@_period
@format_option("table", "json", "csv")
@click.pass_obj
def statement(session: Session, *, streamer: str, since: str | None, until: str | None, form: str | None) -> ExitCode:
    """What STREAMER earned: opening, lines and closing by currency. Earnings, not withdrawals."""
    with open_ledger(session) as parts:
        period = period_of(parts.settings, since, until)
        zone = zone_of(parts.settings)
        found = find_statement(parts.engine, streamer, period)
    statement_view.show(found, period, chosen_format(session, form), zone)
    return ExitCode.CLEAN


@click.command()
@click.argument("brand_or_campaign")
@as_json_option
@click.pass_obj
def brand(session: Session, *, brand_or_campaign: str) -> ExitCode:
    """What became of a brand's money, campaign by campaign; or of one campaign's."""
    with open_ledger(session) as parts:
        found = find_campaigns(parts.engine, brand_or_campaign)
        zone = zone_of(parts.settings)
    statement_view.show_brand(found, zone, as_json=session.as_json)
    return ExitCode.CLEAN


@click.command()
@_period
@format_option("csv", "json")
@click.pass_obj
def journal(session: Session, *, since: str | None, until: str | None, form: str | None) -> ExitCode:
    """The general ledger of a period: a row a leg of every entry, in the order of booking."""
    with open_ledger(session) as parts:
        period = period_of(parts.settings, since, until)
        rows = render.while_read(journal_rows(parts.engine, period))
        if chosen_format(session, form, "csv") == "json":
            write_json(rows, JOURNAL_COLUMNS, sys.stdout, name="journal", head=bounds(period))
        else:
            write_csv(rows, JOURNAL_COLUMNS, render.result_file())
    return ExitCode.CLEAN


@click.command(name="list")
@_period
@click.option("--campaign", metavar="ID", help="Only this campaign's.")
@click.option("--streamer", metavar="ID", help="Only this streamer's.")
@click.option(
    "--status",
    type=click.Choice([one.value for one in PayoutStatus]),
    help="Where it stands; pending: MongoDB was not told everything yet.",
)
@click.option("--trigger", metavar="NAME", help="What set the payment off: sweep, watch, full_check, …")
@click.option("--currency", metavar="CODE", help="ISO 4217.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"Only the newest so many, newest first; default of a table: {_TABLE_ROWS}.",
)
@format_option("table", "csv", "json", "parquet")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="The file that parquet is written to.")
@click.pass_obj
def list_(
    session: Session,
    *,
    since: str | None,
    until: str | None,
    campaign: str | None,
    streamer: str | None,
    status: str | None,
    trigger: str | None,
    currency: str | None,
    limit: int | None,
    form: str | None,
    output: Path | None,
) -> ExitCode:
    """Payouts and reversals: a row each, reversals with negative amounts, so that a plain sum is right."""
    chosen_form = chosen_format(session, form)
    if (chosen_form == "parquet") != (output is not None):
        raise UsageError("--format parquet and --output FILE go together")
    if chosen_form == "parquet":
        require_parquet()
    if currency is not None and minor_digits(currency) is None:
        raise UsageError(f"{currency!r} is not a currency of ISO 4217")
    with open_ledger(session) as parts:
        chosen = PayoutQuery(
            period=period_of(parts.settings, since, until),
            campaign=campaign,
            streamer=streamer,
            status=status,
            trigger=trigger,
            currency=currency,
            limit=limit if limit is not None or chosen_form != "table" else _TABLE_ROWS,
        )
        _write_payouts(render.while_read(find_payouts(parts.engine, chosen)), chosen, chosen_form, output, parts)
    return ExitCode.CLEAN


def _write_payouts(
    rows: Iterator[PostedPayout], chosen: PayoutQuery, form: str, output: Path | None, parts: LedgerParts
) -> None:
    columns = PAYOUT_COLUMNS
    if form == "csv":
        write_csv(rows, columns, render.result_file())
    elif form == "json":
        write_json(rows, columns, sys.stdout, name="payouts", head=bounds(chosen.period))
    elif output is not None:
        count = write_parquet(rows, columns, output)
        click.echo(f"Wrote {count} rows to {output}.", err=True)
    elif show_table(rows, columns, zone_of(parts.settings), "Payouts, newest first") == chosen.limit:
        click.echo(f"These are the newest {chosen.limit}; --limit shows more, --format csv all.", err=True)


@click.command()
@click.argument("payout")
@as_json_option
@click.pass_obj
def show(session: Session, *, payout: str) -> ExitCode:
    """All about PAYOUT: its key, or the participation it pays."""
    with open_ledger(session) as parts:
        found, zone = find_payout(parts.engine, payout), zone_of(parts.settings)
    if not found:
        raise UsageError(f"the ledger has no payout {payout!r}")
    named = {one.line.participation_id for one in found}
    if len(named) > 1:
        raise UsageError(f"{payout!r} may be {' or '.join(sorted(named))}: give it with its type")
    if session.as_json:
        print_json({"payouts": [payout_document(one) for one in found]})
    else:
        for one in found:
            payout_view.show(one, zone)
    return ExitCode.CLEAN
