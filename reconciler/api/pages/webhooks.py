"""What other systems were sent: endpoints and how far each is behind, and the deliveries of the newest events."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from reconciler.api.auth import PageViewer
from reconciler.api.pages.shell import PageRoute, show
from reconciler.api.services import ServicesOf
from reconciler.ledger.operations.deliveries import DeliveryFilter
from reconciler.queries.webhooks import delivery_rows, endpoint_rows

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
    context, chosen = services.context, DeliveryFilter(status=status or None, limit=DELIVERIES_MAX)
    endpoints = await services.offload(lambda: endpoint_rows(context.deliveries, context.endpoints))
    deliveries = await services.offload(lambda: delivery_rows(context.engine, chosen))
    values = {"endpoints": endpoints, "deliveries": deliveries, "status": status, "deliveries_max": DELIVERIES_MAX}
    return await show(request, caller, "webhooks.html", values)
