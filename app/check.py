"""The full check's part of the composition root: the readers that only the check uses."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from jobs.check.accounts import AccountChecker
from jobs.check.budgets import BudgetChecker
from jobs.check.census import CampaignCensus
from jobs.check.effects import EffectsChecker
from jobs.check.exact import PageChecker
from jobs.check.full_check import FullCheck
from jobs.check.lock import CheckLock
from jobs.check.partition import PartitionChecker
from jobs.check.population import PopulationChecker
from jobs.check.reporting import CheckReporting
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
    settler, projector, facts, scan = parts.sweep.settler, parts.projector, parts.facts, parts.scan
    outbox, projection, recorder, status = parts.outbox, parts.projection, parts.recorder, parts.status
    mapping, reads = settings.mapping, SqlPopulationReads(engine)
    states = MongoEffectStates(connection, mapping, default_currency=settings.payout.default_currency)
    check_runs, fingerprint = SqlCheckRuns(engine, clock=clock), settings.fingerprint()
    sweeps = SqlSweepWatch(engine, pays=settings.payout.enabled, within=timedelta(seconds=settings.sweep.deadline_s))
    pages = PageChecker(
        reads=reads,
        outbox=outbox,
        projection=projection,
        projector=projector,
        settler=replace(settler, overdue=None),
        must_be_paid=sweeps.must_be_paid,
        dry_run=False,
    )
    return FullCheck(
        population=PopulationChecker(
            facts=facts,
            scan=scan,
            reads=reads,
            journal=parts.journal,
            partitions=PartitionChecker(
                facts=facts, reads=reads, states=states, pages=pages, page_size=settings.full_check.page_size
            ),
            check_runs=check_runs,
            status=status,
            clock=clock,
            config_fingerprint=fingerprint,
            partition_size=settings.full_check.partition_size,
            resume_within=timedelta(seconds=settings.full_check.resume_within_s),
            stopping=parts.stopping,
        ),
        census=CampaignCensus(facts=facts, scan=scan),
        effects=EffectsChecker(
            outbox=outbox,
            reads=reads,
            projector=projector,
            within=timedelta(seconds=settings.projection.overdue_s),
        ),
        accounts=AccountChecker(
            facts=facts, scan=scan, reads=reads, states=states, projection=projection, projector=projector
        ),
        budgets=BudgetChecker(
            facts=facts,
            reads=reads,
            budget_of=MongoRecordedBudgets(connection, mapping, parts.defaults).read,
            is_on=settings.full_check.recorded_budgets,
        ),
        verify=CheckVerifier(
            engine, clock=clock, whole_after=timedelta(days=settings.full_check.whole_chain_days)
        ).verify,
        reporting=CheckReporting(
            money=MoneyInWaiting(
                deciding=settler.deciding,
                scan=scan,
                reads=reads,
                timezone=settings.reports.timezone,
                rows_max=settings.reports.json_breaks_max,
            ),
            breaks=parts.breaks,
            directory=report_directory_of(settings, engine),
            watched=StreamPositions(engine, clock=clock).load,
            clock=clock,
            config_fingerprint=fingerprint,
        ),
        check_runs=check_runs,
        guard=parts.guard,
        lock=CheckLock(lease=_lease(engine), ttl_s=LEASE_TTL_S),
        recorder=recorder,
        status=status,
    )


def _lease(engine: Engine) -> Lease:
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    return Lease(engine, name=CHECKING, holder=holder, ttl=timedelta(seconds=LEASE_TTL_S))


def report_directory_of(settings: Settings, engine: Engine) -> ReportDirectory:
    """Where checks write their reports."""
    reports = settings.reports
    return ReportDirectory(
        reports.directory,
        json_breaks_max=reports.json_breaks_max,
        keep=reports.keep,
        payouts=lambda: payout_lines(engine, PayoutFilter()),
    )
