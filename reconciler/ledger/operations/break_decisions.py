"""People's decisions about breaks: acknowledged or resolved, append-only rows in the hash chain like every decision.

Whatever is refused raises UsageError with a sentence, and then nothing is written, of none of the breaks named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from reconciler.domain.break_identity import ID_LENGTH
from reconciler.domain.break_memory import ACKNOWLEDGE, RESOLVE
from reconciler.domain.breaks import BreakStatus, Severity
from reconciler.domain.plan import BatchPlan, NewDecision
from reconciler.errors import UsageError
from reconciler.ledger.journal.decisions import Signature
from reconciler.ledger.journal.posting import Locked, SqlJournal
from reconciler.ledger.operations.break_records import BreakLine, find_lines, mark_resolved, subject_of
from reconciler.ports.journal import BatchStamp

_IDENTITY = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")
_KEPT = (
    "kind",
    "reason",
    "severity",
    "participation_id",
    "campaign_id",
    "payout_key",
    "expected_minor",
    "actual_minor",
    "fingerprint",
)
"""What of a record a decision about it keeps, under the same names."""
_CRITICAL = Severity.CRITICAL.label


class BreakDecisions:
    """Posts what people decide about breaks. ``run_id`` names the command in every row that it writes."""

    def __init__(self, poster: SqlJournal, *, run_id: str) -> None:
        self._poster = poster
        self._stamp = BatchStamp(run_id=run_id, trigger="person")

    def acknowledge(self, break_ids: Sequence[str], signed: Signature) -> list[str]:
        """Acknowledge open breaks: while they stay as they are, no exit code counts them. Returns their ids."""
        with self._poster.locked() as locked:
            lines = self._lines(locked, break_ids, _refuse_acknowledging)
            self._write(locked, ACKNOWLEDGE, lines, signed)
        return list(lines)

    def resolve(self, break_ids: Sequence[str], signed: Signature) -> list[str]:
        """Resolve breaks: they are closed until a check finds them again. Returns their ids."""
        with self._poster.locked() as locked:
            lines = self._lines(locked, break_ids, _refuse_resolving)
            self._write(locked, RESOLVE, lines, signed)
            mark_resolved(locked.connection, list(lines), locked.now)
        return list(lines)

    def _lines(
        self, locked: Locked, break_ids: Sequence[str], refuse: Callable[[BreakLine], None]
    ) -> Mapping[str, BreakLine]:
        wanted = list(dict.fromkeys(break_ids))
        for one in wanted:
            if not _IDENTITY.fullmatch(one):
                raise UsageError(f"{one!r} is not a break's id: that is {ID_LENGTH} hex digits, see `breaks list`")
        found = find_lines(locked.connection, wanted)
        missing = [one for one in wanted if one not in found]
        if missing:
            raise UsageError(f"no check ever found a break {', '.join(missing)}: see `breaks list --status all`")
        for one in wanted:
            refuse(found[one])
        return {one: found[one] for one in wanted}

    def _write(self, locked: Locked, kind: str, lines: Mapping[str, BreakLine], signed: Signature) -> None:
        decided = [_decision(kind, line, signed, locked.now) for line in lines.values()]
        locked.write(BatchPlan(decisions=decided), self._stamp)


def _decision(kind: str, line: BreakLine, signed: Signature, now: datetime) -> NewDecision:
    record, subject = line.record, subject_of(line.record.break_id)
    return NewDecision(
        decision_key=f"{kind}:{subject}:{now:%Y-%m-%dT%H:%M:%S.%f}",
        kind=kind,
        subject=subject,
        decided_by=signed.by,
        reason=signed.reason,
        # What the person saw, for ever: later checks change the record.
        state_before={
            **{name: getattr(record, name) for name in _KEPT},
            "state": line.status.value,
            "appearance": record.appearances_count,
            "report": record.last_report,
        },
        amount_minor=_difference(record.expected_minor, record.actual_minor),
        currency=record.currency if _difference(record.expected_minor, record.actual_minor) is not None else None,
    )


def _difference(expected_minor: int | None, actual_minor: int | None) -> int | None:
    return None if expected_minor is None or actual_minor is None else actual_minor - expected_minor


def _refuse_acknowledging(line: BreakLine) -> None:
    record = line.record
    if line.status is BreakStatus.CLEARED:
        raise UsageError(f"{record.break_id} is cleared: there is nothing to acknowledge")
    if line.status is BreakStatus.ACKNOWLEDGED and line.decision is not None:
        raise UsageError(f"{record.break_id} was acknowledged by {line.decision.by} on {line.decision.at:%Y-%m-%d}")
    if record.severity == _CRITICAL:
        raise UsageError(
            f"{record.break_id} is critical ({record.kind}) and cannot be acknowledged: the ledger contradicts itself, "
            "and nothing may be paid before it is mended"
        )


def _refuse_resolving(line: BreakLine) -> None:
    record = line.record
    if line.status is BreakStatus.CLEARED:
        raise UsageError(f"{record.break_id} is cleared already")
    if record.severity == _CRITICAL:
        raise UsageError(
            f"{record.break_id} is critical ({record.kind}) and cannot be resolved by a person's word: a full check "
            "clears it when the ledger verifies"
        )
