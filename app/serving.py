"""The API beside the daemon's jobs: wired and served when it is switched on, and never imported otherwise."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.parts import Parts, parts_of
from jobs.check.full_check import new_report_id
from jobs.process.daemon import Daemon
from jobs.process.leading import LeaseKeeper
from reconciler import VERSION
from reconciler.errors import ConfigError
from reconciler.ledger.operations.check_requests import CheckRequests
from reconciler.status import Liveness

if TYPE_CHECKING:
    from fastapi import FastAPI

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
    from reconciler.api.server import ApiServer  # noqa: PLC0415 - an extra: only who serves needs it

    # Connections of its own, and no fence: what people decide needs no lease.
    with parts_of(parts.settings, clock=parts.clock) as own:
        liveness = Liveness()
        daemon.show_life(liveness)
        app = app_of(own, parts, daemon, keeper, liveness)
        server = ApiServer(app, parts.settings.api, stopping=parts.stopping, on_death=daemon.end_by_defect)
        liveness.watch("api", server.fault)
        server.start()
        try:
            yield served
        finally:
            # Also when the block failed: the server ends by this alone.
            parts.stopping.set()
            served.is_left_behind = not server.stop()


def app_of(own: Parts, parts: Parts, daemon: Daemon, keeper: LeaseKeeper, liveness: Liveness) -> FastAPI:
    """The application: databases through ``own``, what the daemon knows of itself from ``parts``."""
    from app.api_ports import CampaignFacts, CheckDesk, LedgerBooks, PeopleDesk, ReportFiles  # noqa: PLC0415
    from app.page_ports import RememberedBreaks, TrialFacts, WebhookBooks  # noqa: PLC0415
    from app.recording import recording_of  # noqa: PLC0415
    from reconciler.api.app import create_app  # noqa: PLC0415
    from reconciler.api.context import ApiContext  # noqa: PLC0415
    from reconciler.api.recording_routes import recording_router  # noqa: PLC0415

    settings = parts.settings
    parts.metrics.build_info.labels(version=VERSION, python=platform.python_version()).set(1)
    wake_sweep, wake_housekeeping = daemon.waker("sweep"), daemon.waker("housekeeping")

    def wake_payers() -> None:
        wake_sweep()
        wake_housekeeping()

    recording = recording_of(settings, own.connection, parts.hints, parts.metrics)
    context = ApiContext(
        settings=settings.api,
        timezone=settings.reports.timezone,
        clock=parts.clock,
        started_at=parts.clock(),
        stopping=parts.stopping,
        status=parts.status,
        liveness=liveness,
        metrics=parts.metrics,
        books=LedgerBooks(own),
        campaigns=CampaignFacts(own, parts.hints),
        people=PeopleDesk(own, wake_payers),
        checks=CheckDesk(check_requests_of(own), daemon.waker("requested_checks")),
        reports=ReportFiles(settings.reports.directory),
        breaks=RememberedBreaks(own),
        webhooks=WebhookBooks(own),
        trials=TrialFacts(own) if settings.api.test_page else None,
        is_paying_on=settings.payout.enabled,
        routers=(recording_router(recording),),
        lifespans=(recording.running,),
        is_leader=lambda: keeper.is_leader,
        troubles=daemon.trouble,
    )
    return create_app(context)


def require_packages() -> None:
    """Raises ConfigError when the API's packages are not installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"api.enabled needs packages that are not installed ({', '.join(missing)}): install "
            "requirements-api.txt, or switch the API off."
        )
