"""Halting: when an invariant is broken, nothing more is paid until a person has looked. Checks go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from reconciler.errors import InvariantBroken, ReconcilerError

log = structlog.get_logger(__name__)


class HaltRecords(Protocol):
    """Where halts are kept, for every process to see."""

    def halt(self, invariant: str, detail: str) -> None:
        """Stop paying, unless it is stopped already."""
        ...

    def is_halted(self) -> bool:
        """Whether paying is stopped, and nobody has resumed it."""
        ...


class Halt:
    """Whether paying has halted: as recorded, or in this process alone when it cannot be recorded."""

    def __init__(self, records: HaltRecords) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._unwritten: InvariantBroken | None = None

    def is_on(self) -> bool:
        """Whether paying has halted. Raises Outage when the record cannot be read."""
        with self._lock:
            if self._unwritten is not None:
                self._records.halt(self._unwritten.invariant, self._unwritten.detail)
                self._unwritten = None
        return self._records.is_halted()

    def begin(self, broken: InvariantBroken) -> None:
        """Halt paying."""
        log.critical(
            "paying has halted: an invariant is broken",
            action="halted",
            invariant=broken.invariant,
            detail=broken.detail,
        )
        try:
            self._records.halt(broken.invariant, broken.detail)
        except ReconcilerError as error:
            # Kept here until it can be written down; this process pays nothing meanwhile.
            self._unwritten = broken
            log.error("the halt could not be written down yet", action="halt_not_kept", reason=str(error))  # noqa: TRY400


@contextmanager
def halting(records: HaltRecords) -> Iterator[None]:
    """Record a broken invariant as a halt, and raise it again. Nobody pays until a person has looked."""
    try:
        yield
    except InvariantBroken as broken:
        records.halt(broken.invariant, broken.detail)
        raise
