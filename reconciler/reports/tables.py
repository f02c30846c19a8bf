"""Rows for other programs: CSV, JSON and Parquet, streamed. One description of the columns serves all of them.

An amount becomes two columns: ``amount_minor``, whole minor units, and ``amount``, decimal text of major units.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from reconciler.clock import utc_text
from reconciler.domain.money import format_minor
from reconciler.errors import UsageError
from reconciler.reports.publishing import open_beside

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_TAGS = ("oid:", "str:")
_ROWS_A_GROUP = 20_000
"""Rows of a Parquet row group: what is held in memory at once."""


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    IDENTITY = "identity"
    """Tagged in the ledger, plain in files and on the terminal."""
    COUNT = "count"
    TIME = "time"
    AMOUNT = "amount"
    """Minor units of the row's ``currency``; the name ends with ``_minor``."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column by the name of the row's field. ``shown``: also on a terminal, where room is short."""

    name: str
    kind: Kind = Kind.TEXT
    shown: bool = True

    @property
    def heading(self) -> str:
        """The name as a person reads it."""
        return self.name.removesuffix("_minor").removesuffix("_id").replace("_", " ")


Columns = Sequence[Column]
Record = dict[str, Any]


def value_of(row: object, name: str) -> Any:
    """A field of a row: of a mapping by key, of anything else by attribute."""
    return row[name] if isinstance(row, Mapping) else getattr(row, name)


def plain(identity: str | None) -> str | None:
    """A tagged identity as people write it."""
    if identity is not None and identity.startswith(_TAGS):
        return identity.partition(":")[2]
    return identity


def record(row: object, columns: Columns) -> Record:
    """A row for JSON: times as text in UTC, amounts as minor units and as decimal text."""
    found: Record = {}
    # Asked once a row and not once a cell: a report lists every payout there ever was.
    field_of = row.__getitem__ if isinstance(row, Mapping) else partial(getattr, row)
    for column in columns:
        value = field_of(column.name)
        if column.kind is Kind.AMOUNT:
            found[column.name] = value
            found[column.name.removesuffix("_minor")] = (
                None if value is None else format_minor(value, field_of("currency"))
            )
        elif column.kind is Kind.TIME:
            found[column.name] = None if value is None else utc_text(value)
        elif column.kind is Kind.IDENTITY:
            found[column.name] = plain(value)
        else:
            found[column.name] = value
    return found


def header(columns: Columns) -> list[str]:
    """The names of the columns of files."""
    names: list[str] = []
    for column in columns:
        names.append(column.name)
        if column.kind is Kind.AMOUNT:
            names.append(column.name.removesuffix("_minor"))
    return names


def guarded(value: Any) -> str:
    """Text that a spreadsheet would run as a formula, preceded by an apostrophe: documents are edited by many."""
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def unguarded(text: str) -> str:
    """Take the apostrophe of :func:`guarded` off."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA_STARTS) else text


def write_csv(rows: Iterable[object], columns: Columns, out: TextIO, *, line_end: str = "\n") -> None:
    """A header and a line a row; nothing is an empty cell, and no cell is a formula."""
    writer = csv.writer(out, lineterminator=line_end)
    # Beside "\n" lines the writer sees no need to quote a "\r", at which readers begin a new line, maybe a formula.
    careful = csv.writer(out, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerow(header(columns))
    for row in rows:
        cells = [_cell(value) for value in record(row, columns).values()]
        (careful if any("\r" in cell for cell in cells) else writer).writerow(cells)


def write_json(
    rows: Iterable[object], columns: Columns, out: TextIO, *, name: str, head: Mapping[str, object] | None = None
) -> None:
    """One JSON document: the fields of ``head``, then the rows as a list under ``name``. Streams."""
    out.write("{\n")
    for key, value in (head or {}).items():
        text = json.dumps(value)
        out.write(f"  {json.dumps(key)}: {text},\n")
    out.write(f"  {json.dumps(name)}: [")
    separator = "\n    "
    for row in rows:
        out.write(separator + json.dumps(record(row, columns)))
        separator = ",\n    "
    out.write("\n  ]\n}\n" if separator.startswith(",") else "]\n}\n")


def has_parquet() -> bool:
    """Whether the package that writes Parquet is installed."""
    return importlib.util.find_spec("pyarrow") is not None


def require_parquet() -> None:
    """Raises UsageError when the package that writes Parquet is not installed."""
    if not has_parquet():
        raise UsageError("parquet needs the package pyarrow, which is not installed: pip install pyarrow")


def write_parquet(rows: Iterable[object], columns: Columns, path: Path) -> int:
    """A file, written under a temporary name and moved onto ``path``; returns how many rows. Raises UsageError."""
    require_parquet()
    try:
        descriptor, temporary = open_beside(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            count = stream_parquet(rows, columns, file)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def stream_parquet(rows: Iterable[object], columns: Columns, file: BinaryIO) -> int:
    """Write rows as Parquet to an open file, a group at a time; returns how many.

    Text columns are strings, counts and minor units int64, times timestamps of milliseconds in UTC. Raises UsageError
    or OSError.
    """
    require_parquet()
    import pyarrow as pa  # noqa: PLC0415 - an optional package, of 170 MB, and for this alone
    import pyarrow.parquet as pq  # noqa: PLC0415

    types = {Kind.COUNT: pa.int64(), Kind.AMOUNT: pa.int64(), Kind.TIME: pa.timestamp("ms", tz="UTC")}
    fields = []
    for column in columns:
        fields.append((column.name, types.get(column.kind, pa.string())))
        if column.kind is Kind.AMOUNT:
            fields.append((column.name.removesuffix("_minor"), pa.string()))
    schema, count, waiting = pa.schema(fields), 0, iter(rows)
    with pq.ParquetWriter(file, schema) as writer:
        while chunk := list(islice(waiting, _ROWS_A_GROUP)):
            writer.write_table(pa.Table.from_pylist(list(_with_times(chunk, columns)), schema=schema))
            count += len(chunk)
    return count


def _with_times(rows: Sequence[object], columns: Columns) -> Iterator[Record]:
    times = [column.name for column in columns if column.kind is Kind.TIME]
    for row in rows:
        yield record(row, columns) | {name: value_of(row, name) for name in times}


def _cell(value: Any) -> str:
    if not isinstance(value, str):
        return "" if value is None else str(value)
    # A negative amount begins like a formula and is none.
    is_formula = value.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(value)
    return guarded(value) if is_formula else value
