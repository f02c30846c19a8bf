"""The overview: whether it pays, what is stuck, and what was paid last, as it changes; and paying after a halt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from reconciler.api.auth import PageAction, PageViewer
from reconciler.api.pages.shell import PageRoute, act, frame, show
from reconciler.api.pages.summary import Summary
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.rendering import environment
from reconciler.api.services import ServicesOf
from reconciler.api.sse import Changes, EventStream
from reconciler.queries.overview import halt_document

EVERY_S = 1.0
"""Between two looks. Everybody who watches shares one."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
async def overview(request: Request, caller: PageViewer) -> Response:
    """What an operator wants to know in ten seconds."""
    return await show(request, caller, "overview.html")


@router.get("/events")
async def events(request: Request, services: ServicesOf, caller: PageViewer) -> Response:
    """The overview again whenever it changed."""
    summaries = services.summaries

    def draw(summary: Summary) -> str:
        values = {**frame(services), "summary": summary}
        return environment.get_template("overview_live.html").render(values)

    async def look() -> Mapping[str, Any]:
        summary = await summaries.current()
        headline = summary.headline
        return {"html": summaries.drawn(summary, draw), "word": headline.word, "tone": headline.tone}

    return EventStream(request, caller, Changes(name="standing", look=look, every_s=EVERY_S))


@router.get("/find")
async def find(_caller: PageViewer, q: Annotated[str, Query(max_length=300)] = "") -> Response:
    """A payout by its key, or a participation by its id."""
    wanted = q.strip()
    if not wanted:
        return RedirectResponse("/payouts", status_code=303)
    is_key = wanted.startswith(("payout:", "reversal:"))
    return RedirectResponse(f"/{'payouts' if is_key else 'participations'}/{quote(wanted, safe='')}", status_code=303)


@router.get("/halt")
async def halt(request: Request, services: ServicesOf, caller: PageViewer) -> Response:
    """Why paying is halted, and what to do."""
    found = await services.offload(lambda: halt_document(services.context.engine))
    return await show(request, caller, "halt.html", {"halt": found})


@router.post("/resume")
async def resume(request: Request, services: ServicesOf, action: PageAction) -> Response:
    """Let paying go on, after the halt that the page showed."""
    people, since = services.context.people, action.form.get("since")
    try:
        seen = datetime.fromisoformat(since) if isinstance(since, str) else None
    except ValueError as error:
        raise Problem(ProblemKind.INVALID, "The form does not say which halt it is about.") from error
    return await act(request, action, "", "/halt", lambda signed: people.resume(signed, seen))
