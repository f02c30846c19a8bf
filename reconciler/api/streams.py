"""Streams of server-sent events: each holds a connection for as long as somebody looks, so their number is limited."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from reconciler.api.callers import Caller
from reconciler.api.problems import Problem, ProblemKind

STREAMS_MAX = 200
"""Streams of events at once."""
OF_ONE_MAX = 20
"""Streams of one caller: a few dashboards on a few screens. Who takes all of them takes them from nobody else."""


class OpenStreams:
    """How many are open, and whose. Of the event loop's thread only."""

    def __init__(self, count_max: int, *, of_one_max: int = OF_ONE_MAX) -> None:
        self._count_max = count_max
        self._of_one_max = of_one_max
        self._open: Counter[str] = Counter()

    def enter(self, whose: str) -> None:
        """One more. Raises Problem when there are too many."""
        if self._open[whose] >= self._of_one_max:
            raise Problem(ProblemKind.TOO_MANY, "You have too many streams open.", headers={"Retry-After": "5"})
        if self._open.total() >= self._count_max:
            raise Problem(ProblemKind.BUSY, "Too many streams are open.", headers={"Retry-After": "5"})
        self._open[whose] += 1

    def leave(self, whose: str) -> None:
        """One less."""
        self._open[whose] -= 1
        if not self._open[whose]:
            del self._open[whose]


class EventStream(StreamingResponse):
    """An answer that is counted for as long as it is sent, also when its reader goes before the first event."""

    def __init__(self, events: AsyncIterator[bytes], streams: OpenStreams, caller: Caller) -> None:
        # A proxy that buffers would hold every event back until the end.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._streams = streams
        self._whose = caller.identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises Problem, before anything is sent, when there are too many."""
        self._streams.enter(self._whose)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._whose)
