"""Streams of server-sent events: each holds a connection for as long as somebody looks, so their number is limited."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from reconciler.api.problems import Problem, ProblemKind


class OpenStreams:
    """How many are open. Of the event loop's thread only."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._count = 0

    def enter(self) -> None:
        """One more. Raises Problem when there are too many."""
        if self._count >= self._count_max:
            raise Problem(ProblemKind.BUSY, "Too many streams are open.", headers={"Retry-After": "5"})
        self._count += 1

    def leave(self) -> None:
        """One less."""
        self._count -= 1


class EventStream(StreamingResponse):
    """An answer that is counted for as long as it is sent, also when its reader goes before the first event."""

    def __init__(self, events: AsyncIterator[bytes], streams: OpenStreams) -> None:
        # A proxy that buffers would hold every event back until the end.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises Problem, before anything is sent, when there are too many."""
        self._streams.enter()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave()
