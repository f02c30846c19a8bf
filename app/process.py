"""The daemon's table of jobs, and its beginning and end as a process."""

from __future__ import annotations

import os
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

import structlog

from app.ledger import limits_of
from app.parts import Parts, parts_of
from app.preparing import keep_halt, prepare
from app.sending import require_sending
from app.serving import check_requests_of, serving
from app.watch import listen, watch_thread
from app.webhooks import delivery_jobs
from jobs.check.options import CheckOptions, Progress
from jobs.check.requested import POLL_S, RequestedChecks
from jobs.process.daemon import Daemon, DaemonEnd, Job, stop_on_signals
from jobs.process.halting import Halt
from jobs.process.leading import RENEWALS_A_TTL, LeaseKeeper
from jobs.process.worker import WorkerSpec, say_waiting
from reconciler.config import Settings
from reconciler.errors import DatabaseFailure, ReconcilerError
from reconciler.exit_codes import UNEXPECTED, ExitCode
from reconciler.ledger.engine import open_engine
from reconciler.ledger.operations.lease import PAYING, Lease

log = structlog.get_logger(__name__)


def run_daemon(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. The daemon waits for a database that is away, at the start and later."""
    require_sending(settings)
    stopping = threading.Event()
    stop_on_signals(stopping, end_at_once)
    with lease_of(settings) as lease, parts_of(settings, fence=lease.fence, stopping=stopping) as parts:
        if not _prepared(parts):
            _end_process(ExitCode.CLEAN)
        end = run_until_stopped(parts, lease)
        code = UNEXPECTED if end.by_defect else int(ExitCode.USAGE if end.is_outdated else ExitCode.CLEAN)
        if not end.in_time:
            _end_process(code)
    return code


def run_until_stopped(parts: Parts, lease: Lease) -> DaemonEnd:
    """Run everything that the daemon does, until ``parts.stopping`` is set."""
    halt = Halt(parts.decisions)
    keeper = LeaseKeeper(
        lease,
        ttl_s=parts.settings.sweep.lease_ttl_s,
        stopping=parts.stopping,
        require_clock=lambda: parts.journal.now(lease.engine),
    )
    daemon = Daemon(jobs_of(parts, halt), stopping=parts.stopping, halt=halt, clock=parts.clock, keeper=keeper)
    listen(parts, keeper, daemon.waker("live"), daemon.waker("sweep"))
    watch = watch_thread(parts, parts.positions, keeper, daemon.waker("sweep"))
    with serving(parts, daemon, keeper) as served:
        end = daemon.run([] if watch is None else [watch])
    return replace(end, in_time=end.in_time and not served.is_left_behind)


@contextmanager
def lease_of(settings: Settings) -> Iterator[Lease]:
    """The lease on paying. It has its own connections, since a renewal must not wait behind the workers.

    It waits no longer than from one renewal to the next.
    """
    limits = limits_of(settings, lock_s=settings.sweep.lease_ttl_s / RENEWALS_A_TTL)
    engine = open_engine(settings.ledger.url.get_secret_value(), limits)
    # The host and process for people who look; the rest, because both may come again.
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    try:
        yield Lease(engine, name=PAYING, holder=holder, ttl=timedelta(seconds=settings.sweep.lease_ttl_s))
    finally:
        engine.dispose()


def jobs_of(parts: Parts, halt: Halt) -> list[Job]:
    """Return what the daemon does, and when."""
    settings = parts.settings

    def sweep() -> None:
        if not halt.is_on():
            with parts.measuring.sweep() as done:
                done.append(parts.sweep.step("sweep", dry_run=not settings.payout.enabled))

    def live() -> None:
        if settings.payout.enabled and not halt.is_on():
            parts.live.settler.run()
        else:
            # Nothing may be paid now. Whoever is due is found by the first sweep that may pay.
            parts.live.queue.clear()

    def check(report_id: str, progress: Progress) -> str:
        is_halted = halt.is_on()
        options = CheckOptions(
            trigger="full_check",
            report_id=report_id,
            dry_run=is_halted or not settings.payout.enabled,
            is_halted=is_halted,
            writes_progress=True,
        )
        report, _ = parts.full_check.step(options, progress)
        keep_halt(parts, report)
        return report.verdict

    checks = RequestedChecks(check_requests_of(parts), check)

    def housekeeping() -> None:
        parts.housekeeping.step(moves_money=settings.payout.enabled and not halt.is_on())

    return [
        Job(
            worker=WorkerSpec(name="sweep", step=sweep, deadline_s=settings.sweep.deadline_s, pulse=parts.pulse),
            interval_s=settings.sweep.interval_s,
        ),
        Job(
            worker=WorkerSpec(
                name="live",
                step=live,
                deadline_s=settings.sweep.deadline_s,
                again_in_s=parts.live.queue.next_in_s,
                pulse=parts.pulse,
            )
        ),
        Job(
            worker=WorkerSpec(name="full_check", step=checks.scheduled, deadline_s=6 * settings.sweep.deadline_s),
            cron=settings.full_check.cron,
        ),
        Job(
            worker=WorkerSpec(name="requested_checks", step=checks.step, deadline_s=6 * settings.sweep.deadline_s),
            interval_s=POLL_S,
        ),
        Job(
            worker=WorkerSpec(name="housekeeping", step=housekeeping, deadline_s=settings.sweep.deadline_s),
            interval_s=settings.housekeeping.interval_s,
        ),
        *delivery_jobs(parts),
    ]


def end_at_once(signal_number: int) -> None:
    """End the process at a second signal. Nothing is lost: the database rolls an open transaction back."""
    os._exit(128 + signal_number)


def _end_process(code: int) -> NoReturn:
    """End without waiting for threads that hang in a driver: what they had not committed, the database rolls back."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _prepared(parts: Parts) -> bool:
    """Wait for both databases, however long that takes; False when it was stopped meanwhile.

    In a thread of its own, so that a signal is obeyed while a driver waits. Raises UsageError from there.
    """
    failures: list[ReconcilerError] = []

    def prepare_patiently() -> None:
        try:
            _prepare_patiently(parts)
        except ReconcilerError as error:
            failures.append(error)

    thread = threading.Thread(target=prepare_patiently, name="prepare", daemon=True)
    thread.start()
    while thread.is_alive():
        if parts.stopping.is_set():
            return False
        thread.join(0.2)
    if failures:
        raise failures[0]
    return not parts.stopping.is_set()


def _prepare_patiently(parts: Parts) -> None:
    said: type[DatabaseFailure] | None = None
    while not parts.stopping.is_set():
        try:
            prepare(parts, makes=True)
        except DatabaseFailure as failure:
            if said is not type(failure):
                said = type(failure)
                say_waiting(failure, worker="start")
            parts.stopping.wait(2.0)
        else:
            return
