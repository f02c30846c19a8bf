"""Asking for a full check: whoever asks while somebody's question is under way gets the answer to that one."""

from __future__ import annotations

import asyncio

from reconciler.api.context import Checks, CheckTicket
from reconciler.api.offload import Offload


class CheckAsking:
    """A crowd that asks at once costs one statement, and nobody of it waits for a thread. For one event loop."""

    def __init__(self) -> None:
        self._under_way: asyncio.Task[tuple[CheckTicket, bool]] | None = None

    async def ask(self, checks: Checks, offload: Offload, by: str) -> tuple[CheckTicket, bool]:
        """The open check, and whether it is new, which it is to one of the crowd only. Raises what the port raises."""
        if self._under_way is not None:
            # Shielded: one who goes away must not take the answer from the others.
            ticket, _ = await asyncio.shield(self._under_way)
            return ticket, False
        self._under_way = asyncio.ensure_future(offload(lambda: checks.request(by)))
        self._under_way.add_done_callback(self._answered)
        return await asyncio.shield(self._under_way)

    def _answered(self, task: asyncio.Task[tuple[CheckTicket, bool]]) -> None:
        self._under_way = None
        if not task.cancelled():
            # Looked at, since all who waited for it may have gone.
            task.exception()
