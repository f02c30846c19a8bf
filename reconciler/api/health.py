"""Whether the process lives, whether it is of use, and how it is doing: for machines.

``/livez`` looks at threads only, whether they are there and get somewhere: who restarts a daemon because a database is
away turns one outage into two. ``/readyz`` looks at both databases, and at what keeps payments from being made.
``/metrics`` renders what was counted, and asks no database; it shows amounts, so it is for those who may read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from reconciler.api.auth import Viewer
from reconciler.api.problems import ProblemKind, problem_responses
from reconciler.api.services import Services, ServicesOf

STREAMS_BY_DESIGN = frozenset({"streaming", "degraded_polling", "stopped"})
"""States of the watch in which payments are made as promised, be it by the sweep alone."""

router = APIRouter(tags=["health"])

_Responses = dict[int | str, dict[str, Any]]
_LINES: _Responses = {200: {"content": {"text/plain": {"example": "ok"}}}}
_UNWELL: _Responses = {503: {"description": "What is wrong, a line each", "content": {"text/plain": {}}}}


@router.get("/livez", summary="Do the threads live?", response_class=PlainTextResponse, responses={**_LINES, **_UNWELL})
async def livez(services: ServicesOf, verbose: Annotated[str | None, Query(max_length=10)] = None) -> Response:
    """Threads only, never a database."""
    return _lines(services.context.liveness.faults(), is_verbose=verbose is not None)


@router.get("/readyz", summary="Is it of use?", response_class=PlainTextResponse, responses={**_LINES, **_UNWELL})
async def readyz(services: ServicesOf, verbose: Annotated[str | None, Query(max_length=10)] = None) -> Response:
    """Both databases answer; standing by, or leading: payments are made, a sweep is done, the watch is as designed."""
    ledger, mongodb = await asyncio.gather(services.ledger_health.fault(), services.mongodb_health.fault())
    faults: dict[str, str | None] = {"ledger": ledger, "mongodb": mongodb}
    faults |= _own_faults(services)
    return _lines(faults, is_verbose=verbose is not None)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {}}}, **problem_responses(ProblemKind.UNAUTHORIZED)},
)
async def metrics(services: ServicesOf, _caller: Viewer) -> Response:
    """What was counted since the start; no label names a participation or a person."""
    return Response(generate_latest(services.context.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _own_faults(services: Services) -> Mapping[str, str | None]:
    """What this process knows of itself. A stand-by need not have swept: it is ready to serve, and to take over."""
    board = services.context.status.snapshot()
    clock = board.get("clock", {}).get("fault")
    own = {"clock": None if clock is None else str(clock)}
    if not services.context.is_leader():
        return {**own, "lease": None, "first_sweep": None, "stream": None}
    has_swept = board.get("sweep", {}).get("last_finished_at") is not None
    state = board.get("stream", {}).get("state", "stopped")
    troubles = {f"job_{name}": trouble for name, trouble in services.context.troubles().items()}
    return {
        **own,
        **troubles,
        "lease": None,
        "first_sweep": None if has_swept else "is not done yet",
        "stream": None if state in STREAMS_BY_DESIGN else f"is {state}",
    }


def _lines(faults: Mapping[str, str | None], *, is_verbose: bool) -> Response:
    wrong = [name for name, fault in faults.items() if fault is not None]
    lines = [f"[{'-' if fault else '+'}]{name} {fault or 'ok'}" for name, fault in faults.items()]
    shown = lines if is_verbose or wrong else []
    text = "\n".join([*shown, "not ok" if wrong else "ok"]) + "\n"
    return PlainTextResponse(text, status_code=503 if wrong else 200)
