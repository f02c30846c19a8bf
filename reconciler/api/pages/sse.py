"""Server-sent events for pages: until the browser goes, the session ends, or the daemon does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from reconciler.api.auth import door_of
from reconciler.api.callers import Caller
from reconciler.api.problems import Problem
from reconciler.api.services import Services, services_of
from reconciler.api.streams import EventStream
from reconciler.errors import DatabaseFailure

HEARTBEAT_S = 15.0
"""A line at least so often, so that proxies keep the connection; and how soon a session's end is noticed."""

Look = Callable[[], Awaitable[Mapping[str, Any] | None]]
"""What to tell now; None: there is nothing more to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Events ``name``, one for each change of what ``look`` returns, which is asked every so many seconds."""

    name: str
    look: Look
    every_s: float


def stream_of(request: Request, caller: Caller, telling: Telling) -> Response:
    """A stream for somebody who is signed in."""
    services = services_of(request)
    return EventStream(_events(request, services, telling), services.streams, caller)


async def _events(request: Request, services: Services, telling: Telling) -> AsyncIterator[bytes]:
    try:
        told, told_s, known_s = "", time.monotonic(), time.monotonic()
        while not services.context.stopping.is_set():
            if time.monotonic() - known_s > HEARTBEAT_S:
                known_s = time.monotonic()
                if not await _is_still_known(request):
                    yield b"event: ended\ndata: {}\n\n"
                    return
            found = await telling.look()
            if found is None:
                return
            text = json.dumps(found)
            if text != told:
                told, told_s = text, time.monotonic()
                yield f"event: {telling.name}\ndata: {text}\n\n".encode()
            elif time.monotonic() - told_s > HEARTBEAT_S:
                told_s = time.monotonic()
                yield b": still here\n\n"
            await asyncio.sleep(telling.every_s)
    except (Problem, DatabaseFailure):
        # The browser connects again by itself, and is told by then.
        return


async def _is_still_known(request: Request) -> bool:
    try:
        return await door_of(request).recognise(request) is not None
    except Problem:
        return False
