"""Tables for people: drawn on a terminal, tab-separated lines when piped. Times in ``reports.timezone``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.domain.money import format_minor
from reconciler.reports.tables import Column, Columns, Kind, plain, value_of

_ROWS_A_TABLE = 500
"""Rows drawn at once: a drawn table is held in memory, and its columns are as wide as its widest cell."""
_TO_THE_RIGHT = {Kind.AMOUNT, Kind.COUNT}


def show_table(rows: Iterable[object], columns: Columns, zone: ZoneInfo, title: str = "") -> int:
    """Show rows as they come; returns how many there were."""
    shown = [column for column in columns if column.shown]
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        return _lines(rows, shown, zone, title)
    count, waiting = 0, iter(rows)
    while chunk := list(islice(waiting, _ROWS_A_TABLE)):
        table = Table(title=title if count == 0 and title else None, title_justify="left", box=box.SIMPLE)
        for column in shown:
            table.add_column(
                column.heading, justify="right" if column.kind in _TO_THE_RIGHT else "left", overflow="fold"
            )
        for row in chunk:
            table.add_row(*(Text(text) for text in texts_of(row, shown, zone)))
        console.print(table)
        count += len(chunk)
    if count == 0:
        console.print(f"{title}: none" if title else "none", highlight=False)
    return count


def texts_of(row: object, columns: Sequence[Column], zone: ZoneInfo) -> list[str]:
    """The cells of a row as people read them."""
    return [_text(row, column, zone) for column in columns]


def local_time(time: datetime, zone: ZoneInfo) -> str:
    """A time as people read it, with its offset."""
    return time.astimezone(zone).isoformat(sep=" ", timespec="seconds")


def one_line(text: str) -> str:
    """Text from documents may hold line breaks and terminal control characters."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _lines(rows: Iterable[object], columns: Sequence[Column], zone: ZoneInfo, title: str) -> int:
    count = 0
    if title:
        sys.stdout.write(f"{title}\n")
    sys.stdout.write("\t".join(column.heading for column in columns) + "\n")
    for row in rows:
        sys.stdout.write("\t".join(texts_of(row, columns, zone)) + "\n")
        count += 1
    return count


def _text(row: object, column: Column, zone: ZoneInfo) -> str:
    value: Any = value_of(row, column.name)
    if value is None:
        return ""
    if column.kind is Kind.AMOUNT:
        currency = value_of(row, "currency")
        return f"{format_minor(value, currency)} {currency}"
    if column.kind is Kind.TIME:
        return local_time(value, zone)
    if column.kind is Kind.IDENTITY:
        return one_line(plain(value) or "")
    return one_line(str(value))
