"""Reports, and full checks on demand."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import RedirectResponse

from reconciler.api.auth import PageAction, PageViewer
from reconciler.api.pages.shell import PageRoute, show
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.services import ServicesOf

REPORTS_MAX = 60

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/reports")
async def reports(request: Request, services: ServicesOf, caller: PageViewer) -> Response:
    """Reports on disk, newest first."""
    found = await services.offload(lambda: services.context.reports.newest(REPORTS_MAX))
    return await show(request, caller, "reports.html", {"reports": found})


@router.post("/reports/checks")
async def start_check(services: ServicesOf, action: PageAction) -> Response:
    """Ask for a full check, and look at it; the one that is open already, where there is one."""
    check, _ = await services.check_requests.request(action.caller.name)
    services.summaries.forget()
    return RedirectResponse(f"/reports/checks/{quote(check.report_id, safe='')}", status_code=303)


@router.get("/reports/checks/{report_id}")
async def check(
    request: Request,
    services: ServicesOf,
    caller: PageViewer,
    report_id: Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")],
) -> Response:
    """How far a check is, as it goes on."""
    check = await services.offload(lambda: services.context.checks.find(report_id))
    if check is None:
        raise Problem(ProblemKind.NOT_FOUND, f"No full check {report_id} was asked for.")
    has_page = await services.offload(lambda: services.context.reports.file(report_id, "html") is not None)
    return await show(request, caller, "check.html", {"check": check, "has_page": has_page})
