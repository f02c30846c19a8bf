"""Reports read back from disk, with everything that may have happened to a file meanwhile.

People copy, edit and truncate files. What cannot be read becomes one sentence that names the file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from reconciler.domain.break_identity import identity_of
from reconciler.errors import UsageError
from reconciler.reports.break_rows import BREAK_FILE_COLUMNS
from reconciler.reports.shelf import ReportShelf
from reconciler.reports.tables import Kind, unguarded

SCHEMA_FAMILY = "reconciliation-report/"

_SHAPE: tuple[tuple[str, type], ...] = (
    ("report_id", str),
    ("kind", str),
    ("trigger", str),
    ("started_at", str),
    ("finished_at", str),
    ("verdict", str),
    ("dry_run", bool),
    ("completeness", dict),
    ("totals", list),
    ("breaks_by_kind", dict),
    ("repairs", dict),
    ("carried", dict),
    ("breaks", list),
)
_NEEDED_COLUMNS = (
    "kind",
    "reason",
    "severity",
    "participation_id",
    "campaign_id",
    "payout_key",
    "currency",
    "expected_minor",
    "actual_minor",
    "detail",
    "action",
)
_TOTALS = tuple(
    f"{name}_minor"
    for name in ("expected", "paid", "held", "reversed", "refunded", "difference", "explained", "unexplained")
)
_ROW_TEXTS = tuple(column.name for column in BREAK_FILE_COLUMNS if column.kind in (Kind.TEXT, Kind.TIME))
_ROW_NUMBERS = tuple(column.name for column in BREAK_FILE_COLUMNS if column.kind in (Kind.AMOUNT, Kind.COUNT))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBreak:
    """A break as a file has it. Identities are plain; amounts are minor units of ``currency``."""

    break_id: str
    kind: str
    reason: str
    severity: str
    status: str
    participation_id: str
    campaign_id: str
    payout_key: str
    currency: str
    expected_minor: int | None
    actual_minor: int | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report as it lies on disk: the JSON document, of which the parts that are looked at have their types."""

    path: Path
    document: Mapping[str, Any]

    @property
    def report_id(self) -> str:
        """Its own name for itself, which ``latest.json`` does not have in its name."""
        return str(self.document["report_id"])

    @property
    def is_whole(self) -> bool:
        """Whether everything was checked, and not one campaign only."""
        return bool(self.document["kind"] == "full_check")

    @property
    def started_at(self) -> datetime:
        """When the check began."""
        return datetime.fromisoformat(self.document["started_at"])

    def count(self, part: str, name: str) -> int:
        """A whole number by name from a part of the document; 0 where there is none."""
        value = self.document[part].get(name)
        return value if type(value) is int else 0

    def drawable(self) -> dict[str, Any]:
        """The document with each field that a view draws, of its type: what an older report, or whoever edited it, left
        out is 0 or empty."""
        return {
            **self.document,
            "completeness": {"participations": 0} | _counts(self.document["completeness"]),
            "repairs": {"paid": 0, "projected": 0} | _counts(self.document["repairs"]),
            "carried": _counts(self.document["carried"]),
            "breaks_by_kind": _counts(self.document["breaks_by_kind"]),
            "totals": [_total(one) for one in self.document["totals"]],
            "breaks": [_row(one) for one in self.document["breaks"]],
        }


def read_report(shelf: ReportShelf, report_id: str) -> StoredReport:
    """A report's JSON document. Raises UsageError when there is none, or the file is damaged."""
    path = shelf.existing(report_id, ".json")
    with _readable(path):
        document = json.loads(path.read_text(encoding="utf-8"))
        is_report = isinstance(document, dict) and str(document.get("schema", "")).startswith(SCHEMA_FAMILY)
        _expect(is_report, "it is no reconciliation report")
        for name, kind in _SHAPE:
            _expect(isinstance(document.get(name), kind), f"its field {name} is missing or of another type")
        rows = (*document["totals"], *document["breaks"])
        _expect(all(isinstance(one, dict) for one in rows), "its totals or breaks are no objects")
        datetime.fromisoformat(document["started_at"])
    return StoredReport(path=path, document=document)


def read_breaks(shelf: ReportShelf, report: StoredReport, report_id: str) -> list[StoredBreak]:
    """All breaks of a report: of the CSV file, since the JSON document has the first only.

    Raises UsageError when a file is damaged, or when the CSV file is gone and the JSON document has not all of them.
    """
    path = shelf.path(report_id, ".csv")
    if path.exists():
        with _readable(path), path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            for name in _NEEDED_COLUMNS:
                _expect(name in (rows.fieldnames or ()), f"it has no column {name}")
            return [_stored(row, unguarded) for row in rows]
    breaks: Sequence[Mapping[str, Any]] = report.document["breaks"]
    if len(breaks) < sum(value for value in report.document["breaks_by_kind"].values() if type(value) is int):
        raise UsageError(f"{path} is gone, and {report.path.name} has only the first breaks of this report")
    with _readable(report.path):
        return [_stored(row, str) for row in breaks]


def _stored(row: Mapping[str, Any], text: Callable[[str], str]) -> StoredBreak:
    texts = [name for name in _NEEDED_COLUMNS if not name.endswith("_minor")]
    _expect(all(row.get(name) is not None for name in texts), "a row of it is cut off")
    cells = {name: text(str(row[name])) for name in texts}
    return StoredBreak(
        # Derived rather than read: a report from before breaks had an id compares all the same.
        break_id=identity_of(
            (cells["kind"], cells["reason"], cells["participation_id"], cells["campaign_id"], cells["payout_key"])
        ),
        kind=cells["kind"],
        reason=cells["reason"],
        severity=cells["severity"],
        status=str(row.get("status") or ("repaired" if cells["action"] == "repaired" else "open")),
        participation_id=cells["participation_id"],
        campaign_id=cells["campaign_id"],
        payout_key=cells["payout_key"],
        currency=cells["currency"],
        expected_minor=_whole(row.get("expected_minor")),
        actual_minor=_whole(row.get("actual_minor")),
        detail=cells["detail"],
    )


def _counts(part: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in part.items() if type(value) is int}


def _total(total: Mapping[str, Any]) -> dict[str, Any]:
    counts = total.get("counts")
    payouts = counts.get("payouts") if isinstance(counts, dict) else None
    return {
        **dict.fromkeys(_TOTALS, 0),
        **_counts(total),
        "currency": str(total.get("currency") or ""),
        "counts": {"payouts": payouts if type(payouts) is int else 0},
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {name: row.get(name) for name in _ROW_NUMBERS}
    return {name: str(row.get(name) or "") for name in _ROW_TEXTS} | {
        name: value if type(value) is int else None for name, value in numbers.items()
    }


def _whole(value: Any) -> int | None:
    return None if value in (None, "") else int(str(value))


def _expect(condition: bool, sentence: str) -> None:  # noqa: FBT001 - an assertion about a file
    if not condition:
        raise ValueError(sentence)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError, csv.Error) as error:
        # A JSON or UTF-8 error is a ValueError too.
        raise UsageError(f"{path} is damaged: {error}") from error
