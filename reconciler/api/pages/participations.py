"""One participation explained: every rule, number and rounding, and where it stands."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from reconciler.api.auth import PageViewer
from reconciler.api.pages.shell import PageRoute, show
from reconciler.api.pages.words import STEP_VERDICTS
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.services import ServicesOf
from reconciler.queries.explain import find_explanation

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/participations/{participation_id:identity}")
async def participation(
    request: Request,
    services: ServicesOf,
    caller: PageViewer,
    participation_id: Annotated[str, Path(min_length=1, max_length=300)],
) -> Response:
    """Why it was paid, or was not."""
    found = await services.offload(lambda: find_explanation(services.context.explainer, participation_id))
    if found is None:
        raise Problem(ProblemKind.NOT_FOUND, f"Neither database has a participation {participation_id[:80]}.")
    return await show(request, caller, "participation.html", {"found": found, "step_verdicts": STEP_VERDICTS})
