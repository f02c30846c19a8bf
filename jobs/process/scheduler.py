"""The table of periodic jobs → APScheduler, every option explicit. A job only wakes a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from reconciler.clock import Clock

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Periodic:
    """A job: every ``interval_s`` seconds beginning now, or by a ``cron`` expression in UTC."""

    name: str
    wake: Callable[[], None]
    interval_s: float | None = None
    cron: str | None = None


def build_scheduler(jobs: Sequence[Periodic], clock: Clock) -> BackgroundScheduler:
    """A scheduler that is not started yet.

    UTC, since zones with summer time once stopped short intervals for an hour (apscheduler#1103); in memory, because
    jobs come from the configuration; no misfire limit, because its default of one second drops runs on a busy machine.
    """
    scheduler = BackgroundScheduler(
        timezone=UTC,
        jobstores={"default": MemoryJobStore()},
        executors={"default": ThreadPoolExecutor(max_workers=len(jobs))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    scheduler.add_listener(_say, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
    for job in jobs:
        first_run = {} if job.interval_s is None else {"next_run_time": clock()}
        scheduler.add_job(
            job.wake,
            _trigger(job),
            id=job.name,
            name=job.name,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
            **first_run,
        )
    return scheduler


def _trigger(job: Periodic) -> BaseTrigger:
    if job.interval_s is not None:
        return IntervalTrigger(seconds=job.interval_s, timezone=UTC)
    return CronTrigger.from_crontab(job.cron, timezone=UTC)


def _say(event: JobEvent) -> None:
    """Logs what APScheduler would otherwise only write to its own log."""
    what = {EVENT_JOB_ERROR: "failed", EVENT_JOB_MISSED: "missed", EVENT_JOB_MAX_INSTANCES: "still running"}
    log.error(
        "a scheduled job did not run", action="job_not_run", job=event.job_id, why=what.get(event.code, event.code)
    )
