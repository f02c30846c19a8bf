"""Requests for a full check: callers who ask while a request is under way share its result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reconciler.api.offload import Offload
from reconciler.ledger.operations.check_requests import CheckRequest

Requested = tuple[CheckRequest, bool]
"""The open check, and whether it is new."""


class CheckRequesting:
    """Many callers at once cost one statement and one thread. Only one event loop may use it."""

    def __init__(self, request: Callable[[str], Requested], offload: Offload) -> None:
        """``request`` asks in somebody's name; it blocks."""
        self._request = request
        self._offload = offload
        self._under_way: asyncio.Task[Requested] | None = None

    async def request(self, by: str) -> Requested:
        """Return the open check, and whether it is new: to one caller only. Raises what ``request`` raises."""
        if self._under_way is not None:
            # Shielded: one who goes away must not take the answer from the others.
            check, _ = await asyncio.shield(self._under_way)
            return check, False
        self._under_way = asyncio.ensure_future(self._offload(lambda: self._request(by)))
        self._under_way.add_done_callback(self._answered)
        return await asyncio.shield(self._under_way)

    def _answered(self, task: asyncio.Task[Requested]) -> None:
        self._under_way = None
        if not task.cancelled():
            # Looked at, since all who waited for it may have gone.
            task.exception()
