"""Reports on disk: which files a report has, and that all of them come together or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import structlog

from reconciler.errors import UsageError
from reconciler.reports.model import Report
from reconciler.reports.publishing import publish
from reconciler.reports.shelf import LATEST, ReportShelf
from reconciler.reports.tables import guarded

log = structlog.get_logger(__name__)

BREAK_COLUMNS = (
    "break_id",
    "kind",
    "reason",
    "severity",
    "status",
    "participation_id",
    "campaign_id",
    "streamer_id",
    "payout_key",
    "currency",
    "expected_minor",
    "actual_minor",
    "delta_minor",
    "first_seen",
    "age_s",
    "detail",
    "action",
    "acknowledged_by",
    "acknowledged_reason",
    "note",
)
_AMOUNTS = ("expected_minor", "actual_minor", "delta_minor")

_LATEST = (".json", ".csv", ".html")
"""Of these the newest report has a copy under a name that stays; whole lists of payouts are large."""

Rendition = Callable[[Report, BinaryIO], object]
"""Writes a report in one format."""


class ReportDirectory:
    """Where reports lie: ``<report_id>.json``, ``<report_id>.csv``, …, and ``latest.*`` beside them."""

    def __init__(self, directory: Path, *, json_breaks_max: int, keep: int) -> None:
        self._directory = directory
        self._keep = keep
        self._renditions: Mapping[str, Rendition] = {
            ".json": lambda report, file: file.write(json_text(report, json_breaks_max).encode()),
            ".csv": lambda report, file: _write_csv(break_frame(report), file),
        }

    def require_writable(self) -> None:
        """Raises UsageError when no report could be written: better before a check than after it."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._directory):
                pass
        except OSError as error:
            raise UsageError(f"reports.directory {self._directory} cannot be written to: {error.strerror}") from error

    def write(self, report: Report) -> Path:
        """Write all files of a report; answers the JSON one. Raises UsageError; ``latest.*`` then stay as they were.

        Then the oldest reports beyond ``reports.keep`` go.
        """
        writers = {
            suffix: lambda file, render=render: render(report, file) for suffix, render in self._renditions.items()
        }
        # A check of one campaign says nothing of the others, so it does not stand for the newest whole one.
        copies = {f"{LATEST}{suffix}": suffix for suffix in writers if suffix in _LATEST} if report.is_whole else {}
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            publish(self._directory, report.report_id, writers, copies)
        except OSError as error:
            raise UsageError(f"the report cannot be written to {self._directory}: {error.strerror}") from error
        gone = ReportShelf(self._directory).prune(self._keep)
        if gone:
            log.info("removed old reports", action="reports_pruned", reports=len(gone), oldest=gone[-1])
        return self._directory / f"{report.report_id}.json"


def json_text(report: Report, breaks_max: int) -> str:
    """The JSON document, with the first ``breaks_max`` breaks."""
    return json.dumps(report.as_json(breaks_max), indent=2, ensure_ascii=False) + "\n"


def break_frame(report: Report) -> pd.DataFrame:
    """One row a break, in the columns BREAK_COLUMNS: amounts as Int64, ``age_s`` as int64, the rest as text.

    Text that a spreadsheet would run as a formula is preceded by an apostrophe: documents are edited by many.
    """
    frame = pd.DataFrame(report.break_rows(), columns=list(BREAK_COLUMNS))
    for column in _AMOUNTS:
        frame[column] = frame[column].astype("Int64")
    for column in set(BREAK_COLUMNS) - set(_AMOUNTS) - {"age_s"}:
        frame[column] = [guarded(value) for value in frame[column]]
    return frame


def _write_csv(frame: pd.DataFrame, file: BinaryIO) -> None:
    # With this line end, pandas quotes a lone carriage return too, which would otherwise begin a line of its own.
    frame.to_csv(file, index=False, lineterminator="\r\n", encoding="utf-8")
