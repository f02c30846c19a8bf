"""Reports on disk: written beside their name and moved onto it, so that nobody ever reads half a report."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TextIO

import pandas as pd

from reconciler.errors import UsageError
from reconciler.reports.model import Report
from reconciler.reports.tables import guarded, unguarded

BREAK_COLUMNS = (
    "kind",
    "reason",
    "severity",
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
    "break_id",
    "status",
    "acknowledged_by",
    "acknowledged_reason",
)
_AMOUNTS = ("expected_minor", "actual_minor", "delta_minor")

BreakIdentity = tuple[str, str, str, str]
"""(kind, reason, participation, campaign): what makes it the same break in two checks."""


class ReportDirectory:
    """Where reports lie: ``<report_id>.json``, ``<report_id>.csv``, and ``latest.*`` beside them."""

    def __init__(self, directory: Path, *, json_breaks_max: int) -> None:
        self._directory = directory
        self._json_breaks_max = json_breaks_max

    @property
    def latest(self) -> Path:
        """The newest report."""
        return self._directory / "latest.json"

    def require_writable(self) -> None:
        """Raises UsageError when no report could be written: better before a check than after it."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._directory):
                pass
        except OSError as error:
            raise UsageError(f"reports.directory {self._directory} cannot be written to: {error.strerror}") from error

    def write(self, report: Report) -> Path:
        """Write all files of a report; answers the JSON one. Raises UsageError; ``latest.*`` then stay as they were."""
        document = json.dumps(report.as_json(self._json_breaks_max), indent=2, ensure_ascii=False) + "\n"
        frame = break_frame(report)
        path = self._directory / f"{report.report_id}.json"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            _replace(path, lambda file: file.write(document))
            _replace(path.with_suffix(".csv"), lambda file: _write_csv(frame, file))
            # A check of one campaign says nothing of the others, so it does not stand for the newest whole one.
            if report.is_whole:
                _replace(self._directory / "latest.csv", lambda file: _write_csv(frame, file))
                _replace(self.latest, lambda file: file.write(document))
        except OSError as error:
            raise UsageError(f"the report cannot be written to {self._directory}: {error.strerror}") from error
        return path

    def first_seen(self) -> dict[BreakIdentity, datetime]:
        """When each break of the newest report was first seen; nothing when there is no readable report."""
        path = self._directory / "latest.csv"
        if not path.exists():
            return {}
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if not set(BREAK_COLUMNS) <= set(frame.columns):
            return {}
        columns = ["kind", "reason", "participation_id", "campaign_id", "first_seen"]
        return {
            (kind, reason, unguarded(participation), unguarded(campaign)): datetime.fromisoformat(seen)
            for kind, reason, participation, campaign, seen in frame[columns].itertuples(index=False)
        }


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


def _write_csv(frame: pd.DataFrame, file: TextIO) -> None:
    # With this line end, pandas quotes a lone carriage return too, which would otherwise begin a line of its own.
    frame.to_csv(file, index=False, lineterminator="\r\n")


def _replace(path: Path, write: Callable[[TextIO], object]) -> None:
    """Write a file under a temporary name in the same directory, then move it onto ``path``."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp keeps others out; a report is for everyone who may enter the directory.
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
