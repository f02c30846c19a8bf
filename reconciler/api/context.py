"""The one bundle of what the API works with: what it knows of its daemon, and the queries and decisions it calls.

Queries and decisions may block and may raise ``Outage``: routes call them through
:class:`reconciler.api.offload.Offload`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, FastAPI

from reconciler.api.people import PeopleDecisions
from reconciler.clock import Clock
from reconciler.config.api import ApiSettings
from reconciler.config.webhooks import WebhookEndpoint
from reconciler.ledger.engine import Engine
from reconciler.ledger.operations.check_requests import CheckRequests
from reconciler.ledger.operations.deliveries import Deliveries
from reconciler.metrics import Metrics
from reconciler.mongo.connection import Connection
from reconciler.mongo.trials import TrialReader
from reconciler.ports.hints import Hints
from reconciler.queries.campaign import CampaignQueries
from reconciler.queries.explain import Explainer
from reconciler.queries.reports import ReportFiles
from reconciler.status import Liveness, StatusBoard

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """All that the API works with.

    ``routers`` come from parts of their own, such as recording; ``lifespans`` are entered in order before the first
    request, on the event loop, and left after the last.
    """

    settings: ApiSettings
    timezone: str
    """IANA name of the zone in which people read times."""
    clock: Clock
    started_at: datetime
    stopping: threading.Event
    """Set when the daemon ends: streams of events end by themselves then."""
    status: StatusBoard
    liveness: Liveness
    metrics: Metrics
    engine: Engine
    """Of the ledger, with connections of the API's own."""
    connection: Connection
    """Of MongoDB, of the API's own."""
    explainer: Explainer
    campaigns: CampaignQueries
    people: PeopleDecisions
    checks: CheckRequests
    deliveries: Deliveries
    endpoints: Sequence[WebhookEndpoint]
    reports: ReportFiles
    hints: Hints
    """Take hints while this daemon leads."""
    trials: TrialReader | None = None
    """For the test page; None where there is none."""
    is_paying_on: bool = True
    """Whether ``payout.enabled``: else who is due is counted, and nobody is paid."""
    routers: Sequence[APIRouter] = ()
    lifespans: Sequence[Lifespan] = ()
    wake_checks: Callable[[], None] = lambda: None
    """Has the leader look for requested checks at once, when it is this process."""
    is_leader: Callable[[], bool] = lambda: True
    troubles: Callable[[], Mapping[str, str | None]] = dict
    """By job that pays, which database keeps it from that."""
