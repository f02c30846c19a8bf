"""The composition root: settings → adapters → jobs. No other module chooses an implementation."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import NamedTuple

import structlog

from app.check import Shared, full_check_of
from app.watch import LiveParts, live_parts
from jobs.check.full_check import FullCheck
from jobs.housekeeping import Housekeeping
from jobs.payment.overdue import Overdue
from jobs.payment.pools import PoolFreezer
from jobs.payment.projecting import Projector
from jobs.payment.refunding import Refunds
from jobs.payment.releasing import KeyReleases
from jobs.payment.settling import Settler
from jobs.payment.sweep import Sweep, SweepLimits
from jobs.process.measuring import Measuring
from jobs.process.running import RunRecorder
from jobs.watch.hints import HintQueue
from jobs.webhooks.delivering import Bell
from reconciler.clock import Clock, utc_now
from reconciler.config import Settings
from reconciler.deciding import Deciding
from reconciler.domain.batch import PostingRules
from reconciler.domain.campaign import CampaignDefaults
from reconciler.domain.decision import Policy, Rule, Scope
from reconciler.domain.earnings import Overdelivery
from reconciler.domain.events import EventType
from reconciler.domain.money import parse_amount_minor
from reconciler.ledger.database_clock import LedgerClock
from reconciler.ledger.engine import Engine, open_engine
from reconciler.ledger.journal.decisions import Decisions
from reconciler.ledger.journal.escrows import Treasury
from reconciler.ledger.journal.posting import Fence, SqlJournal, no_fence
from reconciler.ledger.operations.break_records import SqlBreakRecords
from reconciler.ledger.operations.deliveries import Deliveries
from reconciler.ledger.operations.events import EventLog
from reconciler.ledger.operations.outbox import SqlOutbox
from reconciler.ledger.operations.runs import RunLog, ledger_position
from reconciler.ledger.operations.stream_positions import StreamPositions
from reconciler.ledger.postgres import Limits
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from reconciler.metrics import Metrics
from reconciler.mongo.connection import Connection, connect
from reconciler.mongo.facts import FactsReader
from reconciler.mongo.ledger_guard import MongoLedgerGuard
from reconciler.mongo.projection import MongoProjection
from reconciler.queries.campaign import CampaignQueries
from reconciler.queries.explain import Explainer
from reconciler.status import Pulse, StatusBoard

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that commands and the daemon work with; opened lazily, closed by :func:`parts_of`."""

    settings: Settings
    clock: Clock
    stopping: threading.Event
    connection: Connection
    engine: Engine
    facts: FactsReader
    ledger: SqlLedgerReads
    journal: SqlJournal
    outbox: SqlOutbox
    projection: MongoProjection
    projector: Projector
    runs: RunLog
    recorder: RunRecorder
    policy: Policy
    guard: MongoLedgerGuard
    decisions: Decisions
    sweep: Sweep
    full_check: FullCheck
    breaks: SqlBreakRecords
    housekeeping: Housekeeping
    status: StatusBoard
    metrics: Metrics
    measuring: Measuring
    live: LiveParts
    positions: StreamPositions
    deliveries: Deliveries
    bell: Bell
    pulse: Pulse
    """When each thread's work last got an answer from the ledger's database."""

    @property
    def hints(self) -> HintQueue:
        """Where hints go that something may be due."""
        return self.live.hints


@contextmanager
def parts_of(
    settings: Settings,
    *,
    clock: Clock = utc_now,
    ledger_clock: LedgerClock | None = None,
    fence: Fence = no_fence,
    stopping: threading.Event | None = None,
) -> Iterator[Parts]:
    """The parts for some settings. Nothing connects until it is used; all connections are closed at the end.

    ``clock`` is this host's. Without ``ledger_clock`` the ledger's time is asked of its database. Loops end when
    ``stopping`` is set.
    """
    connection = connect(
        settings.mongodb.uri.get_secret_value(), settings.mongodb.database, wait_max_s=settings.mongodb.wait_max_s
    )
    if "url" not in settings.ledger.model_fields_set:
        _say_default_ledger(str(Path("ledger.db").absolute()))
    pulse = Pulse()
    engine = open_engine(settings.ledger.url.get_secret_value(), limits_of(settings), pulse.beat)
    try:
        skew_max = timedelta(seconds=settings.safety.clock_skew_max_s)
        ledger_clock = ledger_clock or LedgerClock(host=clock, skew_max=skew_max)
        opened = _Opened(connection=connection, engine=engine, pulse=pulse, stopping=stopping or threading.Event())
        yield _wired(settings, opened, ledger_clock, fence)
    finally:
        engine.dispose()
        connection.close()


class _Opened(NamedTuple):
    connection: Connection
    engine: Engine
    pulse: Pulse
    """The engine beats it."""
    stopping: threading.Event


def _wired(settings: Settings, opened: _Opened, ledger_clock: LedgerClock, fence: Fence) -> Parts:
    payout, mapping, clock = settings.payout, settings.mapping, ledger_clock.host
    connection, engine, pulse, stopping = opened
    defaults = defaults_of(settings)
    policy = policy_of(settings)
    facts = FactsReader(connection, mapping, defaults, clock=clock)
    ledger = SqlLedgerReads(engine)
    journal = SqlJournal(engine, clock=ledger_clock, rules=posting_rules_of(settings), fence=fence)
    guard = MongoLedgerGuard(connection, mapping, position=lambda: ledger_position(engine))
    treasury = Treasury(engine, journal, clock=journal.now)
    events = EventLog(engine, clock=clock, subscriptions=subscriptions_of(settings))
    bell = Bell()
    outbox = SqlOutbox(
        engine, clock=clock, blocked_retry=timedelta(seconds=settings.projection.blocked_retry_s), events=events
    )
    projection = MongoProjection(connection, mapping, default_currency=payout.default_currency)
    projector = Projector(
        outbox=outbox,
        projection=projection,
        ledger=ledger,
        guard=guard,
        chunk_size=settings.projection.batch_size,
        recorded=bell.ring,
    )
    runs = RunLog(engine, events=events)
    book = SqlBreakRecords(engine)
    recorder = RunRecorder(runs=runs, clock=clock)
    status, metrics = StatusBoard(), Metrics()
    measuring = Measuring(metrics=metrics, status=status, clock=clock)
    overdue = Overdue(clock)
    status.ask("sweep", overdue.shown)
    status.ask("clock", lambda: {"fault": ledger_clock.fault()})
    metrics.overdue_oldest_age.set_function(overdue.oldest_age_s)
    settler = Settler(
        facts=facts,
        ledger=ledger,
        poster=journal,
        projector=projector,
        policy=policy,
        guard=guard,
        overdue=overdue,
    )
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
        guard=guard,
        decisions=Decisions(journal, run_id=str(uuid.uuid4()), four_eyes=payout.four_eyes),
        sweep=Sweep(
            facts=facts,
            ledger=ledger,
            journal=journal,
            outbox=outbox,
            projector=projector,
            policy=policy,
            guard=guard,
            recorder=recorder,
            limits=SweepLimits(page_size=settings.sweep.page_size, deadline_s=settings.sweep.deadline_s),
            stopping=stopping,
            overdue=overdue,
        ),
        full_check=full_check_of(
            settings,
            connection=connection,
            engine=engine,
            shared=Shared(
                facts=facts,
                ledger=ledger,
                journal=journal,
                outbox=outbox,
                projection=projection,
                projector=projector,
                policy=policy,
                guard=guard,
                recorder=recorder,
                status=status,
                book=book,
                defaults=defaults,
                stopping=stopping,
            ),
        ),
        breaks=book,
        housekeeping=Housekeeping(
            releases=treasury,
            refunds=Refunds(
                facts=facts,
                ledger=ledger,
                refunder=treasury,
                policy=policy,
                clock=journal.now,
                grace=timedelta(days=payout.refund_grace_days),
            ),
            projector=projector,
            gkeys=KeyReleases(keys=projection, events=events),
            runs=runs,
            clock=journal.now,
        ),
        status=status,
        metrics=metrics,
        measuring=measuring,
        live=live_parts(settings, settler, measuring, stopping),
        positions=StreamPositions(engine, clock=clock, fence=fence),
        deliveries=Deliveries(engine, clock=clock, fence=fence),
        bell=bell,
        pulse=pulse,
    )


@cache
def _say_default_ledger(file: str) -> None:
    """Once a process: whoever meant another one looks at an empty ledger, or at an old one."""
    log.info(
        "nothing says where the ledger is (ledger.url, LEDGER_URL, LEDGER_URL_FILE): it is here",
        action="default_ledger",
        file=file,
    )


def limits_of(settings: Settings, *, lock_s: float | None = None) -> Limits:
    """How long waits for the ledger's database may take; ``lock_s`` for whoever must not wait as long as a command."""
    wait_max_s = settings.ledger.wait_max_s
    return Limits.within(lock_s or wait_max_s, settings.ledger.statement_timeout_s, hold_s=wait_max_s)


def subscriptions_of(settings: Settings) -> dict[str, frozenset[EventType]]:
    """Endpoint → the types of events that it wants."""
    return {endpoint.name: frozenset(endpoint.events) for endpoint in settings.webhooks.endpoints}


def defaults_of(settings: Settings) -> CampaignDefaults:
    """What a campaign's document leaves open."""
    return CampaignDefaults(
        currency=settings.payout.default_currency,
        fixed_impressions_per_unit=settings.completion.fixed_impressions_per_unit,
    )


def policy_of(settings: Settings) -> Policy:
    """What decisions depend on."""
    completion = settings.completion
    switches = {
        Rule.IMPRESSIONS_TARGET_REACHED: completion.impressions_target_reached,
        Rule.BUDGET_EXHAUSTED: completion.budget_exhausted,
        Rule.CAMPAIGN_ENDED: completion.campaign_ended,
        Rule.CAMPAIGN_INACTIVE: completion.campaign_inactive,
    }
    return Policy(
        overdelivery=Overdelivery(settings.payout.overdelivery),
        rules=frozenset(rule for rule, is_on in switches.items() if is_on),
        scope=Scope(completion.scope),
        budget_used_percent=completion.budget_used_percent,
        fee_bps=settings.payout.platform_fee_bps,
    )


def posting_rules_of(settings: Settings) -> PostingRules:
    """What posting depends on."""
    return PostingRules(
        facts_age_max=timedelta(seconds=settings.sweep.facts_age_max_s),
        hold_days=settings.payout.hold_days,
        approval_threshold_minor=_minor(settings.payout.approval_threshold),
        payouts_per_hour_max=settings.safety.payouts_per_hour_max,
        amount_per_hour_max_minor=_minor(settings.safety.amount_per_hour_max),
        impressions_per_minute_max=settings.safety.impressions_per_minute_max,
    )


def explainer_of(parts: Parts) -> Explainer:
    """What explains participations."""
    return Explainer(
        engine=parts.engine,
        deciding=_deciding_of(parts),
        freezer=PoolFreezer(
            facts=parts.facts, ledger=parts.ledger, poster=parts.journal, policy=parts.policy, clock=parts.clock
        ),
        rules=posting_rules_of(parts.settings),
        fixed_impressions_per_unit=parts.settings.completion.fixed_impressions_per_unit,
    )


def campaigns_of(parts: Parts) -> CampaignQueries:
    """What says how far campaigns are."""
    return CampaignQueries(facts=parts.facts, ledger=parts.ledger, deciding=_deciding_of(parts))


def _deciding_of(parts: Parts) -> Deciding:
    return Deciding(facts=parts.facts, ledger=parts.ledger, policy=parts.policy)


def _minor(amounts: Mapping[str, str]) -> dict[str, int]:
    """Currency → minor units; the configuration has made sure that they can be read."""
    parsed = {currency: parse_amount_minor(text, currency) for currency, text in amounts.items()}
    return {currency: amount for currency, amount in parsed.items() if isinstance(amount, int)}
