"""The full check's part of the composition root: the readers that only the check uses."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

from jobs.check.full_check import CheckLimits, FullCheck
from jobs.check.waiting import MoneyInWaiting
from reconciler.config import Settings
from reconciler.ledger.engine import Engine
from reconciler.ledger.operations.check_runs import SqlCheckRuns
from reconciler.ledger.operations.lease import CHECKING, Lease
from reconciler.ledger.operations.stream_positions import StreamPositions
from reconciler.ledger.operations.sweep_watch import SqlSweepWatch
from reconciler.ledger.proof.integrity import CheckVerifier
from reconciler.ledger.reads.payout_list import PayoutFilter, payout_lines
from reconciler.ledger.reads.population import SqlPopulationReads
from reconciler.mongo.effect_states import MongoEffectStates
from reconciler.mongo.recorded_budgets import MongoRecordedBudgets
from reconciler.reports.writer import ReportDirectory

if TYPE_CHECKING:
    from app.parts import Parts

LEASE_TTL_S = 30
"""How long a check that was killed keeps others away: longer than any single statement of a renewal waits."""


def full_check_of(parts: Parts) -> FullCheck:
    """Make the full check from these parts. Nothing connects until it is used."""
    settings, engine, connection, clock = parts.settings, parts.engine, parts.connection, parts.clock
    reads, mapping = SqlPopulationReads(engine), settings.mapping
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    return FullCheck(
        facts=parts.facts,
        scan=parts.scan,
        states=MongoEffectStates(connection, mapping, default_currency=settings.payout.default_currency),
        reads=reads,
        ledger=parts.ledger,
        journal=parts.journal,
        outbox=parts.outbox,
        projection=parts.projection,
        projector=parts.projector,
        verifier=CheckVerifier(engine, clock=clock, whole_after=timedelta(days=settings.full_check.whole_chain_days)),
        sweeps=SqlSweepWatch(engine, pays=settings.payout.enabled, within=timedelta(seconds=settings.sweep.deadline_s)),
        watched=StreamPositions(engine, clock=clock),
        budgets=MongoRecordedBudgets(connection, mapping, parts.defaults),
        check_runs=SqlCheckRuns(engine, clock=clock),
        lease=Lease(engine, name=CHECKING, holder=holder, ttl=timedelta(seconds=LEASE_TTL_S)),
        break_records=parts.breaks,
        policy=parts.policy,
        guard=parts.guard,
        recorder=parts.recorder,
        reports=report_directory_of(settings, engine),
        status=parts.status,
        money=MoneyInWaiting(
            facts=parts.facts,
            scan=parts.scan,
            reads=reads,
            ledger=parts.ledger,
            policy=parts.policy,
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
        stopping=parts.stopping,
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
