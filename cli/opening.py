"""Opening the ledger for commands that need nothing else: MongoDB may be away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from zoneinfo import ZoneInfo

from app.ledger import LedgerParts, ledger_of, wait_for_ledger
from cli.session import Session
from reconciler.config import Settings
from reconciler.ledger.revisions import require_current


@contextmanager
def open_ledger(session: Session) -> Iterator[LedgerParts]:
    """The ledger's parts, once it is there and of this program's revision. Raises Outage or UsageError."""
    with ledger_of(session.settings()) as parts:
        wait_for_ledger(parts)
        require_current(parts.engine, makes=False)
        yield parts


def zone_of(settings: Settings) -> ZoneInfo:
    """The zone of times shown to people."""
    return ZoneInfo(settings.reports.timezone)
