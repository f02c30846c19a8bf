"""Which breaks the newest report had already: the history that lies in the files themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from reconciler.check_ports import Recognised, Seen
from reconciler.domain.breaks import Break
from reconciler.reports.writer import ReportDirectory


class LatestReportHistory:
    """Compares with ``latest.csv``; nobody can acknowledge anything there."""

    def __init__(self, reports: ReportDirectory) -> None:
        self._reports = reports

    def recognise(self, found: Sequence[Break], *, now: datetime, is_whole: bool) -> Recognised:
        """Compare what was found with the newest report; ``is_whole`` makes no difference to it."""
        del is_whole
        before = self._reports.first_seen()
        ids = {one.break_id for one in found}
        return Recognised(
            seen={one: Seen(first_seen=before.get(one, now)) for one in ids},
            new=len(ids - before.keys()),
            carried=len(ids & before.keys()),
            cleared=len(before.keys() - ids),
        )
