"""The reports of checks: the files that lie on disk, and the checks that left none."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reconciler.errors import UsageError
from reconciler.ledger.operations.runs import RunLog
from reconciler.ports.runs import RunRecord
from reconciler.queries import Document
from reconciler.reports.folder import ReportFolder
from reconciler.reports.stored import StoredReport, read_report
from reconciler.reports.tables import Column, Columns, Kind

_CHECKS = ("full_check", "campaign_check")
_REPORT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SHOWN_OF_REPORT = (
    "report_id",
    "kind",
    "trigger",
    "as_of",
    "started_at",
    "finished_at",
    "duration_s",
    "dry_run",
    "verdict",
    "exit_code",
    "breaks_by_kind",
    "repairs",
)

REPORT_COLUMNS: Columns = (
    Column("report_id"),
    Column("kind", shown=False),
    Column("trigger", shown=False),
    Column("started_at", Kind.TIME, shown=False),
    Column("finished_at", Kind.TIME, shown=False),
    Column("verdict"),
    Column("participations", Kind.COUNT, shown=False),
    Column("breaks", Kind.COUNT),
    Column("new", Kind.COUNT),
    Column("cleared", Kind.COUNT),
    Column("note"),
)


def check_rows(folder: ReportFolder, runs: RunLog, limit: int) -> list[Document]:
    """The newest checks, by the names of REPORT_COLUMNS, with ``files``, the suffixes of what lies on disk.

    A check that failed or was interrupted has no report: ``note`` says why. Raises UsageError or Outage.
    """
    known = {_report_id_of(run): run for run in runs.newest(_CHECKS, limit)}
    files = folder.reports()
    newest = sorted({*files, *known}, reverse=True)[:limit]
    return [_row(folder, report_id, files.get(report_id, ()), known.get(report_id)) for report_id in newest]


class ReportFiles:
    """Reports on disk for the API. Heads are kept in memory by name and time of change: a report is written once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._heads: dict[tuple[str, int], Document] = {}

    def newest(self, limit: int) -> list[Document]:
        """The heads of the newest reports: ``report_id``, ``verdict``, times, ``formats``."""
        paths = [path for path in self._directory.glob("*.json") if path.stem != "latest"]
        aged = sorted(((path.stat().st_mtime_ns, path.stem, path) for path in paths), reverse=True)[:limit]
        heads = {(name, age_ns): self._heads.get((name, age_ns)) or self._head(path) for age_ns, name, path in aged}
        self._heads = heads
        return [head for head in heads.values() if head]

    def file(self, report_id: str, form: str) -> Path | None:
        """The file of a report (``latest`` for the newest) in a format; None when there is none."""
        if not _REPORT_ID.fullmatch(report_id):
            return None
        path = self._directory / f"{report_id}.{form}"
        return path if path.is_file() else None

    def _head(self, path: Path) -> Document:
        try:
            report: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(report, dict) or not str(report.get("schema", "")).startswith("reconciliation-report/"):
            return {}
        forms = [form for form in ("json", "csv", "html") if path.with_suffix(f".{form}").is_file()]
        return {**{name: report.get(name) for name in _SHOWN_OF_REPORT}, "formats": forms}


def _report_id_of(run: RunRecord) -> str:
    """What a check's report is called, or would have been. The checks that chose another name wrote it down."""
    named = run.counts.get("report_id")
    return named if isinstance(named, str) else f"{run.started_at:%Y%m%dT%H%M%SZ}-{run.run_id[:8]}"


def _row(folder: ReportFolder, report_id: str, suffixes: Sequence[str], run: RunRecord | None) -> Document:
    """A check by its report, or where there is none by its run."""
    row: Document = dict.fromkeys((column.name for column in REPORT_COLUMNS), None) | {
        "report_id": report_id,
        "files": [one.lstrip(".") for one in suffixes],
        "note": "",
    }
    if run is not None:
        row |= {
            "kind": run.kind,
            "trigger": run.trigger,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "verdict": run.outcome or "running",
            "note": run.error or ("" if suffixes or run.outcome is None else "its files are gone"),
        }
    if ".json" not in suffixes:
        return row
    try:
        found = read_report(folder, report_id)
    except UsageError as damaged:
        return row | {"verdict": row["verdict"] or "?", "note": str(damaged)}
    return row | _of_report(found)


def _of_report(found: StoredReport) -> Document:
    document = found.document
    notes = [] if found.is_whole else ["one campaign"]
    if document["dry_run"]:
        notes.append("dry run")
    return {
        "kind": document["kind"],
        "trigger": document["trigger"],
        "started_at": found.started_at,
        "verdict": document["verdict"],
        "participations": document["completeness"]["participations"],
        "breaks": found.breaks_count,
        "new": document["carried"]["new"],
        "cleared": document["carried"]["cleared"],
        "note": ", ".join(notes),
    }
