"""Whether a database can be used. It is asked once a second at most, since probes need no credentials."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from reconciler.api.offload import Offload
from reconciler.errors import DatabaseFailure, UsageError

FRESH_S = 1.0

ANSWER_S = 3.0
"""Seconds to wait: a slower database is of no use to payments either, and probes give up soon after."""


class DatabaseHealth:
    """Keeps the last result for a second. Of several callers at once one asks, and the others wait for it.

    ``ask`` raises DatabaseFailure or UsageError. One that hangs is asked no second time meanwhile.
    """

    def __init__(self, ask: Callable[[], object], offload: Offload) -> None:
        self._ask = ask
        self._offload = offload
        self._lock = asyncio.Lock()
        self._looking: asyncio.Future[str | None] | None = None
        self._answer: str | None = None
        self._looked_s: float | None = None

    async def fault(self) -> str | None:
        """Return None, or what is wrong in a few words."""
        async with self._lock:
            if self._looked_s is None or time.monotonic() - self._looked_s > FRESH_S:
                self._answer = await self._within_time()
                self._looked_s = time.monotonic()
            return self._answer

    async def _within_time(self) -> str | None:
        looking = self._looking or asyncio.ensure_future(self._offload(self._look))
        self._looking = looking
        await asyncio.wait([looking], timeout=ANSWER_S)
        if not looking.done():
            return f"has not answered for {ANSWER_S:.0f} s"
        self._looking = None
        return looking.result()

    def _look(self) -> str | None:
        try:
            self._ask()
        except DatabaseFailure as failure:
            return failure.what
        except UsageError:
            return "is not at this program's revision"
        return None
