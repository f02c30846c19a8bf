"""Reports on disk: written beside their name and moved onto it, so that nobody ever reads half a report."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from reconciler.errors import UsageError
from reconciler.reports.model import Report
from reconciler.reports.renditions import BREAK_COLUMNS, PayoutRows, renditions
from reconciler.reports.tables import unguarded

_LATEST = (".csv", ".html", ".json")

BreakIdentity = tuple[str, str, str, str]
"""(kind, reason, participation, campaign): what makes it the same break in two checks."""


class ReportDirectory:
    """Where reports lie: ``<report_id>.json``, ``.csv``, ``.html`` and the rest, and ``latest.*`` beside them."""

    def __init__(self, directory: Path, *, json_breaks_max: int, payouts: PayoutRows | None = None) -> None:
        self._directory = directory
        self._json_breaks_max = json_breaks_max
        self._payouts = payouts

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
        path = self._directory / f"{report.report_id}.json"
        chosen = renditions(report, json_breaks_max=self._json_breaks_max, payouts=self._payouts)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for suffix, render in chosen.items():
                _replace(path.with_suffix(suffix), render)
            # A check of one campaign says nothing of the others, so it does not stand for the newest whole one.
            if report.is_whole:
                for suffix in _LATEST:
                    _replace(self._directory / f"latest{suffix}", partial(_copy, path.with_suffix(suffix)))
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


def _copy(source: Path, file: BinaryIO) -> None:
    with source.open("rb") as original:
        shutil.copyfileobj(original, file)


def _replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under a temporary name in the same directory, then move it onto ``path``."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp keeps others out; a report is for everyone who may enter the directory.
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
