"""Reports of full checks, as they lie on disk."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from reconciler.api.auth import Viewer
from reconciler.api.problems import Problem, ProblemKind, problem_responses
from reconciler.api.services import Services, ServicesOf

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])

MEDIA_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8", "html": "text/html; charset=utf-8"}

HTML_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
"""A report is one file with its own style and no script; whatever was written into a document, it may do nothing."""

_FILE = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}(\.(json|csv|html))?$"


class ReportList(BaseModel):
    """Heads of reports, the newest first; ``formats`` says which files there are."""

    reports: list[dict[str, Any]] = Field(
        examples=[
            [
                {
                    "report_id": "20261126T033000Z-4f1c1c2a",
                    "kind": "full_check",
                    "verdict": "clean",
                    "finished_at": "2026-11-26T03:31:07.120Z",
                    "formats": ["json", "csv"],
                }
            ]
        ]
    )


@router.get("", summary="Reports, newest first", responses=problem_responses(ProblemKind.UNAUTHORIZED))
async def reports(services: ServicesOf, _caller: Viewer, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> ReportList:
    """What each found, in short."""
    return ReportList(reports=await services.offload(lambda: services.context.reports.newest(limit)))


@router.get(
    "/{name}",
    summary="One report, as JSON, CSV or HTML",
    response_class=FileResponse,
    responses={
        200: {
            "description": "The file; its format by the ending, JSON without one.",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/csv": {"schema": {"type": "string"}},
                "text/html": {"schema": {"type": "string"}},
            },
        },
        **problem_responses(ProblemKind.UNAUTHORIZED, ProblemKind.NOT_FOUND),
    },
)
async def report(
    services: ServicesOf,
    _caller: Viewer,
    name: Annotated[
        str,
        Path(
            pattern=_FILE,
            description="A report's id or `latest`, with .json, .csv or .html behind it.",
            examples=["latest.csv"],
        ),
    ],
) -> FileResponse:
    """Written once and never changed, but for `latest`."""
    report_id, _, form = name.partition(".")
    return await _file(services, report_id, form or "json")


async def _file(services: Services, report_id: str, form: str) -> FileResponse:
    path = await services.offload(lambda: services.context.reports.file(report_id, form))
    if path is None:
        raise Problem(ProblemKind.NOT_FOUND, f"There is no report {report_id} as {form}.")
    headers = {"Content-Security-Policy": HTML_POLICY} if form == "html" else {}
    return FileResponse(path, media_type=MEDIA_TYPES[form], headers=headers)
