"""The composition root: settings → adapters → jobs. No other package chooses an implementation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from app.ledger import LedgerParts, ledger_of
from app.mongodb import mongodb_of
from app.watch import LiveParts, live_parts
from jobs.housekeeping import Housekeeping
from jobs.payment.overdue import Overdue
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
from reconciler.domain.campaign import CampaignDefaults
from reconciler.domain.decision import Policy, Rule, Scope
from reconciler.domain.earnings import Overdelivery
from reconciler.ledger.database_clock import LedgerClock
from reconciler.ledger.journal.escrows import Treasury
from reconciler.ledger.journal.posting import Fence, no_fence
from reconciler.ledger.operations.runs import ledger_position
from reconciler.metrics import Metrics
from reconciler.mongo.connection import Connection
from reconciler.mongo.facts import FactsReader
from reconciler.mongo.ledger_guard import MongoLedgerGuard
from reconciler.mongo.projection import MongoProjection
from reconciler.mongo.scanning import MongoFactScan
from reconciler.status import StatusBoard

if TYPE_CHECKING:
    from jobs.check.full_check import FullCheck


@dataclass(frozen=True, kw_only=True)
class Parts(LedgerParts):
    """Everything that commands and the daemon work with; made by :func:`parts_of`."""

    stopping: threading.Event
    connection: Connection
    facts: FactsReader
    scan: MongoFactScan
    projection: MongoProjection
    projector: Projector
    recorder: RunRecorder
    defaults: CampaignDefaults
    policy: Policy
    guard: MongoLedgerGuard
    sweep: Sweep
    housekeeping: Housekeeping
    status: StatusBoard
    metrics: Metrics
    measuring: Measuring
    live: LiveParts
    bell: Bell

    @property
    def deciding(self) -> Deciding:
        """What decides about participations."""
        return self.sweep.settler.deciding

    @property
    def hints(self) -> HintQueue:
        """The queue for hints that something may be due."""
        return self.live.hints

    @cached_property
    def full_check(self) -> FullCheck:
        """The full check. It compares with pandas, whose import takes longer than any other command."""
        from app.check import full_check_of

        return full_check_of(self)


@contextmanager
def parts_of(
    settings: Settings,
    *,
    clock: Clock = utc_now,
    ledger_clock: LedgerClock | None = None,
    fence: Fence = no_fence,
    stopping: threading.Event | None = None,
) -> Iterator[Parts]:
    """All parts for some settings. Nothing connects until it is used; all connections are closed at the end.

    ``clock`` is this host's. Without ``ledger_clock`` the ledger's time is asked of its database. Loops end when
    ``stopping`` is set.
    """
    with (
        mongodb_of(settings) as connection,
        ledger_of(settings, clock=clock, ledger_clock=ledger_clock, fence=fence) as ledger_parts,
    ):
        yield _wired(ledger_parts, connection, stopping or threading.Event())


def _wired(ledger_parts: LedgerParts, connection: Connection, stopping: threading.Event) -> Parts:
    settings, clock, ledger, journal = (
        ledger_parts.settings,
        ledger_parts.clock,
        ledger_parts.ledger,
        ledger_parts.journal,
    )
    payout, mapping = settings.payout, settings.mapping
    defaults = defaults_of(settings)
    policy = policy_of(settings)
    facts = FactsReader(connection, mapping, defaults, clock=clock)
    guard = MongoLedgerGuard(connection, mapping, position=lambda: ledger_position(ledger_parts.engine))
    treasury = Treasury(ledger_parts.engine, journal, clock=journal.now)
    bell = Bell()
    projection = MongoProjection(connection, mapping, default_currency=payout.default_currency)
    projector = Projector(
        outbox=ledger_parts.outbox,
        projection=projection,
        ledger=ledger,
        guard=guard,
        chunk_size=settings.projection.batch_size,
        recorded=bell.ring,
    )
    recorder = RunRecorder(runs=ledger_parts.runs, clock=clock)
    status, metrics = StatusBoard(), Metrics()
    measuring = Measuring(metrics=metrics, status=status, clock=clock)
    overdue = Overdue(clock)
    status.ask("sweep", overdue.shown)
    status.ask("clock", lambda: {"fault": ledger_parts.ledger_clock.fault()})
    metrics.overdue_oldest_age.set_function(overdue.oldest_age_s)
    deciding = Deciding(facts=facts, ledger=ledger, policy=policy)
    settler = Settler(deciding=deciding, poster=journal, projector=projector, guard=guard, overdue=overdue)
    return Parts(
        **{field.name: getattr(ledger_parts, field.name) for field in fields(ledger_parts)},
        stopping=stopping,
        connection=connection,
        facts=facts,
        scan=MongoFactScan(connection, mapping, clock=clock),
        projection=projection,
        projector=projector,
        recorder=recorder,
        defaults=defaults,
        policy=policy,
        guard=guard,
        sweep=Sweep(
            settler=settler,
            journal=journal,
            projector=projector,
            recorder=recorder,
            limits=SweepLimits(page_size=settings.sweep.page_size, deadline_s=settings.sweep.deadline_s),
            stopping=stopping,
            overdue=overdue,
        ),
        housekeeping=Housekeeping(
            release_due=treasury.release_due,
            refunds=Refunds(
                deciding=deciding,
                refunder=treasury,
                clock=journal.now,
                grace=timedelta(days=payout.refund_grace_days),
            ),
            projector=projector,
            gkeys=KeyReleases(keys=projection.gkeys, events=ledger_parts.events),
            prune_runs=ledger_parts.runs.prune,
            clock=journal.now,
        ),
        status=status,
        metrics=metrics,
        measuring=measuring,
        live=live_parts(settings, settler, measuring, stopping),
        bell=bell,
    )


def defaults_of(settings: Settings) -> CampaignDefaults:
    """Return the values for what a campaign's document leaves open."""
    return CampaignDefaults(
        currency=settings.payout.default_currency,
        fixed_impressions_per_unit=settings.completion.fixed_impressions_per_unit,
    )


def policy_of(settings: Settings) -> Policy:
    """Return the settings that decisions depend on."""
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
