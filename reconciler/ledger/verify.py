"""Proving the ledger from itself: the chain from its first batch, zero sums, balances from postings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.ledger import schema
from reconciler.ledger.chain import COVERED, batch_hash
from reconciler.ledger.engine import reading, rows_as_dicts
from reconciler.ports import Integrity, IntegrityFault

_BATCHES_A_READ = 200
"""Bounds memory: so many batches of some thousand rows are read at once."""


class Verifier:
    """Walks the whole ledger in bounded memory, in one snapshot."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def verify(self) -> Integrity:
        """Check everything, and name what is wrong. Faults are values; raises Outage only."""
        with reading(self._engine) as connection:
            faults = [*_unbalanced(connection), *_balances_that_differ(connection)]
            verified_to, chain_fault = _walk(connection)
            if chain_fault is not None:
                faults.append(chain_fault)
            entries = connection.execute(sa.select(sa.func.count()).select_from(schema.entries)).scalar_one()
            head = connection.execute(sa.select(schema.chain_head)).one()
        return Integrity(
            entries=entries,
            ledger_sequence=head.sequence,
            chain_head=head.hash,
            chain_verified_to=verified_to,
            faults=tuple(faults),
        )


def _unbalanced(connection: Connection) -> Iterator[IntegrityFault]:
    total = sa.func.sum(schema.postings.c.amount_minor)
    query = (
        sa.select(schema.postings.c.sequence, schema.postings.c.currency, total)
        .group_by(schema.postings.c.sequence, schema.postings.c.currency)
        .having(total != 0)
        .limit(100)
    )
    for sequence, currency, difference in connection.execute(query):
        yield IntegrityFault(
            kind="ledger_unbalanced", detail=f"entry {sequence} sums to {difference} minor units of {currency}"
        )


def _balances_that_differ(connection: Connection) -> Iterator[IntegrityFault]:
    postings, accounts = schema.postings, schema.accounts
    derived = (
        sa.select(
            postings.c.account,
            postings.c.currency,
            sa.func.sum(postings.c.amount_minor).label("balance_minor"),
            sa.func.count().label("version"),
        )
        .group_by(postings.c.account, postings.c.currency)
        .subquery()
    )
    balance = sa.func.coalesce(derived.c.balance_minor, 0)
    query = (
        sa.select(accounts.c.account, accounts.c.currency, accounts.c.balance_minor, balance.label("derived_minor"))
        .outerjoin_from(
            accounts,
            derived,
            (accounts.c.account == derived.c.account) & (accounts.c.currency == derived.c.currency),
        )
        .where((accounts.c.balance_minor != balance) | (accounts.c.version != sa.func.coalesce(derived.c.version, 0)))
        .limit(100)
    )
    for row in connection.execute(query):
        yield IntegrityFault(
            kind="balance_differs",
            detail=f"{row.account} holds {row.balance_minor} minor units of {row.currency}, "
            f"its postings sum to {int(row.derived_minor)}",
        )


def _walk(connection: Connection) -> tuple[int, IntegrityFault | None]:
    """The last batch up to which the chain is right, and the first fault after it."""
    ledger_id: str = connection.execute(sa.select(schema.ledger_identity.c.ledger_id)).scalar_one()
    previous, expected = hashlib.sha256(ledger_id.encode()).hexdigest(), 1
    head = connection.execute(sa.select(schema.chain_head)).one()
    while links := _links(connection, expected):
        last = links[-1]["batch"]
        rows = {table: _rows_by_batch(connection, table, expected, last) for table, _ in COVERED[links[0]["format"]]}
        for link in links:
            fault = _link_fault(link, expected, previous, rows)
            if fault is not None:
                return expected - 1, IntegrityFault(kind="chain_broken", detail=fault)
            previous, expected = link["hash"], expected + 1
    if (head.batch, head.hash) != (expected - 1, previous):
        detail = f"the chain ends with batch {expected - 1}, but its head says {head.batch}"
        return expected - 1, IntegrityFault(kind="chain_broken", detail=detail)
    return expected - 1, None


def _link_fault(
    link: dict[str, Any], expected: int, previous: str, rows: dict[str, dict[int, list[dict[str, Any]]]]
) -> str | None:
    if link["batch"] != expected:
        return f"batch {expected} is missing"
    if link["previous_hash"] != previous:
        return f"batch {expected} does not continue batch {expected - 1}"
    if link["format"] not in COVERED:
        return f"batch {expected} has a format that this program does not know"
    of_batch = {table: by_batch.get(expected, []) for table, by_batch in rows.items()}
    derived = batch_hash(
        previous=previous, batch=expected, created_at=link["created_at"], rows=of_batch, form=link["format"]
    )
    return None if derived == link["hash"] else f"batch {expected} was changed after it was written"


def _links(connection: Connection, first: int) -> list[dict[str, Any]]:
    query = sa.select(schema.chain).where(schema.chain.c.batch >= first).order_by(schema.chain.c.batch)
    return rows_as_dicts(connection.execute(query.limit(_BATCHES_A_READ)))


def _rows_by_batch(connection: Connection, name: str, first: int, last: int) -> dict[int, list[dict[str, Any]]]:
    table = schema.metadata.tables[name]
    found: dict[int, list[dict[str, Any]]] = {}
    for row in connection.execute(sa.select(table).where(table.c.batch.between(first, last))).mappings():
        found.setdefault(row["batch"], []).append(dict(row))
    return found
