"""Reports read back from disk, with everything that may have happened to a file meanwhile.

People copy, edit and truncate files. What this program did not write becomes one sentence that names the file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Any

from reconciler.errors import UsageError
from reconciler.reports.break_rows import BREAK_COLUMNS
from reconciler.reports.folder import ReportFolder
from reconciler.reports.model import SCHEMA, TOTAL_AMOUNTS, Completeness
from reconciler.reports.tables import Kind, unguarded

Shape = Mapping[str, tuple[type, ...]]
"""Name of a field → the types that it may have."""


def _each(names: Sequence[str], *types: type) -> dict[str, tuple[type, ...]]:
    return dict.fromkeys(names, types)


_DOCUMENT: Shape = {
    **_each(("report_id", "kind", "trigger", "started_at", "finished_at", "verdict"), str),
    "dry_run": (bool,),
    **_each(("completeness", "breaks_by_kind", "repairs", "carried"), dict),
    **_each(("totals", "breaks", "withheld"), list),
}
_PARTS: Mapping[str, Shape] = {
    "completeness": _each([one.name for one in fields(Completeness)], int),
    "repairs": _each(("paid", "projected"), int),
    "carried": _each(("new", "carried", "cleared"), int),
}
_ROWS: Mapping[str, Shape] = {
    "totals": {
        "currency": (str,),
        **_each(TOTAL_AMOUNTS, int),
        "counts": (dict,),
    },
    "breaks": {
        column.name: (int, NoneType) if column.kind in (Kind.AMOUNT, Kind.COUNT) else (str,) for column in BREAK_COLUMNS
    },
    "withheld": {
        **_each(("reason", "status", "currency"), str),
        **_each(("participations", "gross_minor"), int),
    },
}


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


_KEPT = {one.name for one in fields(StoredBreak)}
_TEXTS = tuple(one.name for one in BREAK_COLUMNS if one.name in _KEPT and one.kind is Kind.TEXT)
_AMOUNTS = tuple(one.name for one in BREAK_COLUMNS if one.name in _KEPT and one.kind is Kind.AMOUNT)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report as it lies on disk: the JSON document, whose fields were checked to be there and of their types."""

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

    @property
    def breaks_count(self) -> int:
        """How many breaks the check found, those among them that the document does not list."""
        return sum(self.document["breaks_by_kind"].values())


def read_report(folder: ReportFolder, report_id: str) -> StoredReport:
    """A report's JSON document. Raises UsageError when there is none, or the file is damaged."""
    path = folder.existing(report_id, ".json")
    with _readable(path):
        document = json.loads(path.read_text(encoding="utf-8"))
        _expect(isinstance(document, dict) and document.get("schema") == SCHEMA, "it is no reconciliation report")
        _expect_fields(document, _DOCUMENT)
        for name, shape in _PARTS.items():
            _expect_fields(document[name], shape)
        for name, shape in _ROWS.items():
            _expect(all(isinstance(one, dict) for one in document[name]), "its totals or breaks are no objects")
            for row in document[name]:
                _expect_fields(row, shape)
        for total in document["totals"]:
            _expect_fields(total["counts"], _each(("payouts",), int))
        _expect_fields(document["breaks_by_kind"], _each(list(document["breaks_by_kind"]), int))
        datetime.fromisoformat(document["started_at"])
    return StoredReport(path=path, document=document)


def read_breaks(folder: ReportFolder, report: StoredReport, report_id: str) -> list[StoredBreak]:
    """All breaks of a report: of the CSV file, since the JSON document has the first only.

    Raises UsageError when a file is damaged, or when the CSV file is gone and the JSON document has not all of them.
    """
    path = folder.path(report_id, ".csv")
    if path.exists():
        with _readable(path), path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            for column in BREAK_COLUMNS:
                _expect(column.name in (rows.fieldnames or ()), f"it has no column {column.name}")
            return [_stored(row, unguarded) for row in rows]
    breaks: Sequence[Mapping[str, Any]] = report.document["breaks"]
    if len(breaks) < report.breaks_count:
        raise UsageError(f"{path} is gone, and {report.path.name} has only the first breaks of this report")
    return [_stored(row, str) for row in breaks]


def _stored(row: Mapping[str, Any], text: Callable[[str], str]) -> StoredBreak:
    _expect(all(row[name] is not None for name in _TEXTS), "a row of it is cut off")
    cells: dict[str, Any] = {name: text(row[name]) for name in _TEXTS}
    cells |= {name: None if row[name] in (None, "") else int(row[name]) for name in _AMOUNTS}
    return StoredBreak(**cells)


def _expect_fields(found: Mapping[str, Any], shape: Shape) -> None:
    for name, types in shape.items():
        _expect(type(found.get(name)) in types, f"its field {name} is missing or of another type")


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
