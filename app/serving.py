"""The API beside the daemon's jobs: wired and served when it is switched on, and never imported otherwise."""

from __future__ import annotations

import importlib.util
import platform
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.parts import Parts, defaults_of, parts_of
from app.queries import campaigns_of, explainer_of
from jobs.check.full_check import new_report_id
from jobs.process.daemon import Daemon
from jobs.process.leading import LeaseKeeper
from reconciler import VERSION
from reconciler.errors import ConfigError
from reconciler.ledger.operations.break_decisions import BreakDecisions
from reconciler.ledger.operations.check_requests import CheckRequests
from reconciler.mongo.trials import TrialReader
from reconciler.ports.hints import Hints
from reconciler.queries.reports import ReportFiles
from reconciler.status import Liveness

if TYPE_CHECKING:
    from reconciler.api.context import ApiContext

_PACKAGES = ("fastapi", "uvicorn", "jwt", "python_multipart")


@dataclass(slots=True)
class Served:
    """How serving ended: whether a request hangs in a driver, so that the process must not wait for it."""

    is_left_behind: bool = False


def check_requests_of(parts: Parts) -> CheckRequests:
    """Where full checks are asked for."""
    return CheckRequests(parts.engine, clock=parts.clock, new_id=new_report_id)


@contextmanager
def serving(parts: Parts, daemon: Daemon, keeper: LeaseKeeper) -> Iterator[Served]:
    """Serve the API while the block runs, if it is switched on. Raises ConfigError where it cannot be."""
    served = Served()
    if not parts.settings.api.enabled:
        yield served
        return
    require_packages()
    from reconciler.api.app import create_app
    from reconciler.api.server import ApiServer  # an extra: only who serves needs it

    # Connections of its own, and no fence: what people decide needs no lease.
    with parts_of(parts.settings, clock=parts.clock) as own:
        liveness = Liveness()
        daemon.show_life(liveness)
        parts.metrics.build_info.labels(version=VERSION, python=platform.python_version()).set(1)
        context = context_of(own, parts, parts.hints, liveness)
        context = replace(
            context,
            people=replace(context.people, wake=_both(daemon.waker("sweep"), daemon.waker("housekeeping"))),
            wake_checks=daemon.waker("requested_checks"),
            is_leader=lambda: keeper.is_leader,
            troubles=daemon.trouble,
        )
        server = ApiServer(
            create_app(context), parts.settings.api, stopping=parts.stopping, on_death=daemon.end_by_defect
        )
        liveness.watch("api", server.fault)
        server.start()
        try:
            yield served
        finally:
            # Also when the block failed: the server ends by this alone.
            parts.stopping.set()
            served.is_left_behind = not server.stop()


def context_of(own: Parts, parts: Parts, hints: Hints, liveness: Liveness) -> ApiContext:
    """What the API works with: databases through ``own``, what the daemon knows of itself from ``parts``.

    It leads and wakes nobody by itself: :func:`serving` puts the daemon's own in.
    """
    from app.recording import recording_of
    from reconciler.api.context import ApiContext
    from reconciler.api.people import PeopleDecisions
    from reconciler.api.recording_routes import recording_router

    settings = parts.settings
    recording = recording_of(settings, own.connection, hints, parts.metrics)
    return ApiContext(
        settings=settings.api,
        timezone=settings.reports.timezone,
        clock=parts.clock,
        started_at=parts.clock(),
        stopping=parts.stopping,
        status=parts.status,
        liveness=liveness,
        metrics=parts.metrics,
        engine=own.engine,
        connection=own.connection,
        explainer=explainer_of(own),
        campaigns=campaigns_of(own),
        people=PeopleDecisions(
            decisions=own.decisions,
            break_decisions=BreakDecisions(own.journal, run_id=str(uuid.uuid4())),
            guard=own.guard,
        ),
        checks=check_requests_of(own),
        deliveries=own.deliveries,
        endpoints=settings.webhooks.endpoints,
        reports=ReportFiles(settings.reports.directory),
        hints=hints,
        trials=TrialReader(own.connection, settings.mapping, defaults_of(settings)) if settings.api.test_page else None,
        is_paying_on=settings.payout.enabled,
        routers=(recording_router(recording),),
        lifespans=(recording.running,),
    )


def require_packages() -> None:
    """Raises ConfigError when the API's packages are not installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"api.enabled needs packages that are not installed ({', '.join(missing)}): install "
            "requirements-api.txt, or switch the API off."
        )


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def wake() -> None:
        first()
        second()

    return wake
