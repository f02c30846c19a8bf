"""What others were told: endpoints and how far each is behind, and the deliveries of the newest events."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from reconciler.api.auth import PageViewer
from reconciler.api.pages.shell import PageRoute, show
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.services import ServicesOf

DELIVERIES_MAX = 100

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/webhooks")
async def webhooks(
    request: Request,
    services: ServicesOf,
    caller: PageViewer,
    status: Annotated[Literal["", "pending", "delivered", "dead"], Query()] = "",
) -> Response:
    """Endpoints and deliveries."""
    books = services.context.webhooks
    if books is None:
        raise Problem(ProblemKind.NOT_FOUND, "There are no webhooks here.")
    endpoints = await services.offload(books.endpoints)
    deliveries = await services.offload(lambda: books.deliveries(status or None, DELIVERIES_MAX))
    values = {"endpoints": endpoints, "deliveries": deliveries, "status": status, "deliveries_max": DELIVERIES_MAX}
    return await show(request, caller, "webhooks.html", values)
