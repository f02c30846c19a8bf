"""`report list|show|diff`: the reports of earlier checks, from the files they were written to."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import render, report_difference_view
from cli.opening import open_ledger, zone_of
from cli.report_view import show_report
from cli.session import Session, as_json_option, chosen_format, print_json
from cli.tables import one_line, show_table
from reconciler.errors import UsageError
from reconciler.exit_codes import ExitCode
from reconciler.queries.reports import REPORT_COLUMNS, check_rows
from reconciler.reports.difference import difference
from reconciler.reports.folder import LATEST, ReportFolder
from reconciler.reports.stored import StoredReport, read_breaks, read_report
from reconciler.reports.tables import record

_LISTED_MAX = 30


@click.command(name="list")
@click.option(
    "--limit", type=click.IntRange(min=1), default=_LISTED_MAX, show_default=True, help="Only the newest so many."
)
@as_json_option
@click.pass_obj
def list_(session: Session, *, limit: int) -> ExitCode:
    """Checks, the newest first: their reports, and those that failed or were interrupted with the reason."""
    with open_ledger(session) as parts:
        folder, zone = ReportFolder(parts.settings.reports.directory), zone_of(parts.settings)
        rows = check_rows(folder, parts.runs, limit)
    if session.as_json:
        print_json({"directory": str(folder.directory), "reports": [_as_json(row) for row in rows]})
    elif Console(file=sys.stdout).is_terminal:
        _draw(rows, f"Checks, newest first ({folder.directory})")
    else:
        show_table(rows, REPORT_COLUMNS, zone)
    return ExitCode.CLEAN


@click.command()
@click.argument("report_id", default=LATEST)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "html", "parquet"]),
    help="Which of its files; default: a table of what matters.",
)
@click.pass_obj
def show(session: Session, *, report_id: str, form: str | None) -> ExitCode:
    """Show REPORT_ID, or the newest whole one (latest). Files go to stdout as they are."""
    folder = ReportFolder(session.settings().reports.directory)
    how = chosen_format(session, form)
    if how == "table":
        found = read_report(folder, report_id)
        show_report(found.document, found.path)
    elif how == "json":
        print_json(dict(read_report(folder, report_id).document))
    elif how == "parquet" and sys.stdout.isatty():
        raise UsageError("a Parquet file is nothing for a terminal: send it to a file or another program (> FILE)")
    else:
        _send(folder, report_id, f".{how}")
    return ExitCode.CLEAN


@click.command()
@click.argument("before")
@click.argument("after", default=LATEST)
@as_json_option
@click.pass_obj
def diff(session: Session, *, before: str, after: str) -> ExitCode:
    """What appeared, went away or changed from the report BEFORE to AFTER (latest)."""
    folder = ReportFolder(session.settings().reports.directory)
    reports = [read_report(folder, before), read_report(folder, after)]
    rows = [read_breaks(folder, one, name) for one, name in zip(reports, (before, after), strict=True)]
    found = difference(*rows)
    if not all(one.is_whole for one in reports):
        click.echo(
            "A check of one campaign has no breaks of the others: they are listed as gone or appeared.", err=True
        )
    if session.as_json:
        changed = [{"before": asdict(one.before), "after": asdict(one.after)} for one in found.changed]
        print_json(
            {
                "before": reports[0].report_id,
                "after": reports[1].report_id,
                "appeared": [asdict(one) for one in found.appeared],
                "gone": [asdict(one) for one in found.gone],
                "changed": changed,
                "totals": _totals(*reports),
            }
        )
    else:
        report_difference_view.show(found, (reports[0].report_id, reports[1].report_id))
    return ExitCode.CLEAN


def _draw(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Narrow enough for 80 columns, with the ids in one piece: they are to be copied."""
    if not rows:
        render.facts(title, [("none", "run `python run.py --full-check`")])
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("report", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name in ("breaks", "new", "cleared"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note", overflow="fold")
    for row in rows:
        counts = ("" if row[name] is None else str(row[name]) for name in ("breaks", "new", "cleared"))
        verdict = Text(one_line(str(row["verdict"] or "?")))
        table.add_row(row["report_id"], verdict, *counts, Text(one_line(row["note"])))
    Console(file=sys.stdout).print(table)


def _as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**record(row, REPORT_COLUMNS), "files": row["files"]}


def _send(folder: ReportFolder, report_id: str, suffix: str) -> None:
    path = folder.existing(report_id, suffix)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    sys.stdout.flush()
    if sys.stdout.isatty():
        render.result_file().write(content.decode(errors="replace"))
        return
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _totals(before: StoredReport, after: StoredReport) -> list[dict[str, Any]]:
    """Control totals that moved: currency, name, before and after, in minor units."""
    names = ("expected_minor", "paid_minor", "held_minor", "reversed_minor", "refunded_minor", "unexplained_minor")
    found: list[dict[str, Any]] = []
    by_currency = [{one["currency"]: one for one in report.document["totals"]} for report in (before, after)]
    for currency in sorted({*by_currency[0], *by_currency[1]}):
        for name in names:
            values = [one.get(currency, {}).get(name, 0) for one in by_currency]
            if values[0] != values[1]:
                found.append({"currency": currency, "name": name, "before": values[0], "after": values[1]})
    return found
