"""How the daemon is, and full checks on demand with their progress as it happens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from reconciler.api.auth import Admin, Viewer
from reconciler.api.problems import Problem, ProblemKind, problem_responses
from reconciler.api.services import Services, ServicesOf
from reconciler.api.sse import Changes, EventStream
from reconciler.clock import spelled, utc_text
from reconciler.ledger.operations.check_requests import CheckRequest
from reconciler.queries import Document
from reconciler.queries.overview import halt_document, last_run_document, outbox_document

POLL_LOCAL_S = 0.25
"""Between two looks at the status board, when the check runs in this process."""
POLL_SQL_S = 1.0
"""Between two looks at the row, when another process does it, or none yet."""
_REPORT_ID = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"

router = APIRouter(prefix="/api/v1/campaigns/monitoring", tags=["monitoring"])

ReportId = Annotated[
    str, Path(pattern=_REPORT_ID, description="As full-check answered it.", examples=["20261126T033000Z-4f1c1c2a"])
]


Moment = Annotated[
    datetime,
    PlainSerializer(utc_text, when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A time, spelled as everywhere."""


class _Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class MonitoringStatus(_Camel):
    """What an operator wants to know first."""

    is_active: bool = Field(description="Whether anything is paid by this daemon now: it leads, and is not halted.")
    is_leader: bool
    stream_status: str = Field(examples=["streaming"])
    start_time: Moment
    queue: dict[str, Any] = Field(description="The work queue of the watch: how much waits.")
    lag_s: float | None = Field(description="Seconds that the stream is behind the cluster; null: not watching.")
    last_sweep: dict[str, Any] | None
    last_check: dict[str, Any] | None
    running_check: dict[str, Any] | None = Field(description="The full check that runs in this daemon.")
    halt: dict[str, Any] | None = Field(description="Why nothing is paid, and since when.")
    outbox: dict[str, int] = Field(description="Payouts whose effects are pending or blocked.")
    sections: dict[str, Any] = Field(description="All that the daemon knows of itself, by part.")


class CheckAccepted(_Camel):
    """A full check that was asked for."""

    report_id: str = Field(examples=["20261126T033000Z-4f1c1c2a"])
    state: str = Field(description="waiting, running or finished", examples=["waiting"])
    is_new: bool = Field(description="False: it was asked for before, and one at a time is enough.")
    requested_by: str
    events: str = Field(description="Where its progress is streamed.")
    report: str = Field(description="Where the report will be.")


class CheckState(_Camel):
    """How far a full check is."""

    report_id: str
    state: str
    requested_by: str
    requested_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    done: int = Field(description="Participations checked so far.")
    expected: int = Field(description="About how many there are.")
    outcome: str | None = Field(description="The report's verdict; failed or given_up where there is no report.")
    error: str | None


@router.get("/status", summary="How the daemon is", responses=problem_responses(ProblemKind.UNAUTHORIZED))
async def status(services: ServicesOf, _caller: Viewer) -> MonitoringStatus:
    """Whether it pays, how far behind it is, and what it did last."""
    return await services.offload(lambda: _status(services))


@router.post(
    "/full-check",
    status_code=202,
    summary="Ask for a full check",
    responses=problem_responses(ProblemKind.UNAUTHORIZED, ProblemKind.FORBIDDEN),
)
async def full_check(services: ServicesOf, caller: Admin) -> CheckAccepted:
    """One at a time: while one is open, everybody gets that one. Any daemon takes the request, the leader does it."""
    check, is_new = await services.check_requests.request(caller.name)
    return CheckAccepted(
        report_id=check.report_id,
        state=check.state,
        is_new=is_new,
        requested_by=check.requested_by,
        events=f"{router.prefix}/full-check/{check.report_id}/events",
        report=f"/api/v1/reports/{check.report_id}",
    )


@router.get(
    "/full-check/{report_id}",
    summary="How far a full check is",
    responses=problem_responses(ProblemKind.UNAUTHORIZED, ProblemKind.NOT_FOUND),
)
async def check_state(services: ServicesOf, _caller: Viewer, report_id: ReportId) -> CheckState:
    """Of one that was asked for, whoever does it."""
    return _state(services, await _check(services, report_id))


@router.get(
    "/full-check/{report_id}/events",
    summary="The progress of a full check, as it happens",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events `progress` with a CheckState each; the last has the state finished.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **problem_responses(ProblemKind.UNAUTHORIZED, ProblemKind.NOT_FOUND, ProblemKind.TOO_MANY, ProblemKind.BUSY),
    },
)
async def check_events(request: Request, services: ServicesOf, caller: Viewer, report_id: ReportId) -> Response:
    """Server-sent events until the check has ended, or the daemon ends; then connect again."""
    reader = _CheckReader(services, await _check(services, report_id))
    return EventStream(request, caller, Changes(name="progress", look=reader.read, every_s=POLL_LOCAL_S))


async def _check(services: Services, report_id: str) -> CheckRequest:
    check = await services.offload(lambda: services.context.checks.find(report_id))
    if check is None:
        raise Problem(ProblemKind.NOT_FOUND, f"No full check {report_id} was asked for.")
    return check


class _CheckReader:
    """Reads a check for one stream: the status board each time, the row every second."""

    def __init__(self, services: Services, check: CheckRequest) -> None:
        self._services = services
        self._check = check
        self._read_s = time.monotonic()
        self._has_ended = False

    async def read(self) -> Document | None:
        """The check's state; None after its end was shown."""
        if self._has_ended:
            return None
        if time.monotonic() - self._read_s >= POLL_SQL_S:
            self._check = await _check(self._services, self._check.report_id)
            self._read_s = time.monotonic()
        self._has_ended = self._check.state == "finished"
        return _state(self._services, self._check).model_dump(mode="json", by_alias=True)


def _state(services: Services, check: CheckRequest) -> CheckState:
    """From the row; while it runs in this process, the status board knows more."""
    board = services.context.status.snapshot().get("full_check", {})
    is_here = bool(board.get("running")) and board.get("report_id") == check.report_id
    done, expected = check.done_count, check.expected_count
    if is_here and check.state != "finished":
        done, expected = int(str(board.get("done", 0))), int(str(board.get("expected", 0)))
    return CheckState(
        report_id=check.report_id,
        state="running" if is_here and check.state == "waiting" else check.state,
        requested_by=check.requested_by,
        requested_at=check.requested_at,
        started_at=check.started_at,
        finished_at=check.finished_at,
        done=done,
        expected=expected,
        outcome=check.outcome,
        error=check.error,
    )


def _spelled(part: Mapping[str, object]) -> Document:
    return {key: spelled(value) for key, value in part.items()}


def _status(services: Services) -> MonitoringStatus:
    context = services.context
    board = context.status.snapshot()
    halt = halt_document(context.engine)
    is_leader = context.is_leader()
    stream: Document = dict(board.get("stream", {}))
    lag_s = stream.get("lag_s")
    check: Document = dict(board.get("full_check", {}))
    return MonitoringStatus(
        is_active=is_leader and halt is None,
        is_leader=is_leader,
        stream_status=str(stream.get("state", "stopped")),
        start_time=context.started_at,
        queue=_spelled(board.get("queue", {})),
        lag_s=lag_s if isinstance(lag_s, (int, float)) else None,
        last_sweep=last_run_document(context.engine, "sweep"),
        last_check=last_run_document(context.engine, "full_check"),
        running_check=_spelled(check) if check.get("running") else None,
        halt=halt,
        outbox=outbox_document(context.engine),
        sections=_spelled(board),
    )
