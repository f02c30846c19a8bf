"""The ledger's part of the composition root. Commands that only read the ledger need nothing else."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path

import structlog

from reconciler.backoff import Backoff
from reconciler.clock import Clock, utc_now
from reconciler.config import Settings
from reconciler.domain.batch import PostingRules
from reconciler.domain.events import EventType
from reconciler.domain.money import parse_amount_minor
from reconciler.errors import Outage
from reconciler.ledger.database_clock import LedgerClock
from reconciler.ledger.engine import Engine, open_engine
from reconciler.ledger.journal.decisions import Decisions
from reconciler.ledger.journal.posting import Fence, SqlJournal, no_fence
from reconciler.ledger.limits import Limits
from reconciler.ledger.operations.break_records import SqlBreakRecords
from reconciler.ledger.operations.deliveries import Deliveries
from reconciler.ledger.operations.events import EventLog
from reconciler.ledger.operations.outbox import SqlOutbox
from reconciler.ledger.operations.runs import RunLog
from reconciler.ledger.operations.stream_positions import StreamPositions
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from reconciler.ledger.revisions import current_revision
from reconciler.status import Pulse

log = structlog.get_logger(__name__)

_WAITS = Backoff(first_s=0.2, max_s=2.0)


@dataclass(frozen=True, kw_only=True)
class LedgerParts:
    """What reads and writes the ledger; made by :func:`ledger_of`. Nothing connects until it is used."""

    settings: Settings
    clock: Clock
    ledger_clock: LedgerClock
    pulse: Pulse
    """When each thread's work last got an answer from the ledger's database."""
    engine: Engine
    ledger: SqlLedgerReads
    journal: SqlJournal
    decisions: Decisions
    events: EventLog
    outbox: SqlOutbox
    runs: RunLog
    breaks: SqlBreakRecords
    positions: StreamPositions
    deliveries: Deliveries


@contextmanager
def ledger_of(
    settings: Settings, *, clock: Clock = utc_now, ledger_clock: LedgerClock | None = None, fence: Fence = no_fence
) -> Iterator[LedgerParts]:
    """The ledger's parts for some settings; all connections are closed at the end.

    ``clock`` is this host's. Without ``ledger_clock`` the ledger's time is asked of its database.
    """
    if "url" not in settings.ledger.model_fields_set:
        _say_default_ledger(str(Path("ledger.db").absolute()))
    pulse = Pulse()
    engine = open_engine(settings.ledger.url.get_secret_value(), limits_of(settings), pulse.beat)
    skew_max = timedelta(seconds=settings.safety.clock_skew_max_s)
    ledger_clock = ledger_clock or LedgerClock(host=clock, skew_max=skew_max)
    clock = ledger_clock.host
    journal = SqlJournal(engine, clock=ledger_clock, rules=posting_rules_of(settings), fence=fence)
    events = EventLog(engine, clock=clock, subscriptions=subscriptions_of(settings))
    blocked_retry = timedelta(seconds=settings.projection.blocked_retry_s)
    try:
        yield LedgerParts(
            settings=settings,
            clock=clock,
            ledger_clock=ledger_clock,
            pulse=pulse,
            engine=engine,
            ledger=SqlLedgerReads(engine),
            journal=journal,
            decisions=Decisions(journal, run_id=str(uuid.uuid4()), four_eyes=settings.payout.four_eyes),
            events=events,
            outbox=SqlOutbox(engine, clock=clock, blocked_retry=blocked_retry, events=events),
            runs=RunLog(engine, events=events),
            breaks=SqlBreakRecords(engine),
            positions=StreamPositions(engine, clock=clock, fence=fence),
            deliveries=Deliveries(engine, clock=clock, fence=fence),
        )
    finally:
        engine.dispose()


def wait_for_ledger(parts: LedgerParts) -> None:
    """Wait until the ledger's database answers. Raises Outage after ``ledger.wait_max_s``.

    MongoDB needs no such loop: its driver waits for a server by itself. A SQLite file is there or it is not.
    """
    is_file = parts.engine.dialect.name == "sqlite"
    until_s = time.monotonic() + (0 if is_file else parts.settings.ledger.wait_max_s)
    for failures_count in count(1):
        try:
            current_revision(parts.engine)
        except Outage:
            if time.monotonic() >= until_s:
                raise
        else:
            return
        time.sleep(_WAITS.jittered_s(failures_count, random.uniform))


@cache
def _say_default_ledger(file: str) -> None:
    """Once a process: whoever meant another one looks at an empty ledger, or at an old one."""
    log.info(
        "nothing says where the ledger is (ledger.url, LEDGER_URL, LEDGER_URL_FILE): it is here",
        action="default_ledger",
        file=file,
    )


def limits_of(settings: Settings, *, lock_s: float | None = None) -> Limits:
    """Return how long waits for the ledger's database may take. ``lock_s`` shortens the wait for a lock."""
    wait_max_s = settings.ledger.wait_max_s
    return Limits.within(lock_s or wait_max_s, settings.ledger.statement_timeout_s, hold_s=wait_max_s)


def subscriptions_of(settings: Settings) -> dict[str, frozenset[EventType]]:
    """Endpoint → the types of events that it wants."""
    return {endpoint.name: frozenset(endpoint.events) for endpoint in settings.webhooks.endpoints}


def posting_rules_of(settings: Settings) -> PostingRules:
    """Return the settings that posting depends on."""
    return PostingRules(
        facts_age_max=timedelta(seconds=settings.sweep.facts_age_max_s),
        hold_days=settings.payout.hold_days,
        approval_threshold_minor=_minor(settings.payout.approval_threshold),
        payouts_per_hour_max=settings.safety.payouts_per_hour_max,
        amount_per_hour_max_minor=_minor(settings.safety.amount_per_hour_max),
        impressions_per_minute_max=settings.safety.impressions_per_minute_max,
    )


def _minor(amounts: Mapping[str, str]) -> dict[str, int]:
    """Currency → minor units; the configuration has made sure that they can be read."""
    parsed = {currency: parse_amount_minor(text, currency) for currency, text in amounts.items()}
    return {currency: amount for currency, amount in parsed.items() if isinstance(amount, int)}
