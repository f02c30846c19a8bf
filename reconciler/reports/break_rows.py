"""Rows of breaks as people go through them: their columns, how old each is, and the command to begin with.

A row is one of the JSON document's ``breaks``, or a line of the CSV file: the same names (docs/report.md).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from reconciler.domain.breaks import BreakKind, BreakStatus, command_of
from reconciler.reports.tables import Column, Columns, Kind

BREAK_COLUMNS: Columns = (
    Column("kind"),
    Column("reason"),
    Column("severity"),
    Column("participation_id"),
    Column("campaign_id"),
    Column("streamer_id"),
    Column("payout_key"),
    Column("currency"),
    Column("expected_minor", Kind.AMOUNT),
    Column("actual_minor", Kind.AMOUNT),
    Column("delta_minor", Kind.AMOUNT),
    Column("first_seen", Kind.TIME),
    Column("age_s", Kind.COUNT),
    Column("detail"),
    Column("action"),
    Column("break_id"),
    Column("status"),
    Column("acknowledged_by"),
    Column("acknowledged_reason"),
    Column("note"),
)

_KINDS: Mapping[str, BreakKind] = {one.value: one for one in BreakKind}
_ACKNOWLEDGE = "breaks acknowledge {break_id} --by NAME --reason TEXT"


def next_command(row: Mapping[str, Any]) -> str | None:
    """The command line that looks at a break or settles it, ready to be copied; None where there is none.

    Identities come from documents that many people edit, and a shell will read this line: each is quoted, and what no
    quoting makes harmless (a line break, or text that reads as an option) gets no command at all.
    """
    kind = _KINDS.get(row["kind"])
    return None if kind is None else _line(command_of(kind, row["reason"]), row)


def acknowledge_command(row: Mapping[str, Any]) -> str | None:
    """The command line that takes an open break off the list, with its reason; None for any other break."""
    return _line(_ACKNOWLEDGE, row) if row["status"] == BreakStatus.OPEN else None


def age_text(age_s: float | None) -> str:
    """How long ago, as people say it: ``3 days``; empty for nothing."""
    if age_s is None:
        return ""
    for seconds, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        count = int(age_s // seconds)
        if count >= 1:
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return "under a minute"


def _line(command: str, row: Mapping[str, Any]) -> str | None:
    if not command:
        return None
    line = ["python", "run.py"]
    for word in command.split():
        if not word.startswith("{"):
            line.append(word)
            continue
        value = str(row.get(word.strip("{}")) or "")
        if not value or not value.isprintable() or value.startswith("-"):
            return None
        line.append(shlex.quote(value))
    return " ".join(line)
