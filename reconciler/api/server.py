"""uvicorn in one thread of the daemon, with an event loop of its own: begun before the jobs, ended with them."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from reconciler.api.services import Services
from reconciler.api.wire import ConnectionLimits, bounded, end_overdue
from reconciler.config.api import ApiSettings
from reconciler.errors import ConfigError

log = structlog.get_logger(__name__)

OPEN_REQUESTS_S = 2
"""Seconds that requests under way have at the end; then they are cut."""
STOP_WITHIN_S = 1.5
"""What :meth:`ApiServer.stop` waits at most. The end itself begins with ``stopping``, beside that of the workers."""
LOOK_EVERY_S = 0.1
LOOK_AFTER_EVERY_S = 1.0
CONNECTIONS_MAX = 4_000
"""Each holds memory and a file. Beyond them an idle one goes, or the newcomer is answered with 503."""
BACKLOG = 2_048
"""Connections that the system keeps until we take them."""
SAY_EVERY_S = 60.0
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ApiServer:
    """Serves an application until ``stopping`` is set. ``on_death`` is called when its thread ends by a defect."""

    def __init__(
        self, app: FastAPI, settings: ApiSettings, *, stopping: threading.Event, on_death: Callable[[], None]
    ) -> None:
        self._app = app
        self._socket = _bound(settings.host, settings.port)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        """Where it is reached from this machine."""
        self._stopping = stopping
        self._on_death = on_death
        files_max = _files_max()
        # Half for others: databases, reports, and what is taken in one go before it is counted.
        self._connections_max = min(CONNECTIONS_MAX, files_max // 2)
        # asyncio takes so many in one go; each is a file before anybody can count it.
        self._backlog = min(BACKLOG, files_max // 16)
        self._said_s: float | None = None
        limits = ConnectionLimits(
            connections_max=self._connections_max, body_bytes_max=settings.body_bytes_max, on_full=self._say_full
        )
        config = uvicorn.Config(
            app,
            http=bounded(limits),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies or None,
            backlog=self._backlog,
            timeout_graceful_shutdown=OPEN_REQUESTS_S,
            lifespan="on",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="api", daemon=True)

    def start(self) -> None:
        """Begin to serve. From here on a connection waits for the thread and is not refused."""
        self._socket.listen(self._backlog)
        self._thread.start()
        log.info("the API is served", action="api_started", url=self.url)

    def fault(self) -> str | None:
        """None while its thread lives; a probe of liveness."""
        return None if self._thread.is_alive() else "its thread has ended"

    def stop(self) -> bool:
        """Wait a little for the end, once ``stopping`` is set; False when something hangs and is left behind."""
        until_s = time.monotonic() + STOP_WITHIN_S
        if self._thread.ident is not None:
            self._thread.join(STOP_WITHIN_S)
        services: Services = self._app.state.services
        is_idle = services.offload.close(max(0.0, until_s - time.monotonic()))
        self._socket.close()
        has_ended = is_idle and not self._thread.is_alive()
        if has_ended:
            log.info("the API has stopped", action="api_stopped")
        else:
            log.warning("requests did not end in time and are abandoned", action="api_abandons")
        return has_ended

    def _serve(self) -> None:
        try:
            asyncio.run(self._serve_until_stopped())
        finally:
            if not self._stopping.is_set():
                self._on_death()

    async def _serve_until_stopped(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_loop_error)
        serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        looked_s = loop.time()
        while not self._stopping.is_set() and not serving.done():
            await asyncio.wait([serving], timeout=LOOK_EVERY_S)
            if loop.time() - looked_s > LOOK_AFTER_EVERY_S:
                looked_s = loop.time()
                end_overdue(self._server.server_state.connections, looked_s)
        self._server.should_exit = True
        await serving

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio tells of each connection that it could not take, with a traceback: thousands in a second."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _OUT_OF_FILES:
            self._say_full()
        else:
            loop.default_exception_handler(context)

    def _say_full(self) -> None:
        now_s = time.monotonic()
        if self._said_s is None or now_s - self._said_s > SAY_EVERY_S:
            self._said_s = now_s
            log.warning(
                "too many connections are open: idle ones are closed, and newcomers sent away",
                action="api_full",
                connections_max=self._connections_max,
            )


def _files_max() -> int:
    """How many files this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return CONNECTIONS_MAX * 2 if soft == resource.RLIM_INFINITY else soft


def _bound(host: str, port: int) -> socket.socket:
    """A socket on the address. Bound before anything else begins, so that a taken port is a clear refusal.

    Raises ConfigError.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"api.host {host} is not an address of this machine: {error.strerror}.") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"api.port {port} on {host} cannot be listened on: {error.strerror}. Choose another, or end what has it."
        ) from None
    return bound
