"""What is remembered of breaks between checks. ``reconciler.ledger`` implements it. Both methods may raise Outage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from reconciler.domain.break_memory import CheckMark, Remembered
from reconciler.domain.breaks import Break


class BreakRecords(Protocol):
    """What is remembered of breaks from one check to the next."""

    def compare(self, found: Iterable[Break], check: CheckMark) -> Remembered:
        """What a check's findings are beside what is remembered. Writes nothing."""
        ...

    def record(self, found: Iterable[Break], check: CheckMark) -> None:
        """Remember a check's findings, once its report is on disk."""
        ...
