"""A sum over the rows of each journal table, by which a check notices a row that was changed, removed or added.

Each row is hashed over all its columns, and the hashes of a table are added up. Reading everything once costs a small
part of walking the chain, so every check does it. The sum shows *that* a row differs; the walk that follows shows which
(docs/decisions/0055).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.ledger.schema import JOURNAL_TABLES, ledger_identity

Sums = Mapping[str, tuple[int, int]]
"""Table → how many rows, and the sum of their hashes."""

_POSTGRESQL = "SELECT COUNT(*), COALESCE(SUM(hashtextextended(CAST(one AS text), 0)), 0) FROM {table} one{where}"


def table_sums(connection: Connection, *, after: int | None, up_to: int) -> Sums:
    """Of all rows of the batches behind ``after`` (None: from the beginning) up to ``up_to``."""
    where = f" WHERE batch <= {up_to:d}" + ("" if after is None else f" AND batch > {after:d}")
    sums = {table.name: _sum(connection, table.name, where) for table in JOURNAL_TABLES}
    return sums if after is not None else sums | {ledger_identity.name: _sum(connection, ledger_identity.name, "")}


def added(before: Sums, more: Sums) -> Sums:
    """Two ranges of batches together."""
    nothing = (0, 0)
    return {
        table: (count + more.get(table, nothing)[0], total + more.get(table, nothing)[1])
        for table, (count, total) in before.items()
    }


def as_text(sums: Sums) -> str:
    """In the one form in which they are kept and compared."""
    return json.dumps({table: [count, str(total)] for table, (count, total) in sums.items()}, sort_keys=True)


def differing(kept: str, found: str) -> list[str]:
    """The tables whose rows are not those of before, in their order."""
    before, now = json.loads(kept), json.loads(found)
    return sorted(table for table in {*before, *now} if before.get(table) != now.get(table))


def _sum(connection: Connection, table: str, where: str) -> tuple[int, int]:
    if connection.dialect.name == "postgresql":
        count, total = connection.execute(sa.text(_POSTGRESQL.format(table=table, where=where))).one()
        return int(count), int(total)
    count = total = 0
    # Without SQLAlchemy's rows, which would cost more than the hashes.
    for row in connection.connection.cursor().execute(f"SELECT * FROM {table}{where}"):
        count += 1
        total += int.from_bytes(hashlib.blake2b(repr(row).encode(), digest_size=8).digest())
    return count, total
