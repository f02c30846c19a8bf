"""Rows of breaks as people go through them: where each stands, how old it is, and the command to begin with.

A row is one of the JSON document's ``breaks``, or a line of the CSV file: the same names (docs/report.md).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pandas as pd

from reconciler.reports.tables import Column, Columns, Kind

BREAK_FILE_COLUMNS: Columns = (
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
"""Of the CSV and Parquet files: the report's own columns, then what is known of the break besides.

An older report has no ``break_id``, and nobody acknowledged anything in it."""

_TEXTS = tuple(column.name for column in BREAK_FILE_COLUMNS if column.kind is Kind.TEXT)
_AMOUNTS = tuple(column.name for column in BREAK_FILE_COLUMNS if column.kind is Kind.AMOUNT)
_SIGNED = ("--by", "NAME", "--reason", "TEXT")


class RowStatus(StrEnum):
    """Where a break stands: the field ``status`` of its row."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    REPAIRED = "repaired"
    INFO = "info"


_COMMANDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("due_but_unpaid", ""): ("--once",),
    ("held", "over_approval_threshold"): ("payouts", "approve", "{payout_key}", *_SIGNED),
    ("held", "over_pace"): ("payouts", "approve", "{payout_key}", *_SIGNED),
    ("held", ""): ("holds", "list"),
    ("due_but_ineligible", ""): ("explain", "{participation_id}"),
    ("paid_not_due", ""): ("explain", "{participation_id}"),
    ("amount_differs", ""): ("explain", "{participation_id}"),
    ("paid_without_participation", ""): ("payouts", "show", "{payout_key}"),
    ("exists_different", ""): ("payouts", "show", "{payout_key}"),
    ("campaign_missing", ""): ("explain", "{participation_id}"),
    ("budget_below_paid", ""): ("ledger", "brand", "{campaign_id}"),
    ("facts_changed", ""): ("explain", "{participation_id}"),
    ("marked_paid_elsewhere", ""): ("explain", "{participation_id}"),
    ("duplicate_participation", ""): ("explain", "{participation_id}"),
    ("malformed", "participation"): ("explain", "{participation_id}"),
    ("projection_stale", ""): ("--full-check", "--campaign", "{campaign_id}"),
    ("wallet_drift", ""): ("ledger", "statement", "{streamer_id}"),
    ("effect_blocked", ""): ("payouts", "show", "{payout_key}"),
    ("wallet_negative", ""): ("ledger", "statement", "{streamer_id}"),
    ("ledger_unbalanced", ""): ("ledger", "verify"),
    ("balance_differs", ""): ("ledger", "verify"),
    ("escrow_negative", ""): ("ledger", "verify"),
    ("chain_broken", ""): ("ledger", "verify"),
    ("unexplained_difference", ""): ("ledger", "verify"),
    ("nothing_checked", ""): ("config", "check"),
    ("status_unknown", ""): ("--full-check",),
    ("effect_overdue", ""): ("payouts", "show", "{payout_key}"),
    ("brand_changed", ""): ("ledger", "brand", "{campaign_id}"),
    ("escrow_orphaned", ""): ("ledger", "refund", "{campaign_id}", *_SIGNED),
    ("wallet_ambiguous", ""): ("ledger", "statement", "{streamer_id}"),
    ("ledger_behind", ""): ("ledger", "recover", *_SIGNED),
}
"""(kind, reason) → words of a command line; the reason "" serves all others. In braces: a field of the row."""


def standing_of(row: Mapping[str, Any]) -> RowStatus:
    """The row's ``status``; of an older report what it would have been."""
    stated = row.get("status")
    if stated in tuple(RowStatus):
        return RowStatus(stated)
    if row.get("action") == "repaired":
        return RowStatus.REPAIRED
    return RowStatus.INFO if row.get("severity") == "info" else RowStatus.OPEN


def next_command(row: Mapping[str, Any]) -> str | None:
    """The command line that looks at a break or settles it, ready to be copied; None where there is none.

    Identities come from documents that many people edit, and a shell will read this line: each is quoted, and what no
    quoting makes harmless (a line break, or text that reads as an option) gets no command at all.
    """
    kind, reason = str(row.get("kind", "")), str(row.get("reason", ""))
    words = _COMMANDS.get((kind, reason)) or _COMMANDS.get((kind, ""))
    return None if words is None else _line(words, row)


def acknowledge_command(row: Mapping[str, Any]) -> str | None:
    """The command line that takes an open break off the list, with its reason; None without a ``break_id``."""
    if standing_of(row) is not RowStatus.OPEN:
        return None
    return _line(("breaks", "acknowledge", "{break_id}", *_SIGNED), row)


def whole_frame(breaks: pd.DataFrame) -> pd.DataFrame:
    """A copy with every column of BREAK_FILE_COLUMNS: text without gaps, amounts Int64, ``status`` filled in."""
    frame = breaks.copy()
    for name in _TEXTS:
        if name not in frame:
            frame[name] = ""
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
    for name in (*_AMOUNTS, "age_s"):
        frame[name] = frame[name].astype("Int64") if name in frame else pd.Series(pd.NA, frame.index, dtype="Int64")
    if "first_seen" not in frame:
        frame["first_seen"] = ""
    is_stated = frame["status"].isin(tuple(RowStatus))
    derived = pd.Series(RowStatus.OPEN.value, frame.index, dtype=object)
    derived = derived.mask(frame["severity"] == "info", RowStatus.INFO.value)
    derived = derived.mask(frame["action"] == "repaired", RowStatus.REPAIRED.value)
    frame["status"] = frame["status"].where(is_stated, derived)
    return frame


def age_text(age_s: float | None) -> str:
    """How long ago, as people say it: ``3 days``; empty for nothing."""
    if age_s is None:
        return ""
    for seconds, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        count = int(age_s // seconds)
        if count >= 1:
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return "under a minute"


def _line(words: tuple[str, ...], row: Mapping[str, Any]) -> str | None:
    line = ["python", "run.py"]
    for word in words:
        if not word.startswith("{"):
            line.append(word)
            continue
        value = str(row.get(word.strip("{}")) or "")
        if not value or not value.isprintable() or value.startswith("-"):
            return None
        line.append(shlex.quote(value))
    return " ".join(line)
