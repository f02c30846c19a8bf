"""How results look: tables on a terminal, plain `name: value` lines when piped. Only results go to stdout."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, TextIO, TypeVar, cast

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cli.session import print_json
from cli.starting import is_unread
from cli.tables import one_line
from reconciler.domain.money import format_minor
from reconciler.escaping import escaped
from reconciler.exit_codes import ExitCode

if TYPE_CHECKING:
    from jobs.payment.sweep import SweepResult
    from reconciler.ports.journal import AccountChange

_BREAKS_SHOWN_MAX = 20
_LINES = "\n\t"

T = TypeVar("T")


def sweep(result: SweepResult) -> None:
    """What a sweep did."""
    settled = result.settled
    verb = "would pay" if result.dry_run else "paid"
    rows = [
        ("due", str(settled.due)),
        (verb, _paid(settled.paid, settled.paid_minor)),
        ("held (over budget)", str(settled.held)),
        *((f"skipped: {reason}", str(count)) for reason, count in sorted(settled.skipped.items()) if count),
        ("malformed campaigns", str(result.malformed_campaigns)),
        ("effects applied", str(settled.projected)),
        ("effects blocked", str(result.blocked)),
        ("seconds", f"{result.duration_s:.2f}"),
    ]
    if result.account_changes:
        _account_changes(result.account_changes)
    title = "Sweep (dry run: nothing was paid)" if result.dry_run else "Sweep"
    if not result.complete:
        title += " - stopped before its end"
    facts(title, rows)


def migration(before: str | None, after: str, created: Sequence[str]) -> None:
    """What a migration changed."""
    ledger = f"at {after} already" if before == after else f"{before or 'empty'} -> {after}"
    facts("Migration", [("ledger", ledger), *(("index created", name) for name in created)])


def facts(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Names and values under a title."""
    if not is_terminal():
        sys.stdout.write(f"{title}\n" + "".join(f"  {name}: {escaped(value, keep=_LINES)}\n" for name, value in rows))
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(Text(name), Text(escaped(value, keep=_LINES)))
    console().print(table)


def done(document: Mapping[str, object], *, as_json: bool) -> ExitCode:
    """What a command did: the same document for a program and for a person."""
    if as_json:
        print_json(dict(document))
    else:
        facts("Done", [(name, str(value)) for name, value in document.items()])
    return ExitCode.CLEAN


def rows(title: str, columns: Sequence[str], found: Sequence[Mapping[str, object]]) -> None:
    """A table of rows; tab-separated lines when piped."""
    if not is_terminal():
        sys.stdout.write("\t".join(columns) + "\n")
        for row in found:
            sys.stdout.write("\t".join(one_line(str(row[column])) for column in columns) + "\n")
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in found:
        table.add_row(*(Text(one_line(str(row[column]))) for column in columns))
    console().print(table)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr while something long runs, if a person is watching."""
    watched = Console(stderr=True)
    if not watched.is_terminal:
        yield lambda _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=watched, transient=True) as bar:
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
        line(f"… and {len(changes) - len(shown)} more accounts (--json has the first 1000)")


def _paid(count: int, paid_minor: Mapping[str, int]) -> str:
    amounts = ", ".join(f"{format_minor(minor, currency)} {currency}" for currency, minor in sorted(paid_minor.items()))
    return f"{count} ({amounts})" if amounts else str(count)


def line(text: str, style: str = "") -> None:
    """One line of text, as long as it is."""
    text = escaped(text, keep=_LINES)
    # Only a terminal goes through rich: it ends the process by itself when whoever reads a pipe has gone.
    if is_terminal():
        console().print(Text(text, style=style), soft_wrap=True)
    else:
        sys.stdout.write(f"{text}\n")


class _Watched(io.TextIOBase):
    """A terminal that obeys nothing of what is written to it."""

    def write(self, text: str, /) -> int:
        """Write it with escapes for what a terminal would obey."""
        return sys.stdout.write(escaped(text, keep="\r\n\t"))


def result_file() -> TextIO:
    """Where a command writes a file that it was asked for: to a program as it is, to a person to be read."""
    return cast("TextIO", _Watched()) if sys.stdout.isatty() else sys.stdout


def while_read(rows: Iterable[T]) -> Iterator[T]:
    """The rows, for as long as somebody takes what is written of them."""
    return takewhile(lambda _row: not is_unread(), rows)


def is_terminal() -> bool:
    """Whether a person looks at stdout, and not a program."""
    return console().is_terminal


def console() -> Console:
    """The terminal of stdout."""
    return Console(file=sys.stdout)
