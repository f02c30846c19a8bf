"""A report on a terminal: the verdict in the first line, then the numbers, then what to do; plain lines when piped.

Drawn from the JSON document, so that a stored report looks as it did when it was made.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from cli import render
from cli.tables import one_line
from reconciler.domain.breaks import BreakStatus
from reconciler.domain.money import format_minor, minor_digits
from reconciler.look.text import money, share, words
from reconciler.reports.break_rows import age_text, next_command
from reconciler.reports.verdict import verdict_of

_SHOWN_MAX = 10
_PIPED_MAX = 20
_STYLES = {"good": "bold green", "warn": "bold yellow", "bad": "bold red", "critical": "bold red"}
_SEVERITY_STYLE = {"info": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
_AMOUNTS = (
    ("expected", "expected_minor"),
    ("paid", "paid_minor"),
    ("held", "held_minor"),
    ("reversed", "reversed_minor"),
    ("refunded", "refunded_minor"),
    ("difference", "difference_minor"),
    ("explained by holds and breaks", "explained_minor"),
    ("unexplained", "unexplained_minor"),
)


def show_report(document: Mapping[str, Any], path: Path) -> None:
    """What a check found; ``path`` is its JSON file. ``document`` has all its breaks, or the first, as a file has."""
    rows: Sequence[Mapping[str, Any]] = document["breaks"]
    statuses = Counter(row["status"] for row in rows)
    # Amounts of a currency that nobody knows, in a file that was edited, are shown as they are and in no sentence.
    known = {**document, "totals": [one for one in document["totals"] if minor_digits(one["currency"]) is not None]}
    verdict = verdict_of(known, Counter(row["severity"] for row in rows if row["status"] == BreakStatus.OPEN))
    repairs, or_more = document["repairs"], " or more" if _rest_of(document) else ""
    render.line(
        f"{verdict.word.upper()}: {document['completeness']['participations']} participations checked, "
        f"{statuses[BreakStatus.OPEN]}{or_more} open breaks, {repairs['paid']} paid and {repairs['projected']} effects "
        "repaired by this check",
        style=_STYLES[verdict.tone],
    )
    for note in verdict.notes:
        render.line(one_line(note))
    render.line(one_line(f"{document['report_id']}: {document['started_at']} to {document['finished_at']}"))
    if document["carried"]:
        carried = ", ".join(f"{count} {words(name)}" for name, count in document["carried"].items())
        render.line(one_line(f"Breaks since the check before: {carried}"))
    if render.is_terminal():
        _draw(document, rows)
    else:
        _print(document, rows)
    render.line(f"Report: {path}")
    page = path.with_suffix(".html")
    if page.exists():
        render.line(f"To read and to print: {page}")


def _draw(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    if document["totals"]:
        _draw_totals(document["totals"])
    _draw_completeness(document["completeness"])
    if document["withheld"]:
        _draw_withheld(document["withheld"])
    if rows:
        _draw_kinds(rows, document["breaks_by_kind"])
    _draw_breaks(rows, _rest_of(document))


def _draw_totals(totals: Sequence[Mapping[str, Any]]) -> None:
    """A column a currency: there are few of them, and the amounts are long."""
    table = _table("Control totals")
    table.add_column("", style="dim")
    for one in totals:
        table.add_column(Text(one_line(one["currency"])), justify="right", no_wrap=True)
    for name, key in _AMOUNTS:
        is_alarm = key == "unexplained_minor"
        cells = [
            Text(_money(one[key], one["currency"]), style="bold red" if is_alarm and one[key] else "") for one in totals
        ]
        table.add_row("explained" if key == "explained_minor" else name, *cells)
    render.console().print(table)


def _draw_completeness(parts: Mapping[str, int]) -> None:
    table = _table("Completeness", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(justify="right", style="dim")
    whole = parts["participations"]
    for name, count in parts.items():
        table.add_row(
            Text(one_line(words(name))), f"{count:,}", "" if name == "participations" else share(count, whole)
        )
    render.console().print(table)


def _draw_withheld(rows: Sequence[Mapping[str, Any]]) -> None:
    """Few rows: one for each decision that keeps somebody from being paid."""
    table = _table("Withheld by somebody's decision")
    table.add_column("")
    table.add_column("participations", justify="right")
    table.add_column("would be paid", justify="right", no_wrap=True)
    for one in rows:
        table.add_row(Text(one_line(_why_withheld(one))), f"{one['participations']:,}", Text(one_line(_would_be(one))))
    render.console().print(table)


def _why_withheld(row: Mapping[str, Any]) -> str:
    return words(row["reason"]) + (f": {words(row['status'])}" if row["status"] else "")


def _would_be(row: Mapping[str, Any], *, is_plain: bool = False) -> str:
    return f"{_money(row['gross_minor'], row['currency'], is_plain=is_plain)} {row['currency']}"


def _draw_kinds(rows: Sequence[Mapping[str, Any]], by_kind: Mapping[str, int]) -> None:
    found = Counter((row["kind"], row["status"]) for row in rows)
    statuses = [status for status in BreakStatus if any(one == status for _, one in found)]
    table = _table("Breaks by kind")
    table.add_column("")
    for status in statuses:
        table.add_column(status.value, justify="right")
    listed = Counter(row["kind"] for row in rows)
    # The rows of a file may be the first only; then the last column has what there is in all.
    is_partial = sum(by_kind.values()) > len(rows)
    if is_partial:
        table.add_column("in all", justify="right")
    kinds = Counter(by_kind) if is_partial else listed
    for kind, count in sorted(kinds.items(), key=lambda one: (-one[1], one[0])):
        table.add_row(
            Text(one_line(words(kind))),
            *(str(found[kind, status] or "") for status in statuses),
            *([str(count)] if is_partial else []),
        )
    render.console().print(table)


def _draw_breaks(rows: Sequence[Mapping[str, Any]], rest_count: int) -> None:
    """Those that are open, a paragraph each: identities and commands are to be copied, and no column is that wide."""
    waiting = [row for row in rows if row["status"] == BreakStatus.OPEN]
    if not waiting:
        _say_rest(rest_count)
        return
    console = render.console()
    console.print(Text("Open breaks, the worst first", style="italic"))
    for row in waiting[:_SHOWN_MAX]:
        style = _SEVERITY_STYLE.get(row["severity"], "")
        amount = (
            "" if row["delta_minor"] is None else f"{_money(row['delta_minor'], row['currency'])} {row['currency']}"
        )
        named = f"break {row['break_id']}"
        told = "  ".join(one for one in (words(row["reason"]), amount, _age(row), named) if one)
        console.print(
            Text.assemble(
                (row["severity"], style), "  ", (one_line(words(row["kind"])), "bold"), f"  {one_line(told)}"
            ),
            soft_wrap=True,
        )
        names = (("participation", "participation_id"), ("campaign", "campaign_id"))
        whose = "  ".join(f"{name} {one_line(str(row[key]))}" for name, key in names if row[key])
        if whose:
            console.print(Text(f"    {whose}", style="dim"), soft_wrap=True)
        console.print(Text(f"    {one_line(row['detail'])}"), soft_wrap=True)
        console.print(Text(f"    {next_command(row) or one_line(row['action'])}", style="cyan"), soft_wrap=True)
    _say_rest(max(0, len(waiting) - _SHOWN_MAX) + rest_count)


def _print(document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    render.facts("Completeness", [(one_line(part), str(count)) for part, count in document["completeness"].items()])
    withheld = [
        (
            one_line(_why_withheld(one)),
            one_line(f"{one['participations']} participations, {_would_be(one, is_plain=True)}"),
        )
        for one in document["withheld"]
    ]
    if withheld:
        render.facts("Withheld", withheld)
    for one in document["totals"]:
        currency = one["currency"]
        render.facts(
            f"Control totals {one_line(currency)} ({one['counts']['payouts']} payouts)",
            [(name, _money(one[key], currency, is_plain=True)) for name, key in _AMOUNTS],
        )
    kinds = [(one_line(kind), str(count)) for kind, count in document["breaks_by_kind"].items()]
    render.facts("Breaks by kind", kinds or [("none", "")])
    for row in rows[:_PIPED_MAX]:
        identity = one_line(row["participation_id"] or row["campaign_id"] or "-")
        status, command = row["status"], next_command(row)
        next_step = f" | {command}" if command and status == BreakStatus.OPEN else ""
        by = f" by {row['acknowledged_by']} ({row['acknowledged_reason']})" if row["acknowledged_by"] else ""
        named = f" [{row['break_id']}]"
        sys.stdout.write(
            f"  {row['severity']} {one_line(row['kind'])} {identity} {one_line(status)}{one_line(by + named)}: "
            f"{one_line(row['detail'])}{next_step}\n"
        )
    _say_rest(max(0, len(rows) - _PIPED_MAX) + _rest_of(document))


def _rest_of(document: Mapping[str, Any]) -> int:
    """Breaks that the document counts and does not list."""
    counted: int = sum(document["breaks_by_kind"].values())
    return max(0, counted - len(document["breaks"]))


def _money(amount_minor: int, currency: str, *, is_plain: bool = False) -> str:
    if minor_digits(currency) is None:
        return str(amount_minor)
    return format_minor(amount_minor, currency) if is_plain else money(amount_minor, currency)


def _say_rest(count: int) -> None:
    if count > 0:
        render.line(f"… and {count} more in the report")


def _age(row: Mapping[str, Any]) -> str:
    return f"for {age_text(row['age_s'])}" if row["age_s"] else "new"


def _table(title: str, *, show_header: bool = True) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE, show_header=show_header)
