"""Break records: what checks remember of each break, in a table beside the journal.

What people decided about a break is in ``decisions``, append-only and in the hash chain. Its status is derived from
both each time it is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.domain.break_memory import (
    ACKNOWLEDGE,
    RESOLVE,
    BreakDecision,
    BreakRecord,
    CheckMark,
    ClearedBy,
    Remembered,
    note_of,
    remember,
    status_of,
)
from reconciler.domain.breaks import Break, BreakStatus, Severity
from reconciler.ledger import bulk
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.journal.writing import lock_head
from reconciler.ledger.key_lists import among
from reconciler.ledger.schema import breaks, decisions

_SUBJECT = "break:"
_ROWS_A_WRITE = 5000
_NOT_GONE = (breaks.c.cleared_by.is_(None)) | (breaks.c.cleared_by == ClearedBy.PERSON.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakLine:
    """A remembered break with what a person last said about it. ``note``: what lapsed, if anything."""

    record: BreakRecord
    decision: BreakDecision | None
    status: BreakStatus
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakFilter:
    """Which breaks; None: all of them. ``campaign_id`` is a plain identity."""

    status: BreakStatus | None = None
    kind: str | None = None
    campaign_id: str | None = None


class SqlBreakRecords:
    """Reads and writes the table ``breaks``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def compare(self, found: Iterable[Break], check: CheckMark) -> Remembered:
        """What a check's findings are beside what is remembered. Writes nothing."""
        found = list(found)
        with reading(self._engine) as connection:
            return _remembered(connection, found, check)

    def record(self, found: Iterable[Break], check: CheckMark) -> None:
        """Remember a check's findings: one short transaction, after its report is on disk.

        Under the lock of the journal, as people's decisions are: none of them can fall between reading and writing.
        """
        found = list(found)
        with writing(self._engine) as connection:
            lock_head(connection)
            changed = [_row(one) for one in _remembered(connection, found, check).changed]
            for start in range(0, len(changed), _ROWS_A_WRITE):
                bulk.put(connection, breaks, changed[start : start + _ROWS_A_WRITE])

    def lines(self, chosen: BreakFilter) -> list[BreakLine]:
        """Remembered breaks: the worst first, of these the oldest."""
        query = sa.select(breaks)
        if chosen.status is BreakStatus.CLEARED:
            query = query.where(breaks.c.cleared_at.is_not(None))
        elif chosen.status is not None:
            query = query.where(breaks.c.cleared_at.is_(None))
        if chosen.kind is not None:
            query = query.where(breaks.c.kind == chosen.kind)
        if chosen.campaign_id is not None:
            query = query.where(breaks.c.campaign_id == chosen.campaign_id)
        with reading(self._engine) as connection:
            records = _records(connection, query)
            said = last_decisions(connection)
        lines = [line_of(record, said.get(record.break_id)) for record in records]
        return sorted((one for one in lines if chosen.status in (None, one.status)), key=_order)


def line_of(record: BreakRecord, decision: BreakDecision | None) -> BreakLine:
    """A record with what follows from it and the last decision."""
    return BreakLine(
        record=record, decision=decision, status=status_of(record, decision), note=note_of(record, decision)
    )


def find_lines(connection: Connection, break_ids: Sequence[str]) -> dict[str, BreakLine]:
    """Some breaks by their id; those that no check ever found are absent."""
    records = _records(connection, sa.select(breaks).where(among(connection, breaks.c.break_id, break_ids)))
    said = last_decisions(connection)
    return {one.break_id: line_of(one, said.get(one.break_id)) for one in records}


def mark_resolved(connection: Connection, break_ids: Sequence[str], at: datetime) -> None:
    """Close breaks by a person's word, until a check finds them again."""
    connection.execute(
        sa.update(breaks)
        .where(among(connection, breaks.c.break_id, break_ids))
        .values(cleared_at=at, cleared_by=ClearedBy.PERSON.value)
    )


def last_decisions(connection: Connection) -> dict[str, BreakDecision]:
    """Break → what a person last said about it. People say little, so all of it is read."""
    query = sa.select(decisions).where(decisions.c.kind.in_([ACKNOWLEDGE, RESOLVE])).order_by(decisions.c.batch)
    said: dict[str, BreakDecision] = {}
    for row in connection.execute(query):
        seen: Mapping[str, Any] = json.loads(row.state_before)
        said[row.subject.removeprefix(_SUBJECT)] = BreakDecision(
            kind=row.kind,
            by=row.decided_by,
            reason=row.reason,
            at=row.occurred_at,
            appearance=int(seen["appearance"]),
            fingerprint=str(seen["fingerprint"]),
        )
    return said


def subject_of(identity: str) -> str:
    """A break as the subject of a decision."""
    return f"{_SUBJECT}{identity}"


def _remembered(connection: Connection, found: Sequence[Break], check: CheckMark) -> Remembered:
    identities = sorted({one.break_id for one in found})
    is_concerned = _NOT_GONE | among(connection, breaks.c.break_id, identities)
    records = _records(connection, sa.select(breaks).where(is_concerned))
    return remember(found, {one.break_id: one for one in records}, last_decisions(connection), check)


def _row(record: BreakRecord) -> dict[str, Any]:
    """A record as a row. PostgreSQL keeps no NUL in a text, and documents may hold one."""
    row: dict[str, Any] = {}
    for column in breaks.columns:
        value = getattr(record, column.name)
        row[column.name] = value.replace("\x00", "�") if isinstance(value, str) else value
    return row


def _records(connection: Connection, query: sa.Select[Any]) -> list[BreakRecord]:
    return [BreakRecord(**row) for row in connection.execute(query).mappings()]


def _order(line: BreakLine) -> tuple[int, datetime, str]:
    return -int(Severity[line.record.severity.upper()]), line.record.first_seen, line.record.break_id
