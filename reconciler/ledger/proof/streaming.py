"""The journal's rows batch by batch, as the driver gives them: no table is ever held whole.

Values are raw on purpose: a row that was edited by hand may hold anything, and has to be reported as a fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.ledger import schema
from reconciler.ledger.journal.chain import COVERED
from reconciler.ledger.schema import UtcDateTime

RawRow = list[Any]

CHAIN_COLUMNS = ("batch", "format", "previous_hash", "hash", "created_at")
COLUMNS: dict[str, tuple[str, ...]] = {**dict(COVERED), "chain": CHAIN_COLUMNS}
"""Journal table → its columns, in the order in which the chain covers them."""

AT: dict[str, dict[str, int]] = {
    table: {column: place for place, column in enumerate(columns)} for table, columns in COLUMNS.items()
}
"""Journal table → column → place in a raw row."""

_ROWS_A_READ = 1000
_SQLITE_TIME_LENGTH = len("2026-01-01 00:00:00.000000")


def rows_in_order(connection: Connection, sql: str) -> Iterator[Sequence[Any]]:
    """The rows of a query, read little by little."""
    options = {"stream_results": True, "max_row_buffer": _ROWS_A_READ}
    result = connection.execute(sa.text(sql), execution_options=options)
    for some in result.partitions(_ROWS_A_READ):
        yield from some


class BatchedRows:
    """One table in the order of batches, those behind ``after``; times in canonical form."""

    def __init__(self, connection: Connection, table: str, *, after: int | None = None) -> None:
        self.table = table
        columns = COLUMNS[table]
        self._batch_at = AT[table]["batch"]
        times = schema.metadata.tables[table].columns
        self._times_at = tuple(AT[table][one] for one in columns if isinstance(times[one].type, UtcDateTime))
        names = ", ".join(f'"{column}"' for column in columns)
        behind = "" if after is None else f" WHERE batch > {after:d}"
        self._rows = rows_in_order(connection, f"SELECT {names} FROM {table}{behind} ORDER BY batch")
        self._next: RawRow | None = None
        self._has_begun = False

    def take(self, batch: int) -> tuple[list[RawRow], list[RawRow]]:
        """Rows of ``batch``, and rows of earlier batches that the chain does not have."""
        taken: list[RawRow] = []
        strays: list[RawRow] = []
        while (row := self._peek()) is not None:
            of = row[self._batch_at]
            if not isinstance(of, int) or of > batch:
                break
            (taken if of == batch else strays).append(self._pop())
        return taken, strays

    def rest(self) -> Iterator[RawRow]:
        """The rows that were not taken."""
        while self._peek() is not None:
            yield self._pop()

    def batch_of(self, row: RawRow) -> object:
        """What a row says its batch is."""
        return row[self._batch_at]

    def _peek(self) -> RawRow | None:
        if not self._has_begun:
            self._advance()
            self._has_begun = True
        return self._next

    def _pop(self) -> RawRow:
        row = self._next
        assert row is not None
        self._advance()
        return row

    def _advance(self) -> None:
        found = next(self._rows, None)
        self._next = None if found is None else canonical(found, self._times_at)


def canonical(found: Sequence[Any], times_at: Sequence[int]) -> RawRow:
    """A row as the chain covers it: times as text. What is no time of ours becomes something that no hash matches."""
    row = list(found)
    for place in times_at:
        if row[place] is not None:
            row[place] = canonical_time(row[place])
    return row


def canonical_time(value: object) -> object:
    """A stored time in the chain's form. On SQLite it is text, and only its own form is taken."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, str) and len(value) == _SQLITE_TIME_LENGTH and value[10] == " ":
        return f"{value[:10]}T{value[11:]}+00:00"
    return ["unreadable", repr(value)]
