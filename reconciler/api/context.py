"""What the API asks of the rest of the program, as Protocols, and the one bundle in which it gets them.

Everything here may block and may raise ``Outage``: routes ask it through :class:`reconciler.api.offload.Offload`.
Documents are plain JSON types; their keys are those of the command line's ``--json``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI

from reconciler.clock import Clock
from reconciler.config.api import ApiSettings
from reconciler.metrics import Metrics
from reconciler.status import Liveness, StatusBoard

Document = dict[str, Any]

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutQuery:
    """Which payouts, newest first: all that every field given agrees with. Identities as people type them.

    ``before`` is the ledger sequence that the page before ended with; ``limit`` is at least 1.
    """

    since: datetime | None = None
    until: datetime | None = None
    campaign: str | None = None
    streamer: str | None = None
    status: str | None = None
    trigger: str | None = None
    currency: str | None = None
    before: int | None = None
    limit: int = 50


class Books(Protocol):
    """The ledger, read."""

    def payouts(self, query: PayoutQuery) -> list[Document]:
        """Payouts and reversals, newest first."""
        ...

    def payout(self, key: str) -> list[Document]:
        """All about a payout: by its key, or all of the participation it names. Empty when there is none."""
        ...

    def explain(self, participation_id: str) -> Document | None:
        """Why a participation was paid or not; None where neither database has it."""
        ...

    def holds(self) -> list[Document]:
        """Payouts that wait, in the order in which they are retried."""
        ...

    def halt(self) -> Document | None:
        """The halt that nobody has ended: ``since`` and ``cause``."""
        ...

    def last_run(self, kind: str) -> Document | None:
        """The newest run of a kind (sweep, full_check) that ended."""
        ...

    def outbox(self) -> Mapping[str, int]:
        """How many payouts wait for their effects (``pending``), and how many cannot have them (``blocked``)."""
        ...

    def overview(self) -> Document:
        """How everything stands by the ledger: ``halt``, ``lease``, ``last_sweep``, ``last_check``, counts by kind.

        ``open_breaks`` and ``holds`` are mappings of a kind and a reason to how many there are.
        """
        ...

    def require_ready(self) -> None:
        """Raises Outage, NotMigrated or UsageError when the ledger cannot be worked with."""
        ...


class Campaigns(Protocol):
    """Campaigns as MongoDB and the ledger have them."""

    def completion(self, campaign_id: str) -> Document | None:
        """How far a campaign is and what became of its participations; None when there is no such campaign."""
        ...

    def hint(self, campaign_id: str) -> bool:
        """Have the campaign looked at soon; False when there is no such campaign."""
        ...

    def require_ready(self) -> None:
        """Raises Outage when MongoDB has no primary that answers."""
        ...


class People(Protocol):
    """What people decide. Each answers the result in a word, and raises UsageError with why it is refused."""

    def approve(self, subject: str, by: str, reason: str, seen_minor: int | None = None) -> str:
        """Approve a payout that waits, up to the gross amount seen, or what another person asked for."""
        ...

    def reject(self, subject: str, by: str, reason: str) -> str:
        """Reject a payout that waits, for good, or what another person asked for."""
        ...

    def reverse(self, payout_key: str, by: str, reason: str) -> str:
        """Take a payout back; under four eyes only ``requested``."""
        ...

    def resume(self, by: str, reason: str, seen: datetime | None = None) -> str:
        """Let paying go on after a halt; not after a later one than that ``seen``, by when it began."""
        ...


class BreakBook(Protocol):
    """Breaks that are open, and who has seen them."""

    def open_breaks(self, limit: int) -> list[Document]:
        """Open breaks, the gravest and oldest first; each with ``break_id``."""
        ...

    def acknowledged_breaks(self, limit: int) -> list[Document]:
        """Breaks that are still there and that somebody acknowledged as they are."""
        ...

    def acknowledge(self, break_id: str, by: str, reason: str) -> str:
        """Record that a person knows of a break. Raises UsageError where there is no such open break."""
        ...


class Webhooks(Protocol):
    """What others were told, or could not be."""

    def endpoints(self) -> list[Document]:
        """Each endpoint: ``endpoint``, ``state``, ``pending``, ``dead``, ``oldest_pending_at``."""
        ...

    def deliveries(self, status: str | None, limit: int) -> list[Document]:
        """Deliveries of the newest events, or those of one status."""
        ...


class Trials(Protocol):
    """What the test page shows of a participation; never its token."""

    def find(self, token: str) -> str | None:
        """The participation with this recording token."""
        ...

    def look(self, participation_id: str) -> Document | None:
        """Its counters, its campaign, and its streamer's wallet, as they are now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTicket:
    """A full check that was asked for, as SQL knows it. ``outcome``: its verdict, or ``failed``; None while open."""

    report_id: str
    requested_by: str
    requested_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: str | None = None
    error: str | None = None
    done_count: int = 0
    expected_count: int = 0

    @property
    def state(self) -> str:
        """``waiting``, ``running`` or ``finished``."""
        if self.finished_at is not None:
            return "finished"
        return "waiting" if self.started_at is None else "running"


class Checks(Protocol):
    """Full checks on demand, one at a time."""

    def request(self, by: str) -> tuple[CheckTicket, bool]:
        """Ask for a check; answers the open one, and whether it is new."""
        ...

    def ticket(self, report_id: str) -> CheckTicket | None:
        """A check that was asked for."""
        ...


class Reports(Protocol):
    """Reports on disk."""

    def newest(self, limit: int) -> list[Document]:
        """Heads of reports, the newest first: ``report_id``, ``verdict``, times, ``formats``."""
        ...

    def file(self, report_id: str, form: str) -> Path | None:
        """The file of a report (``latest`` for the newest) in a format; None when there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """All that the API works with.

    ``routers`` come from parts with ports of their own, such as recording; ``lifespans`` are entered in order before
    the first request, on the event loop, and left after the last.
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
    books: Books
    campaigns: Campaigns
    people: People
    checks: Checks
    reports: Reports
    breaks: BreakBook | None = None
    webhooks: Webhooks | None = None
    trials: Trials | None = None
    """For the test page; None where there is none."""
    is_paying_on: bool = True
    """Whether ``payout.enabled``: else who is due is counted, and nobody is paid."""
    routers: Sequence[APIRouter] = ()
    lifespans: Sequence[Lifespan] = ()
    is_leader: Callable[[], bool] = lambda: True
    troubles: Callable[[], Mapping[str, str | None]] = dict
    """By job that pays, which database keeps it from that."""
