"""Server-sent events: one for each change of what somebody looks at. A stream ends with its session or the daemon."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from reconciler.api.auth import authenticator_of
from reconciler.api.callers import Caller
from reconciler.api.problems import Problem
from reconciler.api.services import Services, services_of
from reconciler.errors import DatabaseFailure

HEARTBEAT_S = 15.0
"""A line at least so often, so that proxies keep the connection; and how soon a session's end is noticed."""

Look = Callable[[], Awaitable[Mapping[str, Any] | None]]
"""Returns what there is to see now; None ends the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Events ``name``, one for each change of what ``look`` returns, which is called every so many seconds."""

    name: str
    look: Look
    every_s: float


class EventStream(EventSourceResponse):
    """A stream that is counted for as long as it is sent, also when its reader goes before the first event."""

    def __init__(self, request: Request, caller: Caller, changes: Changes) -> None:
        services = services_of(request)
        # A proxy that buffers would hold every event back until the end.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(_events(request, services, changes), headers=headers)
        self._streams = services.streams
        self._whose = caller.identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises Problem, before anything is sent, when there are too many."""
        self._streams.enter(self._whose)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._whose)


async def _events(request: Request, services: Services, changes: Changes) -> AsyncIterator[bytes]:
    sent, sent_s, known_s = "", time.monotonic(), time.monotonic()
    try:
        while not services.context.stopping.is_set():
            if time.monotonic() - known_s > HEARTBEAT_S:
                known_s = time.monotonic()
                if not await _is_still_known(request):
                    yield format_sse_event(event="ended", data_str="{}")
                    return
            found = await changes.look()
            if found is None:
                return
            text = json.dumps(found)
            if text != sent:
                sent, sent_s = text, time.monotonic()
                yield format_sse_event(event=changes.name, data_str=text)
            elif time.monotonic() - sent_s > HEARTBEAT_S:
                sent_s = time.monotonic()
                yield format_sse_event(comment="still here")
            await asyncio.sleep(changes.every_s)
    except (Problem, DatabaseFailure):
        # The browser connects again by itself, and gets the refusal then.
        return


async def _is_still_known(request: Request) -> bool:
    try:
        return await authenticator_of(request).recognise(request) is not None
    except Problem:
        return False
