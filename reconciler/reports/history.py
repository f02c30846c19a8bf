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
        identities = {_identity(one) for one in found}
        return Recognised(
            seen={one.break_id: Seen(first_seen=before.get(_identity(one), now)) for one in found},
            new=len(identities - before.keys()),
            carried=len(identities & before.keys()),
            cleared=len(before.keys() - identities),
        )


def _identity(found: Break) -> tuple[str, str, str, str]:
    return found.kind.value, found.reason, found.participation_id, found.campaign_id
