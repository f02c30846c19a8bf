"""The full check's own part of the composition root: what nothing else reads with."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from dataclasses import dataclass
from datetime import timedelta

from jobs.check.full_check import CheckLimits, FullCheck
from jobs.check.waiting import MoneyInWaiting
from jobs.payment.projecting import Projector
from jobs.process.running import RunRecorder
from reconciler.config import Settings
from reconciler.domain.campaign import CampaignDefaults
from reconciler.domain.decision import Policy
from reconciler.ledger.engine import Engine
from reconciler.ledger.journal.posting import SqlJournal
from reconciler.ledger.operations.break_records import SqlBreakRecords
from reconciler.ledger.operations.check_runs import SqlCheckRuns
from reconciler.ledger.operations.lease import CHECKING, Lease
from reconciler.ledger.operations.outbox import SqlOutbox
from reconciler.ledger.operations.stream_positions import StreamPositions
from reconciler.ledger.operations.sweep_watch import SqlSweepWatch
from reconciler.ledger.proof.integrity import CheckVerifier
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from reconciler.ledger.reads.payout_list import PayoutFilter, payout_lines
from reconciler.ledger.reads.population import SqlPopulationReads
from reconciler.mongo.connection import Connection
from reconciler.mongo.effect_states import MongoEffectStates
from reconciler.mongo.facts import FactsReader
from reconciler.mongo.ledger_guard import MongoLedgerGuard
from reconciler.mongo.projection import MongoProjection
from reconciler.mongo.recorded_budgets import MongoRecordedBudgets
from reconciler.mongo.scanning import MongoFactScan
from reconciler.reports.writer import ReportDirectory
from reconciler.status import StatusBoard

LEASE_TTL_S = 30
"""How long a check that was killed keeps others away: longer than any single statement of a renewal waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the check works with and other jobs too."""

    facts: FactsReader
    ledger: SqlLedgerReads
    journal: SqlJournal
    outbox: SqlOutbox
    projection: MongoProjection
    projector: Projector
    policy: Policy
    guard: MongoLedgerGuard
    recorder: RunRecorder
    book: SqlBreakRecords
    defaults: CampaignDefaults
    status: StatusBoard
    stopping: threading.Event


def full_check_of(settings: Settings, *, connection: Connection, engine: Engine, shared: Shared) -> FullCheck:
    """The check for some settings. Nothing connects until it is used."""
    mapping, clock = settings.mapping, shared.recorder.clock
    reads, scan = SqlPopulationReads(engine), MongoFactScan(connection, mapping, clock=clock)
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    return FullCheck(
        facts=shared.facts,
        scan=scan,
        states=MongoEffectStates(connection, mapping, default_currency=settings.payout.default_currency),
        reads=reads,
        ledger=shared.ledger,
        journal=shared.journal,
        outbox=shared.outbox,
        projection=shared.projection,
        projector=shared.projector,
        verifier=CheckVerifier(engine, clock=clock, whole_after=timedelta(days=settings.full_check.whole_chain_days)),
        sweeps=SqlSweepWatch(engine, pays=settings.payout.enabled, within=timedelta(seconds=settings.sweep.deadline_s)),
        watched=StreamPositions(engine, clock=clock),
        budgets=MongoRecordedBudgets(connection, mapping, shared.defaults),
        check_runs=SqlCheckRuns(engine, clock=clock),
        lease=Lease(engine, name=CHECKING, holder=holder, ttl=timedelta(seconds=LEASE_TTL_S)),
        book=shared.book,
        policy=shared.policy,
        guard=shared.guard,
        recorder=shared.recorder,
        reports=report_directory_of(settings, engine),
        status=shared.status,
        money=MoneyInWaiting(
            facts=shared.facts,
            scan=scan,
            reads=reads,
            ledger=shared.ledger,
            policy=shared.policy,
            timezone=settings.reports.timezone,
            rows_max=settings.reports.json_breaks_max,
        ),
        config_fingerprint=settings.fingerprint(),
        limits=CheckLimits(
            partition_size=settings.full_check.partition_size,
            page_size=settings.full_check.page_size,
            resume_within=timedelta(seconds=settings.full_check.resume_within_s),
            lease_ttl_s=LEASE_TTL_S,
            recorded_budgets=settings.full_check.recorded_budgets,
            effects_within=timedelta(seconds=settings.projection.overdue_s),
        ),
        stopping=shared.stopping,
    )


def report_directory_of(settings: Settings, engine: Engine) -> ReportDirectory:
    """Where checks write their reports."""
    reports = settings.reports
    return ReportDirectory(
        reports.directory,
        json_breaks_max=reports.json_breaks_max,
        keep=reports.keep,
        payouts=lambda: payout_lines(engine, PayoutFilter()),
    )
