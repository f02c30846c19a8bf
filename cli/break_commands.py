"""`breaks list|acknowledge|resolve`: what checks found and is not gone, and what people say about it."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import render
from cli.opening import open_ledger, zone_of
from cli.session import Session, as_json_option, chosen_format, format_option, print_json
from cli.signing import signed
from cli.tables import one_line, show_table
from reconciler.domain.break_memory import ACKNOWLEDGE
from reconciler.domain.breaks import BreakKind, BreakStatus
from reconciler.domain.money import format_minor
from reconciler.exit_codes import ExitCode
from reconciler.ledger.journal.decisions import Signature
from reconciler.ledger.operations.break_decisions import BreakDecisions
from reconciler.ledger.operations.break_records import BreakFilter, BreakLine
from reconciler.look.text import words
from reconciler.queries.breaks import BREAK_COLUMNS, break_row
from reconciler.reports.tables import write_csv, write_json

_ALL = "all"
_STATUSES = [*(one.value for one in (BreakStatus.OPEN, BreakStatus.ACKNOWLEDGED, BreakStatus.CLEARED)), _ALL]
_SEVERITY_STYLE = {"info": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}


@click.command(name="list")
@click.option("--status", type=click.Choice(_STATUSES), default=BreakStatus.OPEN.value, show_default=True)
@click.option("--kind", type=click.Choice([one.value for one in BreakKind]), help="Only this kind.")
@click.option("--campaign", metavar="ID", help="Only this campaign's.")
@format_option("table", "json", "csv")
@as_json_option
@click.pass_obj
def list_(session: Session, *, status: str, kind: str | None, campaign: str | None, form: str | None) -> ExitCode:
    """Breaks that checks found: the worst first, of these the oldest."""
    how = chosen_format(session, form)
    chosen = BreakFilter(
        status=None if status == _ALL else BreakStatus(status),
        kind=kind,
        # The records have plain identities: a type in front says nothing more here.
        campaign_id=None if campaign is None else campaign.removeprefix("oid:").removeprefix("str:"),
    )
    with open_ledger(session) as parts:
        lines, now, zone = parts.breaks.lines(chosen), parts.clock(), zone_of(parts.settings)
    rows = [break_row(line, now) for line in lines]
    if how == "json":
        write_json(rows, BREAK_COLUMNS, sys.stdout, name="breaks", head={"status": status})
    elif how == "csv":
        write_csv(rows, BREAK_COLUMNS, render.result_file())
    elif Console(file=sys.stdout).is_terminal:
        _draw(lines, now, status)
    else:
        show_table(rows, BREAK_COLUMNS, zone)
    return ExitCode.CLEAN


@click.command()
@click.argument("break_id", nargs=-1, required=True)
@signed
@as_json_option
@click.pass_obj
def acknowledge(session: Session, *, break_id: tuple[str, ...], signature: Signature) -> ExitCode:
    """Say that open breaks are known: as they are now, no exit code counts them. They stay in reports, apart."""
    return _say(session, "acknowledged", lambda decisions: decisions.acknowledge(break_id, signature))


@click.command()
@click.argument("break_id", nargs=-1, required=True)
@signed
@as_json_option
@click.pass_obj
def resolve(session: Session, *, break_id: tuple[str, ...], signature: Signature) -> ExitCode:
    """Say that breaks are dealt with: they are closed. If the next check finds one again, it is open and says so."""
    return _say(session, "resolved", lambda decisions: decisions.resolve(break_id, signature))


def _say(session: Session, result: str, decide: Callable[[BreakDecisions], list[str]]) -> ExitCode:
    # No money moves, so MongoDB may be away: what people know of breaks must not wait for what broke.
    with open_ledger(session) as parts:
        decided = decide(BreakDecisions(parts.journal, run_id=str(uuid.uuid4())))
    if session.as_json:
        print_json({"result": result, "breaks": decided})
    else:
        render.facts("Done", [(identity, result) for identity in decided])
    return ExitCode.CLEAN


def _draw(lines: Sequence[BreakLine], now: datetime, status: str) -> None:
    """Three columns: ids must stay in one piece, to be copied, also in 80 columns. What was said comes below."""
    console = Console(file=sys.stdout)
    if not lines:
        console.print("No breaks." if status == _ALL else f"No {status} breaks.", highlight=False)
        return
    title = f"Breaks ({status})"
    table = Table(title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("break", no_wrap=True)
    table.add_column("what, for how long, how much", overflow="fold")
    table.add_column("participation, campaign", overflow="fold")
    for line in lines:
        record = line.record
        age = _age((record.cleared_at or now) - record.first_seen)
        severity = (record.severity, _SEVERITY_STYLE[record.severity])
        what = (words(record.kind), words(one_line(record.reason)), _amount(line))
        table.add_row(
            Text(record.break_id),
            Text.assemble(severity, "\n".join([f", {age}", *(one for one in what if one)])),
            Text("\n".join(one_line(one) for one in (record.participation_id, record.campaign_id) if one)),
        )
    console.print(table)
    for line in lines:
        said = _said(line)
        if said:
            console.print(Text(f"{line.record.break_id}  {said}"), soft_wrap=True)


def _said(line: BreakLine) -> str:
    decision = line.decision
    if line.note or decision is None:
        return line.note
    if line.status is BreakStatus.ACKNOWLEDGED or decision.kind != ACKNOWLEDGE:
        return f"{decision.kind}d by {one_line(decision.by)}: {one_line(decision.reason)}"
    return ""


def _amount(line: BreakLine) -> str:
    record = line.record
    if record.expected_minor is None or record.actual_minor is None or not record.currency:
        return ""
    return f"{format_minor(record.actual_minor - record.expected_minor, record.currency)} {record.currency}"


def _age(age: timedelta) -> str:
    """In the largest unit that is whole: for ages, days matter."""
    seconds = max(0, int(age.total_seconds()))
    for length_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length_s:
            return f"{seconds // length_s} {unit}"
    return f"{seconds} s"
