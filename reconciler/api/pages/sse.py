"""Server-sent events for pages: until the browser goes, the session ends, or the daemon does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request, Response

from reconciler.api.auth import door_of
from reconciler.api.problems import Problem
from reconciler.api.services import Services, services_of
from reconciler.api.streams import EventStream
from reconciler.errors import DatabaseFailure

HEARTBEAT_S = 15.0
"""A line at least so often, so that proxies keep the connection; and how soon a session's end is noticed."""

Look = Callable[[], Awaitable[Mapping[str, Any] | None]]
"""What to tell now; None: there is nothing more to tell."""


def stream_of(request: Request, name: str, look: Look, every_s: float) -> Response:
    """Events ``name``, one for each change of what ``look`` answers."""
    services = services_of(request)
    return EventStream(_events(request, services, name, look, every_s), services.streams)


async def _events(request: Request, services: Services, name: str, look: Look, every_s: float) -> AsyncIterator[bytes]:
    try:
        told, told_s, known_s = "", time.monotonic(), time.monotonic()
        while not services.context.stopping.is_set():
            if time.monotonic() - known_s > HEARTBEAT_S:
                known_s = time.monotonic()
                if not await _is_still_known(request):
                    yield b"event: ended\ndata: {}\n\n"
                    return
            found = await look()
            if found is None:
                return
            text = json.dumps(found)
            if text != told:
                told, told_s = text, time.monotonic()
                yield f"event: {name}\ndata: {text}\n\n".encode()
            elif time.monotonic() - told_s > HEARTBEAT_S:
                told_s = time.monotonic()
                yield b": still here\n\n"
            await asyncio.sleep(every_s)
    except (Problem, DatabaseFailure):
        # The browser connects again by itself, and is told by then.
        return


async def _is_still_known(request: Request) -> bool:
    try:
        return await door_of(request).recognise(request) is not None
    except Problem:
        return False
