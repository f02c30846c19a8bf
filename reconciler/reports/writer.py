"""Reports on disk: which files a report has, and that all of them come together or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

import structlog

from reconciler.errors import UsageError
from reconciler.reports.folder import LATEST, ReportFolder
from reconciler.reports.model import Report
from reconciler.reports.publishing import publish
from reconciler.reports.renditions import PayoutRows, renditions

log = structlog.get_logger(__name__)

_OF_LATEST = (".csv", ".html", ".json")
"""What people open by a name that stays; the list of all payouts would be a large file twice."""


class ReportDirectory:
    """Where reports lie: ``<report_id>.json``, ``.csv``, ``.html`` and the rest, and ``latest.*`` beside them."""

    def __init__(self, directory: Path, *, json_breaks_max: int, keep: int, payouts: PayoutRows | None = None) -> None:
        self._directory = directory
        self._json_breaks_max = json_breaks_max
        self._keep = keep
        self._payouts = payouts

    def require_writable(self) -> None:
        """Raises UsageError when no report could be written: better before a check than after it."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._directory):
                pass
        except OSError as error:
            raise UsageError(f"reports.directory {self._directory} cannot be written to: {error.strerror}") from error

    def write(self, report: Report) -> Path:
        """Write all files of a report; returns the JSON one. Raises UsageError; ``latest.*`` then stay as they were.

        Then the oldest reports beyond ``reports.keep`` go.
        """
        writers = renditions(report, json_breaks_max=self._json_breaks_max, payouts=self._payouts)
        # A check of one campaign says nothing of the others, so it does not stand for the newest whole one.
        copies = {f"{LATEST}{suffix}": suffix for suffix in _OF_LATEST} if report.is_whole else {}
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            publish(self._directory, report.report_id, writers, copies)
        except OSError as error:
            raise UsageError(f"the report cannot be written to {self._directory}: {error.strerror}") from error
        gone = ReportFolder(self._directory).prune(self._keep)
        if gone:
            log.info("removed old reports", action="reports_pruned", reports=len(gone), oldest=gone[-1])
        return self._directory / f"{report.report_id}.json"
