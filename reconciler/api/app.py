"""The application: every router, every layer, every refusal, around one :class:`ApiContext`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from reconciler import VERSION
from reconciler.api import campaigns, decisions, health, ledger_routes, login, monitoring, report_routes
from reconciler.api.auth import CSRF_HEADER, Authenticator, NeedsLogin, Viewer
from reconciler.api.check_requesting import CheckRequesting, Requested
from reconciler.api.context import ApiContext, Lifespan
from reconciler.api.database_health import DatabaseHealth
from reconciler.api.edge import Edge, EdgeLimits, prefixes_of
from reconciler.api.offload import Offload
from reconciler.api.pages import overview, participations, payouts, trying, waiting, webhooks
from reconciler.api.pages import reports as report_pages
from reconciler.api.pages.flashes import Flashes
from reconciler.api.pages.summary_cache import SummaryCache
from reconciler.api.problems import ProblemDocument, install_problems
from reconciler.api.rendering import STATIC
from reconciler.api.services import Services
from reconciler.api.streams import STREAMS_MAX, OpenStreams
from reconciler.ledger.revisions import require_current
from reconciler.mongo.connection import is_standalone

GROUPS_WAITED_FOR = 2
"""Groups that a report waits for at most while MongoDB is away: the one under way, and its own. Each answers in its own
words within ``api.recording.deadline_s``, and clients need them: whether to come again, and whether it was counted."""

_ROUTERS = (
    health.router,
    login.router,
    monitoring.router,
    ledger_routes.router,
    decisions.router,
    report_routes.router,
    campaigns.router,
)

_STYLES: list[str | tuple[str, str]] = [("reconciler.look", "css")]
"""The style sheet that pages share with reports."""

_PAGES = (
    overview.router,
    payouts.router,
    participations.router,
    waiting.router,
    report_pages.router,
    webhooks.router,
)

_DESCRIPTION = (
    "Recording, monitoring and control of the payout reconciler. Routes below `/api/v1/campaigns` speak the "
    "platform's camelCase, all others the snake_case of reports and of the command line. Amounts are whole minor "
    "units of a currency. Errors are `application/problem+json` (RFC 9457)."
)


class _Application(FastAPI):
    """FastAPI, whose schema knows the shape of our errors: it is no route's own model."""

    def openapi(self) -> dict[str, Any]:
        """The schema, made once."""
        if self.openapi_schema is None:
            schemas = super().openapi().setdefault("components", {}).setdefault("schemas", {})
            shape = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(shape.pop("$defs", {}))
            schemas["ProblemDocument"] = shape
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        return super().openapi()


def create_app(context: ApiContext) -> FastAPI:
    """The application over a context. Opens nothing; ``app.state.services.offload`` is closed by who serves it."""
    settings = context.settings
    offload = Offload(threads_max=settings.threads_max)
    authenticator = Authenticator(settings.auth)
    app = _Application(
        title="Payout reconciler",
        version=VERSION,
        description=_DESCRIPTION,
        # The schema is for those who may read (below), and the usual page to show it loads scripts from elsewhere.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect would quote the Host header, and an address with a slash too many is none of ours.
        redirect_slashes=False,
        lifespan=_lifespan_of(context),
    )
    app.state.services = Services(
        context=context,
        offload=offload,
        authenticator=authenticator,
        streams=OpenStreams(STREAMS_MAX),
        check_requests=CheckRequesting(_requesting(context), offload),
        ledger_health=DatabaseHealth(lambda: require_current(context.engine, makes=False), offload),
        mongodb_health=DatabaseHealth(lambda: is_standalone(context.connection), offload),
        summaries=SummaryCache(context, offload),
        flashes=Flashes(),
    )
    app.state.authenticator = authenticator
    app.state.login_failures = login.FailureLimit()
    install_problems(app)
    app.add_exception_handler(NeedsLogin, _to_login)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", CSRF_HEADER, "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    limits = EdgeLimits(
        body_bytes_max=settings.body_bytes_max,
        request_timeout_s=settings.request_timeout_s,
        recording_timeout_s=settings.request_timeout_s + GROUPS_WAITED_FOR * settings.recording.deadline_s,
        origins=frozenset(settings.cors_origins),
        is_open=authenticator.is_open,
    )
    app.add_middleware(Edge, limits=limits)
    pages = (*_PAGES, trying.router) if context.trials is not None else _PAGES
    routers = (*_ROUTERS, *pages, *context.routers)
    for router in routers:
        app.include_router(router)
    patterns = [getattr(route, "path", "") for router in routers for route in router.routes]
    app.state.prefixes = prefixes_of([*patterns, "/static/{file}"])
    app.add_api_route("/api/v1/openapi.json", _schema, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC, packages=_STYLES), name="static")
    return app


def _requesting(context: ApiContext) -> Callable[[str], Requested]:
    def request(by: str) -> Requested:
        found = context.checks.request(by)
        context.wake_checks()
        return found

    return request


def _lifespan_of(context: ApiContext) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for one in context.lifespans:
                await stack.enter_async_context(one(app))
            yield

    return lifespan


async def _schema(request: Request, _caller: Viewer) -> dict[str, Any]:
    schema: dict[str, Any] = request.app.openapi()
    return schema


async def _to_login(request: Request, _error: Exception) -> Response:
    target = quote(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
    return RedirectResponse(f"/login?next={target}" if request.method == "GET" else "/login", status_code=303)
