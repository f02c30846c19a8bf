"""How results look: tables on a terminal, plain `name: value` lines when piped. Only results go to stdout."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from jobs.sweep import SweepResult
from reconciler.domain.money import format_minor
from reconciler.ports import AccountChange
from reconciler.reports.model import Report, Sighting

_BREAKS_SHOWN_MAX = 20
_VERDICT_STYLE = {"clean": "bold green", "repaired": "bold green", "breaks": "bold yellow", "halted": "bold red"}
_SEVERITY_STYLE = {"info": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}


def sweep(result: SweepResult) -> None:
    """What a sweep did."""
    settlement = result.settlement
    verb = "would pay" if result.dry_run else "paid"
    rows = [
        ("due", str(settlement.due)),
        (verb, _paid(settlement.paid, settlement.paid_minor)),
        ("held (over budget)", str(settlement.held)),
        *((f"skipped: {reason}", str(count)) for reason, count in sorted(settlement.skipped.items()) if count),
        ("malformed campaigns", str(result.malformed_campaigns)),
        ("effects applied", str(settlement.projected)),
        ("effects blocked", str(result.blocked)),
        ("seconds", f"{result.duration_s:.2f}"),
    ]
    if result.account_changes:
        _account_changes(result.account_changes)
    title = "Sweep (dry run: nothing was paid)" if result.dry_run else "Sweep"
    if not result.complete:
        title += " - stopped before its end"
    facts(title, rows)


def report(found: Report, path: Path) -> None:
    """What a check found: the verdict first."""
    headline = (
        f"{found.verdict.upper()}: {found.completeness.participations} participations checked, "
        f"{sum(one.is_open for one in found.sightings)} open breaks, "
        f"{found.repairs['paid']} paid and {found.repairs['projected']} effects repaired by this check"
    )
    _line(headline, style=_VERDICT_STYLE[found.verdict])
    facts("Completeness", [(part, str(count)) for part, count in found.completeness.as_json().items()])
    _totals(found)
    facts("Breaks by kind", [(kind, str(count)) for kind, count in found.breaks_by_kind().items()] or [("none", "")])
    _breaks(found.sightings)
    _line(f"Report: {path}")


def migration(before: str | None, after: str, created: Sequence[str]) -> None:
    """What a migration changed."""
    ledger = f"at {after} already" if before == after else f"{before or 'empty'} -> {after}"
    facts("Migration", [("ledger", ledger), *(("index created", name) for name in created)])


def facts(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Names and values under a title."""
    if not _is_terminal():
        sys.stdout.write(f"{title}\n" + "".join(f"  {name}: {value}\n" for name, value in rows))
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    _console().print(table)


def rows(title: str, columns: Sequence[str], found: Sequence[Mapping[str, object]]) -> None:
    """A table of rows; tab-separated lines when piped."""
    if not _is_terminal():
        sys.stdout.write("\t".join(columns) + "\n")
        for row in found:
            sys.stdout.write("\t".join(_one_line(str(row[column])) for column in columns) + "\n")
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in found:
        table.add_row(*(Text(_one_line(str(row[column]))) for column in columns))
    _console().print(table)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr while something long runs, if a person is watching."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=max(done, total))


def _account_changes(changes: Sequence[AccountChange]) -> None:
    shown = [
        {
            "account": change.account,
            "before": format_minor(change.before_minor, change.currency),
            "after": format_minor(change.after_minor, change.currency),
            "currency": change.currency,
        }
        for change in changes[:_BREAKS_SHOWN_MAX]
    ]
    rows("Accounts before and after", ("account", "before", "after", "currency"), shown)
    if len(changes) > len(shown):
        _line(f"… and {len(changes) - len(shown)} more accounts (--json has the first 1000)")


def _totals(found: Report) -> None:
    for one in found.totals:
        amounts = {
            "expected": one.expected_minor,
            "paid": one.paid_minor,
            "held": one.held_minor,
            "difference": one.difference_minor,
            "explained by holds and breaks": one.explained_minor,
            "unexplained": one.difference_minor - one.explained_minor,
        }
        rows = [(name, format_minor(amount, one.currency)) for name, amount in amounts.items()]
        facts(f"Control totals {one.currency} ({one.payouts_count} payouts)", rows)


def _breaks(sightings: Sequence[Sighting]) -> None:
    shown = list(sightings[:_BREAKS_SHOWN_MAX])
    if not shown:
        return
    rest = len(sightings) - len(shown)
    if not _is_terminal():
        for one in shown:
            found = one.found
            identity = found.participation_id or found.campaign_id or "-"
            sys.stdout.write(
                f"  {found.severity.label} {found.kind.value} {identity} {one.status}: {_one_line(found.detail)}\n"
            )
    else:
        table = Table(title="Breaks", title_justify="left", box=box.SIMPLE)
        for column in ("severity", "kind", "participation", "campaign", "why", "state"):
            table.add_column(column, overflow="fold")
        for one in shown:
            found = one.found
            table.add_row(
                Text(found.severity.label, style=_SEVERITY_STYLE[found.severity.label]),
                Text(found.kind.value),
                Text(found.participation_id),
                Text(found.campaign_id),
                Text(_one_line(found.detail)),
                Text(one.status),
            )
        _console().print(table)
    if rest > 0:
        _line(f"… and {rest} more in the report")


def _paid(count: int, paid_minor: Mapping[str, int]) -> str:
    amounts = ", ".join(f"{format_minor(minor, currency)} {currency}" for currency, minor in sorted(paid_minor.items()))
    return f"{count} ({amounts})" if amounts else str(count)


def _one_line(text: str) -> str:
    """Text from documents may hold line breaks and terminal control characters."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _line(text: str, style: str = "") -> None:
    # Only a terminal goes through rich: it ends the process by itself when whoever reads a pipe has gone.
    if _is_terminal():
        _console().print(Text(text, style=style), soft_wrap=True)
    else:
        sys.stdout.write(f"{text}\n")


def _is_terminal() -> bool:
    return _console().is_terminal


def _console() -> Console:
    return Console(file=sys.stdout)
