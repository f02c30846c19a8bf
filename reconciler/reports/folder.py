"""The reports that lie in ``reports.directory``: which there are, what belongs to each, and which of them may go.

Only names of our own making count: ``<report id><suffix>``, and the temporary ones of a process that died. Whatever
else lies there belongs to somebody else.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from pathlib import Path

import structlog

from reconciler.errors import UsageError

log = structlog.get_logger(__name__)

LATEST = "latest"
_ID = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}"
_SUFFIX = r"(?:[.-]payouts)?\.(?:json|csv|html|parquet)"
_REPORT_ID = re.compile(_ID)
_FILE = re.compile(rf"({_ID})({_SUFFIX})")
_TEMPORARY = re.compile(rf"\.(?:{_ID}|{LATEST}){_SUFFIX}\.[a-z0-9_]+")
_LEFT_BEHIND_S = 86_400
"""A temporary file so old belongs to nobody any more: writing a report takes seconds."""


class ReportFolder:
    """Reads and prunes a folder of reports."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def directory(self) -> Path:
        """Where they lie."""
        return self._directory

    def reports(self) -> dict[str, tuple[str, ...]]:
        """Report id → the suffixes of its files, the newest report first. Raises UsageError.

        An id begins with the time, so the order of text is that of time; within one second that of writing is.
        """
        found: dict[str, list[str]] = defaultdict(list)
        written: dict[str, float] = defaultdict(float)
        for name in self._names():
            matched = _FILE.fullmatch(name)
            if matched:
                found[matched[1]].append(matched[2])
                written[matched[1]] = max(written[matched[1]], self._written_at(name))
        newest_first = sorted(found, key=lambda one: (one.partition("-")[0], written[one]), reverse=True)
        return {report_id: tuple(sorted(found[report_id])) for report_id in newest_first}

    def path(self, report_id: str, suffix: str) -> Path:
        """One file of a report, or of ``latest``; it may not exist. Raises UsageError on text that is no report's id.

        Whatever is no id is refused before it becomes part of a path.
        """
        if report_id != LATEST and not _REPORT_ID.fullmatch(report_id):
            raise UsageError(f"{report_id!r} is not the id of a report; `python run.py report list` shows them")
        return self._directory / f"{report_id}{suffix}"

    def existing(self, report_id: str, suffix: str) -> Path:
        """The same, which exists. Raises UsageError with what can be done where it does not."""
        path = self.path(report_id, suffix)
        if path.is_file():
            return path
        if path.exists():
            raise UsageError(f"{path} is not a file")
        if report_id == LATEST and not self.path(LATEST, ".json").exists():
            raise UsageError(f"there is no report in {self._directory} yet: run `python run.py --full-check`")
        suffixes = self._suffixes_of(report_id)
        if not suffixes:
            raise UsageError(
                f"there is no report {report_id} in {self._directory}; `python run.py report list` shows them"
            )
        listed = ", ".join(one.lstrip(".-") for one in suffixes)
        raise UsageError(
            f"the report {report_id} was written without {suffix.lstrip('.')}; it has {listed}. A check writes every "
            "format that this installation can: run `python run.py --full-check` again where it can"
        )

    def prune(self, keep: int) -> list[str]:
        """Remove all files of every report but the newest ``keep``; returns the ids. ``latest.*`` are never removed.

        A file that cannot be removed is said and left: the report that was just written matters more.
        """
        gone = []
        for report_id, suffixes in list(self.reports().items())[keep:]:
            # The JSON document goes last: while it is there, the report is still listed, and the rest is tried again.
            in_order = sorted(suffixes, key=lambda one: one == ".json")
            if all(self._remove(f"{report_id}{suffix}") for suffix in in_order):
                gone.append(report_id)
        for name in self._names():
            if _TEMPORARY.fullmatch(name) and time.time() - self._written_at(name) > _LEFT_BEHIND_S:
                self._remove(name)
        return gone

    def _suffixes_of(self, report_id: str) -> tuple[str, ...]:
        if report_id != LATEST:
            return self.reports().get(report_id, ())
        pattern = re.compile(rf"{LATEST}({_SUFFIX})")
        return tuple(sorted(found[1] for name in self._names() if (found := pattern.fullmatch(name))))

    def _names(self) -> list[str]:
        try:
            return [entry.name for entry in self._directory.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(f"reports.directory {self._directory} cannot be read: {error.strerror}") from error

    def _remove(self, name: str) -> bool:
        try:
            (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            log.warning("an old report cannot be removed", action="report_not_pruned", file=name, reason=error.strerror)
            return False
        return True

    def _written_at(self, name: str) -> float:
        """Seconds since the epoch; of a file that has gone meanwhile, now: nobody has to remove it."""
        try:
            return (self._directory / name).stat().st_mtime
        except OSError:
            return time.time()
