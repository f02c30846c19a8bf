"""Bounds on one connection: how long a head may be and take, how long anybody may keep a connection for nothing.

uvicorn reads HTTP with httptools, which has no limit of its own: a header that never ends would take all memory. A
deadline that begins anew with every byte is none, so each one here counts from its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

log = structlog.get_logger(__name__)

HEAD_BYTES_MAX = 32_768
"""Of a request's line and headers. Browsers send some kilobytes, and a token has 8 KiB at most."""
HEAD_WITHIN_S = 10.0
"""For a head, from the connection's beginning or from the answer before: who sends nothing is idle, and goes too."""
LINGER_S = 2.0
"""What is left for the rest of a body that was answered before its end; cut at once, the answer might be lost."""
UNREAD_WITHIN_S = 30.0
"""Who takes nothing of an answer for so long will take nothing more."""
CLOSE_WITHIN_S = 5.0
"""For what is still to be sent when a connection is closed."""
PIPELINED_MAX = 64
"""Requests that wait behind one another on a connection."""
FRAMING = 8
"""Chunks of a byte each are six times as long as what they carry; more around a body is no body."""

_SLICE_BYTES = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How many connections there may be, and how large a body."""

    connections_max: int
    body_bytes_max: int
    on_full: Callable[[], None]
    """Called whenever somebody is sent away, or an idle one goes to make room."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, with limits. Times are those of the loop; :func:`end_overdue` looks at them."""

    limits: ConnectionLimits

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.head_since: float | None = self.loop.time()
        """Since when a head is waited for; None: one is there, and was not answered yet."""
        self.ends_by: float | None = None
        """Then the connection is cut, whatever it does."""
        self._unread_since: float | None = None
        self._under_way = 0
        self._in_head = True
        self._is_whole = True
        self._is_deaf = False
        self._bytes = 0
        self._piece_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        if len(self.connections) <= self.limits.connections_max:
            return
        # Many come in one go, and who is closed stays in the set until the loop gets to it.
        others = [
            one
            for one in self.connections
            if isinstance(one, BoundedProtocol) and one is not self and not one.transport.is_closing()
        ]
        if len(others) < self.limits.connections_max:
            return
        self.limits.on_full()
        idle = [one for one in others if one.is_idle]
        if idle:
            min(idle, key=lambda one: one.head_since or 0.0).transport.abort()
        else:
            self._refuse(503)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        # In slices, so that no head is longer than what was counted of it.
        start = 0
        while start < len(data) and not self._is_deaf and not self.transport.is_closing():
            size = min(_SLICE_BYTES, HEAD_BYTES_MAX - self._bytes) if self._in_head else _SLICE_BYTES
            self._take(data[start : start + size])
            start += size

    def _take(self, piece: bytes) -> None:
        self._piece_bytes = len(piece)
        self._bytes += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # Nothing but HTTP/1 is spoken here: it is answered as a plain request, and what follows is not read.
            self._is_deaf, self.cycle.keep_alive = True, False
        except httptools.HttpParserError:
            self._refuse(400)
        else:
            self._require_bounds()

    def _require_bounds(self) -> None:
        if self._in_head and self._bytes >= HEAD_BYTES_MAX:
            self._refuse(431)
        elif len(self.pipeline) > PIPELINED_MAX:
            self._refuse(503)
        elif not self._is_whole and self._bytes > HEAD_BYTES_MAX + FRAMING * self.limits.body_bytes_max:
            # Beside a body there are trailers and chunks' extensions, which nobody reads.
            self._cut_soon()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._is_whole, self._bytes = True, False, self._piece_bytes

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        self.head_since = None
        self._under_way += 1

    def on_message_complete(self) -> None:
        self._is_whole, self.ends_by = True, None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._under_way -= 1
        if self._under_way == 0:
            self.head_since = self.loop.time()
            if not self._is_whole:
                self._cut_soon()

    def pause_writing(self) -> None:
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unread_since = None
        super().resume_writing()

    @property
    def is_idle(self) -> bool:
        """Whether nothing that was asked for is under way."""
        return self.head_since is not None

    def end_if_overdue(self, now: float) -> None:
        """Close what keeps a connection for nothing, and cut what does not close."""
        if self.ends_by is not None:
            if now > self.ends_by:
                self.transport.abort()
        elif self._unread_since is not None and now - self._unread_since > UNREAD_WITHIN_S:
            self.transport.abort()
        elif self.transport.is_closing():
            self.ends_by = now + CLOSE_WITHIN_S
        elif self.head_since is not None and now - self.head_since > HEAD_WITHIN_S:
            self.transport.close()

    def _cut_soon(self) -> None:
        if self.ends_by is None:
            self.ends_by = self.loop.time() + LINGER_S

    def _refuse(self, status: int) -> None:
        """Say why in a word, where nothing else was said on this connection yet, and close it."""
        if status != 503:
            log.info("a request could not be read", action="api_unreadable", status=status)
        if self.is_idle:
            head = b"content-length: 0\r\nconnection: close\r\ncache-control: no-store\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head)
        self.transport.close()


def bounded(limits: ConnectionLimits) -> type[BoundedProtocol]:
    """Return the protocol with some limits."""
    return type("Protocol", (BoundedProtocol,), {"limits": limits})


def end_overdue(connections: Collection[object], now: float) -> None:
    """Look after connections; to be called every second or so, on their loop."""
    for one in list(connections):
        if isinstance(one, BoundedProtocol):
            one.end_if_overdue(now)
