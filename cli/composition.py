"""The composition root: settings → adapters → jobs. No other module chooses an implementation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from jobs.full_check import FullCheck
from jobs.housekeeping import Housekeeping
from jobs.projecting import Projector
from jobs.running import RunRecorder
from jobs.sweep import Sweep, SweepLimits
from reconciler.clock import Clock, utc_now
from reconciler.config import Settings
from reconciler.domain.campaign import CampaignDefaults
from reconciler.domain.decision import Policy, Rule
from reconciler.domain.earnings import Overdelivery
from reconciler.ledger.engine import Engine, open_engine
from reconciler.ledger.journal import Journal
from reconciler.ledger.lookups import LedgerReader
from reconciler.ledger.outbox import Outbox
from reconciler.ledger.runs import RunLog
from reconciler.ledger.verify import Verifier
from reconciler.mongo.connection import Connection, connect
from reconciler.mongo.facts import FactsReader
from reconciler.mongo.projection import Projection
from reconciler.reports.writer import ReportDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that commands and the daemon work with; opened lazily, closed by :func:`parts_of`."""

    settings: Settings
    clock: Clock
    stopping: threading.Event
    connection: Connection
    engine: Engine
    facts: FactsReader
    ledger: LedgerReader
    journal: Journal
    outbox: Outbox
    projection: Projection
    projector: Projector
    runs: RunLog
    recorder: RunRecorder
    policy: Policy
    sweep: Sweep
    full_check: FullCheck
    housekeeping: Housekeeping


@contextmanager
def parts_of(settings: Settings, *, clock: Clock = utc_now) -> Iterator[Parts]:
    """The parts for some settings. Nothing connects until it is used; all connections are closed at the end."""
    connection = connect(
        settings.mongodb.uri.get_secret_value(), settings.mongodb.database, wait_max_s=settings.mongodb.wait_max_s
    )
    engine = open_engine(settings.ledger.url.get_secret_value())
    try:
        yield _wired(settings, connection, engine, clock)
    finally:
        engine.dispose()
        connection.close()


def _wired(settings: Settings, connection: Connection, engine: Engine, clock: Clock) -> Parts:
    payout, mapping = settings.payout, settings.mapping
    defaults = CampaignDefaults(
        currency=payout.default_currency,
        fixed_impressions_per_unit=settings.completion.fixed_impressions_per_unit,
    )
    rules = {Rule.IMPRESSIONS_TARGET_REACHED} if settings.completion.impressions_target_reached else set()
    policy = Policy(overdelivery=Overdelivery(payout.overdelivery), rules=frozenset(rules))
    facts = FactsReader(connection, mapping, defaults, clock=clock)
    ledger = LedgerReader(engine)
    journal = Journal(engine, clock=clock, facts_age_max=timedelta(seconds=settings.sweep.facts_age_max_s))
    outbox = Outbox(engine, clock=clock, blocked_retry=timedelta(seconds=settings.projection.blocked_retry_s))
    projection = Projection(connection, mapping, default_currency=payout.default_currency)
    projector = Projector(
        outbox=outbox, projection=projection, ledger=ledger, chunk_size=settings.projection.batch_size
    )
    runs = RunLog(engine)
    recorder = RunRecorder(runs=runs, clock=clock)
    stopping = threading.Event()
    return Parts(
        settings=settings,
        clock=clock,
        stopping=stopping,
        connection=connection,
        engine=engine,
        facts=facts,
        ledger=ledger,
        journal=journal,
        outbox=outbox,
        projection=projection,
        projector=projector,
        runs=runs,
        recorder=recorder,
        policy=policy,
        sweep=Sweep(
            facts=facts,
            ledger=ledger,
            journal=journal,
            outbox=outbox,
            projector=projector,
            policy=policy,
            recorder=recorder,
            limits=SweepLimits(page_size=settings.sweep.page_size, deadline_s=settings.sweep.deadline_s),
            stopping=stopping,
        ),
        full_check=FullCheck(
            facts=facts,
            ledger=ledger,
            journal=journal,
            outbox=outbox,
            projection=projection,
            projector=projector,
            verifier=Verifier(engine),
            policy=policy,
            recorder=recorder,
            reports=ReportDirectory(settings.reports.directory, json_breaks_max=settings.reports.json_breaks_max),
            config_fingerprint=settings.fingerprint(),
            page_size=settings.full_check.page_size,
            stopping=stopping,
        ),
        housekeeping=Housekeeping(projector=projector, gkeys=projection.gkeys, runs=runs, clock=clock),
    )
