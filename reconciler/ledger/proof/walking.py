"""Walks the chain batch by batch, and derives each hash, sequence, sum and amount again."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.domain.rederivation import AmountFacts, pool_of, shares_of
from reconciler.ledger import schema
from reconciler.ledger.journal.chain import COVERED, FORMAT, canonical_hash
from reconciler.ledger.proof.faults import Faults
from reconciler.ledger.proof.locating import first_bad_entry
from reconciler.ledger.proof.payout_amounts import PayoutAmounts
from reconciler.ledger.proof.streaming import AT, COLUMNS, BatchedRows, RawRow

TABLES = tuple(table for table, _ in COVERED)

BatchRows = Mapping[str, list[RawRow]]

_UNREADABLE = (TypeError, ValueError, KeyError, OverflowError, AttributeError)
"""What a value of a type or form that this program never writes leads to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """A batch up to which everything was found right, with its hash, its last entry and the entries until there."""

    batch: int
    hash: str
    sequence: int
    entries: int


class Walk:
    """One walk, from the beginning or from a milestone. Afterwards: how far it is right, and what was counted."""

    def __init__(self, connection: Connection, faults: Faults, start: Milestone | None = None) -> None:
        self._connection = connection
        self._faults = faults
        self._start = start
        after = None if start is None else start.batch
        self._streams = {table: BatchedRows(connection, table, after=after) for table in TABLES}
        self._amounts = PayoutAmounts(connection, faults)
        self._batch = 0 if start is None else start.batch
        self._previous = ""
        self._is_whole = True
        self.entries = 0 if start is None else start.entries
        self.sequence = 0 if start is None else start.sequence
        self.verified_to = self._batch

    @property
    def payouts(self) -> int:
        """How many amounts were derived again."""
        return self._amounts.count

    @property
    def position(self) -> str:
        """Where the walk stands, for the case that it cannot go on."""
        return f"after batch {self._batch}"

    def run(self) -> None:
        """Walk to the end."""
        if self._start is None:
            ledger_id: str = self._connection.execute(sa.select(schema.ledger_identity.c.ledger_id)).scalar_one()
            self._previous = hashlib.sha256(ledger_id.encode()).hexdigest()
            links = BatchedRows(self._connection, "chain")
        else:
            self._previous = self._start.hash
            links = BatchedRows(self._connection, "chain", after=self._start.batch)
        for link in links.rest():
            self._link(dict(zip(COLUMNS["chain"], link, strict=True)))
        for stream in self._streams.values():
            for row in stream.rest():
                self._stray(stream, row)
        self._compare_head()

    def _link(self, link: Mapping[str, Any]) -> None:
        batch = link["batch"]
        if not isinstance(batch, int) or batch < 1:
            self._broken(f"the chain has a link numbered {batch!r}")
            return
        if batch != self._batch + 1:
            missing = self._batch + 1
            which = f"batch {missing} is" if batch == missing + 1 else f"the batches {missing} to {batch - 1} are"
            self._broken(f"{which} missing", batch=missing)
        rows: dict[str, list[RawRow]] = {}
        for table, stream in self._streams.items():
            rows[table], strays = stream.take(batch)
            for stray in strays:
                self._stray(stream, stray)
        # What follows a missing batch cannot continue it, which need not be said twice.
        follows = batch == self._batch + 1
        self._batch = batch
        try:
            self._hash(link, rows, follows=follows)
            self._check(link, rows)
        except _UNREADABLE as error:
            self._broken(f"batch {batch} holds what this program never wrote: {error}", batch=batch)
        self._previous = link["hash"]
        if self._is_whole:
            self.verified_to = batch

    def _hash(self, link: Mapping[str, Any], rows: BatchRows, *, follows: bool) -> None:
        batch, form = link["batch"], link["format"]
        if follows and link["previous_hash"] != self._previous:
            self._broken(f"batch {batch} does not continue batch {batch - 1}", batch=batch)
            return
        if form != FORMAT:
            self._broken(f"batch {batch} has the format {form!r}, which this program does not know", batch=batch)
            return
        tables = ((table, rows[table]) for table in TABLES)
        derived = canonical_hash(previous=link["previous_hash"], head=[form, batch, link["created_at"]], tables=tables)
        if derived != link["hash"]:
            sequence, why = first_bad_entry(rows, link["created_at"])
            which = _entries_shown(rows) if sequence is None else f"entry {sequence}: {why}"
            self._broken(f"batch {batch} was changed after it was written ({which})", batch=batch, sequence=sequence)

    def _check(self, link: Mapping[str, Any], rows: BatchRows) -> None:
        self._sequences(link["batch"], rows)
        self._sums(link["batch"], rows)
        self._amounts.check(link["batch"], rows)
        self._settlements(link["batch"], rows)

    def _sequences(self, batch: int, rows: BatchRows) -> None:
        """Entries are numbered without a gap, from batch to batch."""
        for sequence in sorted(row[AT["entries"]["sequence"]] for row in rows["entries"]):
            if sequence != self.sequence + 1:
                detail = f"entry {sequence} follows entry {self.sequence}"
                self._faults.add("chain_broken", detail, batch=batch, sequence=sequence)
            self.sequence = sequence
            self.entries += 1

    def _sums(self, batch: int, rows: BatchRows) -> None:
        """Every entry has at least two postings, of its currency, that sum to zero."""
        at, posting_at = AT["entries"], AT["postings"]
        sums: dict[tuple[int, str], list[int]] = defaultdict(list)
        for row in rows["postings"]:
            sums[row[posting_at["sequence"]], row[posting_at["currency"]]].append(row[posting_at["amount_minor"]])
        for row in rows["entries"]:
            key = (row[at["sequence"]], row[at["currency"]])
            amounts = sums.pop(key, [])
            if len(amounts) < 2 or sum(amounts) != 0:
                detail = (
                    f"entry {key[0]} has {len(amounts)} postings that sum to {sum(amounts)} minor units of {key[1]}"
                )
                self._faults.add("ledger_unbalanced", detail, batch=batch, sequence=key[0])
        for sequence, currency in sums:
            detail = f"postings of {currency} belong to entry {sequence}, which is no entry of that currency and batch"
            self._faults.add("ledger_unbalanced", detail, batch=batch, sequence=sequence)

    def _settlements(self, batch: int, rows: BatchRows) -> None:
        """A frozen pool follows from its facts, and its lines share it to the last minor unit."""
        at, line_at = AT["settlements"], AT["settlement_lines"]
        lines: dict[str, list[RawRow]] = defaultdict(list)
        for line in rows["settlement_lines"]:
            lines[line[line_at["settlement_key"]]].append(line)
        for row in rows["settlements"]:
            key, of_it = row[at["settlement_key"]], lines.pop(row[at["settlement_key"]], [])
            names = ("payment_type", "rate", "impressions", "target", "overdelivery", "currency")
            pool_minor = pool_of(AmountFacts(*(row[at[name]] for name in names)))
            members = [(line[line_at["participation_id"]], line[line_at["impressions"]]) for line in of_it]
            kept = {line[line_at["participation_id"]]: line[line_at["share_minor"]] for line in of_it}
            if pool_minor != row[at["pool_minor"]]:
                detail = f"{key}: its facts give a pool of {pool_minor} minor units, not {row[at['pool_minor']]}"
                self._faults.add("amount_differs", detail, batch=batch)
            elif sum(count for _, count in members) != row[at["impressions"]] or kept != shares_of(pool_minor, members):
                self._faults.add("amount_differs", f"{key}: its lines do not share its pool", batch=batch)
        for key in lines:
            self._faults.add("amount_differs", f"{key} has lines and is no settlement of their batch", batch=batch)

    def _stray(self, stream: BatchedRows, row: RawRow) -> None:
        batch = stream.batch_of(row)
        sequence = row[AT[stream.table]["sequence"]] if "sequence" in AT[stream.table] else None
        self._broken(
            f"{stream.table} has a row of batch {batch}, which the chain does not have",
            batch=batch if isinstance(batch, int) else None,
            sequence=sequence if isinstance(sequence, int) else None,
        )

    def _compare_head(self) -> None:
        head = self._connection.execute(sa.select(schema.chain_head)).one_or_none()
        if head is None:
            self._broken("the head of the chain is missing")
        elif (head.batch, head.hash) != (self._batch, self._previous):
            self._broken(f"the chain ends with batch {self._batch}, but its head says {head.batch}", batch=self._batch)
        elif head.sequence != self.sequence:
            self._broken(f"the last entry is {self.sequence}, but the head says {head.sequence}", batch=self._batch)

    def _broken(self, detail: str, *, batch: int | None = None, sequence: int | None = None) -> None:
        self._is_whole = False
        self._faults.add("chain_broken", detail, batch=batch, sequence=sequence)


def _entries_shown(rows: BatchRows) -> str:
    sequences = sorted(row[AT["entries"]["sequence"]] for row in rows["entries"])
    if not sequences:
        return "it has no entries"
    return f"one of the entries {sequences[0]} to {sequences[-1]}, or a row beside them"
