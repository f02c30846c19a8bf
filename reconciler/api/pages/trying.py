"""The test page: record impressions by hand, and watch the participation, its completion and the wallet.

It calls the recording routes as an overlay does. The token is asked for and kept in the browser's form alone: it is in
no address and on no page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from reconciler.api.auth import PageViewer
from reconciler.api.pages.shell import PageRoute, frame, show
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.rendering import environment
from reconciler.api.services import Services, ServicesOf
from reconciler.api.sse import Changes, EventStream
from reconciler.errors import DatabaseFailure
from reconciler.mongo.trials import TrialReader
from reconciler.queries.trials import trial_document

EVERY_S = 0.3
"""Between two looks at a participation somebody tries out: what a person takes for at once."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


class Wanted(BaseModel):
    """Whose participation to watch."""

    token: Annotated[str, Field(min_length=1, max_length=300)]


@router.get("/test")
async def test_page(request: Request, services: ServicesOf, caller: PageViewer) -> Response:
    """The page."""
    count_max = services.context.settings.recording.count_max
    return await show(request, caller, "test.html", {"count_max": count_max})


@router.post("/test/find")
async def find(services: ServicesOf, _caller: PageViewer, wanted: Wanted) -> Response:
    """The participation of a token. A POST, so that the token is in no address and no log."""
    trials = _trials(services)
    found = await services.offload(lambda: trials.find(wanted.token))
    if found is None:
        return JSONResponse({"detail": "No participation has this token."}, status_code=404)
    return JSONResponse({"participation_id": found.tagged})


@router.get("/test/watch/{participation_id:identity}")
async def watch(
    request: Request,
    services: ServicesOf,
    caller: PageViewer,
    participation_id: Annotated[str, Path(min_length=1, max_length=300)],
) -> Response:
    """The participation and the wallet, whenever they changed."""
    trials = _trials(services)

    async def look() -> Mapping[str, Any] | None:
        try:
            found = await services.offload(lambda: trial_document(trials, participation_id))
        except DatabaseFailure:
            return {"html": "", "away": True}
        if found is None:
            return None
        html = environment.get_template("test_live.html").render({**frame(services), "found": found})
        return {"html": html, "away": False}

    return EventStream(request, caller, Changes(name="look", look=look, every_s=EVERY_S))


def _trials(services: Services) -> TrialReader:
    trials = services.context.trials
    if trials is None:
        raise Problem(ProblemKind.NOT_FOUND, "The test page is switched off.")
    return trials
