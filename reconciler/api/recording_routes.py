"""``POST /api/v1/campaigns/impression/{token}`` and ``/click/{token}``: the two routes that viewers' overlays call.

They are the hot path. The request is read by hand instead of through models: an empty body costs nothing, and a body
is one small object. What they accept and answer stands in the OpenAPI schema all the same.

The token is the secret. It is in no log line, no answer and no error of these routes; whoever serves them keeps access
logs off.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from reconciler.api.group_commit import GroupCommit
from reconciler.api.rate_limits import BucketRate, Buckets, RateLimits, TrustedProxies
from reconciler.api.recording_schema import CLICK_OPENAPI, IMPRESSION_OPENAPI, PROBLEMS
from reconciler.config.api import ApiSettings
from reconciler.domain.recording import Outcome, Recorded, RecordingKind, RecordingRefusal, RefusedReport, ViewerReport
from reconciler.metrics import Metrics
from reconciler.ports.hints import Hints
from reconciler.ports.recording import Recorder

BODY_BYTES_MAX = 1_024
"""A body is ``{"count": 1000}``; whoever sends more means something else."""

KEY_LENGTH_MAX = 200

# Cheap, and without a look at any database: what cannot be a token is answered like one that nobody has.
_TOKEN = re.compile(r"[A-Za-z0-9._~=+-]{8,200}")
_KEY = re.compile(rf"[\x21-\x7e]{{1,{KEY_LENGTH_MAX}}}")

_STATUSES = {
    RecordingRefusal.TOKEN_UNKNOWN: 404,
    RecordingRefusal.KEY_REUSED: 422,
    RecordingRefusal.BUSY: 503,
    RecordingRefusal.UNAVAILABLE: 503,
    RecordingRefusal.OUTCOME_UNKNOWN: 503,
}
_RETRY_AFTER_S = 1


class _Malformed(Exception):
    """A request that cannot be read: its status and what is wrong, without quoting it."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class _LeanRoute(APIRoute):
    """A route whose endpoint takes the request as it is; documented like every other."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What the routes work with; :func:`recording` makes it of the settings."""

    groups: GroupCommit
    limits: RateLimits
    count_max: int

    @asynccontextmanager
    async def running(self, _app: FastAPI | None = None) -> AsyncIterator[None]:
        """Take reports while the application runs; fits FastAPI's ``lifespan``."""
        self.groups.start()
        try:
            yield
        finally:
            self.groups.stop()


def recording(recorder: Recorder, hints: Hints, settings: ApiSettings, metrics: Metrics | None = None) -> Recording:
    """What the routes work with. Nothing runs yet: see :meth:`Recording.running`."""
    limits, minute_max = settings.recording, settings.recording.impressions_per_minute_max
    return Recording(
        groups=GroupCommit(recorder, hints, group_max=limits.group_max, queue_max=limits.queue_max, metrics=metrics),
        limits=RateLimits(
            tokens=Buckets(BucketRate(per_s_max=limits.token_per_s_max, burst_max=limits.token_burst_max)),
            addresses=Buckets(BucketRate(per_s_max=limits.address_per_s_max, burst_max=limits.address_burst_max)),
            impressions=Buckets(BucketRate(per_s_max=minute_max / 60, burst_max=minute_max)),
            proxies=TrustedProxies(settings.trusted_proxies),
        ),
        count_max=limits.count_max,
    )


def recording_router(recording: Recording) -> APIRouter:
    """The two routes. They need no authentication: the token is the secret."""
    router = APIRouter(prefix="/api/v1/campaigns", tags=["recording"], route_class=_LeanRoute)
    for kind, openapi in ((RecordingKind.IMPRESSION, IMPRESSION_OPENAPI), (RecordingKind.CLICK, CLICK_OPENAPI)):
        router.add_api_route(
            f"/{kind.value}/{{token}}",
            _endpoint(recording, kind),
            methods=["POST"],
            name=f"record_{kind.value}",
            operation_id=f"record_{kind.value}",
            summary=openapi["summary"],
            description=openapi["description"],
            response_model=None,
            responses=openapi["responses"],
            openapi_extra=openapi["extra"],
        )
    return router


def _endpoint(recording: Recording, kind: RecordingKind) -> Callable[[Request], Awaitable[Response]]:
    async def record(request: Request) -> Response:
        token: str = request.path_params["token"]
        wait_s = recording.limits.wait_s(token, _address(request, recording.limits.proxies))
        if wait_s:
            detail = "Too many reports; come again later."
            return _problem(request, 429, "too_many_requests", detail, retry_after_s=wait_s)
        try:
            count, key = await _count(request, recording.count_max), _key(request)
        except _Malformed as malformed:
            return _problem(request, malformed.status, "malformed_request", malformed.detail)
        if not _TOKEN.fullmatch(token):
            return _answer(request, RefusedReport(refusal=RecordingRefusal.TOKEN_UNKNOWN))
        return await _recorded(request, recording, ViewerReport(token=token, kind=kind, count=count, key=key))

    return record


async def _recorded(request: Request, recording: Recording, report: ViewerReport) -> Response:
    """Clicks pay nothing: only impressions have a limit of their own, and only what is counted takes from it."""
    limits, is_limited = recording.limits, report.kind is RecordingKind.IMPRESSION
    if is_limited and (wait_s := limits.count_wait_s(report.token, report.count)):
        detail = "Too many impressions of this token; come again later."
        return _problem(request, 429, "too_many_requests", detail, retry_after_s=wait_s)
    outcome = await recording.groups.record(report)
    # What nobody can know may have been counted.
    is_counted = (
        not outcome.replayed if isinstance(outcome, Recorded) else outcome.refusal is RecordingRefusal.OUTCOME_UNKNOWN
    )
    if is_limited and not is_counted:
        limits.uncount(report.token, report.count)
    return _answer(request, outcome)


def _address(request: Request, proxies: TrustedProxies) -> str:
    peer = request.client.host if request.client is not None else ""
    entries = request.headers.getlist("x-forwarded-for")
    return proxies.client(peer, ",".join(entries) if entries else None)


async def _count(request: Request, count_max: int) -> int:
    headers = request.headers
    length = headers.get("content-length")
    if length is not None:
        if length == "0":
            return 1
        if not length.isascii() or not length.isdigit() or len(length) > 10 or int(length) > BODY_BYTES_MAX:
            raise _Malformed(413, f"The body is larger than {BODY_BYTES_MAX} bytes.")
    elif "transfer-encoding" not in headers:
        return 1
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise _Malformed(413, f"The body is larger than {BODY_BYTES_MAX} bytes.")
    except ClientDisconnect:
        raise _Malformed(400, "The body ended early.") from None
    return _read_count(body, count_max) if body else 1


def _read_count(body: bytes, count_max: int) -> int:
    try:
        pairs = json.loads(body, object_pairs_hook=list)
    except (ValueError, RecursionError):
        raise _Malformed(422, "The body is not JSON.") from None
    # Objects come as lists of pairs, so that a name given twice is seen; a list of the client's own begins otherwise.
    if not isinstance(pairs, list) or len(pairs) != 1 or not body.lstrip().startswith(b"{"):
        raise _Malformed(422, 'The body must be empty or {"count": n}, and nothing else.')
    name, count = pairs[0]
    if name != "count" or not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= count_max:
        raise _Malformed(422, f"count must be a whole number from 1 to {count_max}, and the only field.")
    return count


def _key(request: Request) -> str | None:
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not _KEY.fullmatch(keys[0]):
        raise _Malformed(422, f"Idempotency-Key must be given once, as 1 to {KEY_LENGTH_MAX} visible ASCII characters.")
    return keys[0]


def _answer(request: Request, outcome: Outcome) -> Response:
    if isinstance(outcome, RefusedReport):
        return _refused(request, outcome)
    headers = {"cache-control": "no-store"}
    if outcome.replayed:
        headers["idempotent-replayed"] = "true"
    return Response(_shown(outcome), media_type="application/json", headers=headers)


def _shown(recorded: Recorded) -> bytes:
    answer = {
        "impressions": recorded.impressions,
        "clicks": recorded.clicks,
        "remaining": recorded.remaining,
        "completed": recorded.completed,
    }
    return json.dumps(answer, separators=(",", ":")).encode()


def _refused(request: Request, refused: RefusedReport) -> Response:
    refusal = refused.refusal
    status = _STATUSES.get(refusal, 409)
    extra: dict[str, object] = {}
    if refused.problems:
        extra["problems"] = [{"field": one.field, "why": one.why} for one in refused.problems]
    if refused.affordable_count is not None:
        extra["affordable_count"] = refused.affordable_count
    retry_after_s = _RETRY_AFTER_S if status == 503 else None
    detail = PROBLEMS[refusal.value][1]
    return _problem(request, status, refusal.value, detail, retry_after_s=retry_after_s, **extra)


def _problem(
    request: Request, status: int, code: str, detail: str, *, retry_after_s: int | None = None, **extra: object
) -> Response:
    """A problem by RFC 9457. It has no ``instance``: the path of these routes is a secret."""
    problem = {
        "type": f"urn:payout-reconciler:problem:{code}",
        "title": PROBLEMS[code][0],
        "status": status,
        "detail": detail,
        "request_id": str(request.scope.get("request_id", "")),
        "code": code,
    } | extra
    headers = {"cache-control": "no-store"}
    if retry_after_s is not None:
        headers["retry-after"] = str(retry_after_s)
    body = json.dumps(problem, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(body, status_code=status, media_type="application/problem+json", headers=headers)
