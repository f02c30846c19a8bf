"""The outermost layer: request id, limits, security headers and the log line of every request."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.api.problems import Problem, ProblemKind, problem_response
from reconciler.config.checks import is_loopback

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_RECORDING = re.compile(r"/api/v1/campaigns/(?:impression|click)/")
_QUIET = ("/livez", "/readyz", "/metrics", "/static/")
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_EVENTS = "text/event-stream"
_LENGTH_DIGITS_MAX = 18

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_OTHER_POLICY = "default-src 'none'; frame-ancestors 'none'"
_ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not no-referrer: with it a browser says "Origin: null" of our own forms, and they would be refused.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeLimits:
    """``is_open``: nobody is asked who they are, so only this machine's own names may be called.

    ``recording_timeout_s``: of the two routes that record, whose own deadline is longer than what others may take.
    """

    body_bytes_max: int
    request_timeout_s: float
    recording_timeout_s: float
    origins: Collection[str] = ()
    is_open: bool = False


@dataclass(slots=True)
class _Exchange:
    """One request on its way."""

    request_id: str
    started_s: float = field(default_factory=time.perf_counter)
    status: int = 0
    received_bytes: int = 0


class Edge:
    """The outermost layer of the application: plain ASGI, since a burst of impressions passes here too."""

    def __init__(self, app: ASGIApp, *, limits: EdgeLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        exchange = _Exchange(given if _REQUEST_ID.fullmatch(given) else uuid4().hex)
        scope["request_id"] = exchange.request_id
        with structlog.contextvars.bound_contextvars(request_id=exchange.request_id):
            try:
                await self._serve(scope, receive, self._answering(scope, send, exchange), exchange)
            finally:
                _say(scope, exchange)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, exchange: _Exchange) -> None:
        try:
            self._refuse_early(scope)
            async with asyncio.timeout(self._limit_s(scope)) as timer:

                async def sending(message: Message) -> None:
                    if message["type"] == "http.response.start" and _is_stream_of_events(message):
                        timer.reschedule(None)
                    await send(message)

                await self._app(scope, self._limited(receive, exchange), sending)
        except Problem as problem:
            answer = problem_response(exchange.request_id, problem.kind, problem.detail, headers=problem.headers)
        except TimeoutError:
            answer = problem_response(exchange.request_id, ProblemKind.TIMEOUT)
        except Exception as error:  # noqa: BLE001 - the last line of defence: a caller gets an answer, not a traceback
            # Without the message: it may quote a document.
            log.error(  # noqa: TRY400
                "a request met a defect",
                action="api_defect",
                error=type(error).__name__,
                where=_where(error),
            )
            answer = problem_response(exchange.request_id, ProblemKind.DEFECT)
        else:
            return
        # Nothing can be said any more to who was half answered.
        if not exchange.status:
            await answer(scope, receive, send)

    def _limit_s(self, scope: Scope) -> float:
        is_recording = _RECORDING.match(scope["path"]) is not None
        return self._limits.recording_timeout_s if is_recording else self._limits.request_timeout_s

    def _refuse_early(self, scope: Scope) -> None:
        """Before anything of the body is read. Raises Problem."""
        headers, limits = Headers(scope=scope), self._limits
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            # Where two stand, a proxy may have gone by the other one.
            raise Problem(ProblemKind.MALFORMED, "Name the host once.")
        host = hosts[0]
        if limits.is_open and not is_loopback(_parts_of(f"//{host}").hostname or ""):
            # A name that an attacker's DNS points at this machine would make a browser speak for its user.
            raise Problem(ProblemKind.CROSS_ORIGIN, "Without authentication only localhost may be called.")
        length = headers.get("content-length", "")
        # Digits that Python will not even read as a number are more than any limit.
        if length.isdecimal() and (len(length) > _LENGTH_DIGITS_MAX or int(length) > limits.body_bytes_max):
            raise Problem(ProblemKind.TOO_LARGE, f"At most {limits.body_bytes_max} bytes are taken.")
        if scope["method"] in _UNSAFE and not _RECORDING.match(scope["path"]):
            self._refuse_other_sites(headers, host)

    def _refuse_other_sites(self, headers: Headers, host: str) -> None:
        """Browsers tell where a request comes from. Recording takes it from everywhere: overlays call it."""
        origin = headers.get("origin")
        if origin is None or origin in self._limits.origins:
            return
        if _parts_of(origin).netloc != host:
            raise Problem(ProblemKind.CROSS_ORIGIN, "Pages of other sites may not act here.")

    def _limited(self, receive: Receive, exchange: _Exchange) -> Receive:
        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                exchange.received_bytes += len(message.get("body", b""))
                if exchange.received_bytes > self._limits.body_bytes_max:
                    raise Problem(ProblemKind.TOO_LARGE, f"At most {self._limits.body_bytes_max} bytes are taken.")
            return message

        return receiving

    def _answering(self, scope: Scope, send: Send, exchange: _Exchange) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = exchange.request_id
                _secure(headers, is_https=scope.get("scheme") == "https")
            await send(message)

        return sending


def shown_path(scope: Scope) -> str:
    """The address of a route as it may be logged: by its pattern, without what a caller put into it.

    Recording routes carry a secret in their path, and whoever mistypes one sends the secret to another address. So of
    what is no route only the parts are shown that every such address has in common with one of ours.
    """
    route = scope.get("route")
    pattern: str | None = getattr(route, "path_format", None) or getattr(route, "path", None)
    if pattern is not None:
        return pattern
    shown = ""
    known = scope["app"].state.prefixes if "app" in scope else ()
    for part in scope["path"].split("/")[1:]:
        if f"{shown}/{part}" not in known:
            return f"{shown}/***"
        shown = f"{shown}/{part}"
    return shown


def prefixes_of(patterns: Iterable[str]) -> frozenset[str]:
    """The fixed parts with which routes begin: ``/api``, ``/api/v1``, ``/api/v1/payouts``."""
    found: set[str] = set()
    for pattern in patterns:
        shown = ""
        for part in filter(None, pattern.split("{")[0].split("/")):
            shown = f"{shown}/{part}"
            found.add(shown)
    return frozenset(found)


def _parts_of(url: str) -> SplitResult:
    """A URL's parts; of what is none, parts that are empty, and so those of nobody."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _secure(headers: MutableHeaders, *, is_https: bool) -> None:
    for name, value in _ALWAYS:
        headers.setdefault(name, value)
    is_page = headers.get("content-type", "").startswith("text/html")
    headers.setdefault("Content-Security-Policy", _PAGE_POLICY if is_page else _OTHER_POLICY)
    headers.setdefault("Cache-Control", "no-store")
    if is_https:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")


def _is_stream_of_events(message: Message) -> bool:
    return Headers(raw=message["headers"]).get("content-type", "").startswith(_EVENTS)


def _say(scope: Scope, exchange: _Exchange) -> None:
    path = scope["path"]
    is_routine = exchange.status < 400 and (path.startswith(_QUIET) or _RECORDING.match(path) is not None)
    level = logging.DEBUG if is_routine else logging.INFO
    if not logging.getLogger().isEnabledFor(level):
        return
    log.log(
        level,
        "answered a request",
        action="api_request",
        method=scope["method"],
        path=shown_path(scope),
        status=exchange.status,
        duration_ms=round((time.perf_counter() - exchange.started_s) * 1000, 1),
        caller=scope.get("caller_name"),
    )


def _where(error: BaseException) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return ""
    return f"{traceback.tb_frame.f_globals.get('__name__', '')}:{traceback.tb_lineno}"
