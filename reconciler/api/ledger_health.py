"""Whether the ledger can be worked with, asked once a second at most: who wants to know needs no credentials."""

from __future__ import annotations

import asyncio
import time

from reconciler.api.context import Books
from reconciler.api.offload import Offload
from reconciler.errors import DatabaseFailure, UsageError

FRESH_S = 1.0


class LedgerHealth:
    """The last answer, for a second. Of those who ask at once one looks, and the others wait for it."""

    def __init__(self, books: Books, offload: Offload) -> None:
        self._books = books
        self._offload = offload
        self._lock = asyncio.Lock()
        self._answer: str | None = None
        self._looked_s: float | None = None

    async def fault(self) -> str | None:
        """None, or what is wrong in a few words."""
        async with self._lock:
            if self._looked_s is None or time.monotonic() - self._looked_s > FRESH_S:
                self._answer = await self._offload(self._look)
                self._looked_s = time.monotonic()
            return self._answer

    def _look(self) -> str | None:
        try:
            self._books.require_ready()
        except DatabaseFailure as failure:
            return failure.what
        except UsageError:
            return "is not at this program's revision"
        return None
