"""Halting: when an invariant is broken, nothing more is paid until a person has looked. Checks go on."""

from __future__ import annotations

import threading

import structlog

from reconciler.errors import InvariantBroken

log = structlog.get_logger(__name__)


class Halt:
    """Whether paying has halted in this process; a restart looks at the ledger anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._broken: InvariantBroken | None = None

    @property
    def is_on(self) -> bool:
        """Whether paying has halted."""
        return self._broken is not None

    def begin(self, broken: InvariantBroken) -> None:
        """Halt paying; said once, with the first reason."""
        with self._lock:
            if self._broken is not None:
                return
            self._broken = broken
        log.critical(
            "paying has halted: an invariant is broken",
            action="halted",
            invariant=broken.invariant,
            detail=broken.detail,
        )
