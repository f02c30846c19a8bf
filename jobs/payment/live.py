"""The live settler: takes what was hinted at from the work queue and settles it, in batches, as the sweep does.

:class:`jobs.payment.settling.Settler` settles a participation, and reads it anew and authoritatively; a hint is never
believed. A campaign is a key of its own: its holds are tried again, its pool frozen when it is due, and its candidates
settled, a page at a time between batches of participations, so that a large campaign holds up nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import structlog

from jobs.payment.pools import PoolFreezer
from jobs.payment.settling import Settler, SettleResult, say_paid
from jobs.process.measuring import Measuring
from reconciler.domain.campaign import STATUSES_THAT_PAY, CampaignTerms
from reconciler.domain.decision import Scope
from reconciler.domain.ids import DocumentId
from reconciler.errors import DatabaseFailure, ReconcilerError
from reconciler.ports.hints import Key, KeyKind
from reconciler.ports.journal import BatchStamp
from reconciler.status import Value
from reconciler.workqueue import Work, WorkQueue

log = structlog.get_logger(__name__)

FINISHED_MAX = 50_000
"""Participations remembered as paid: some 15 MB. One that was forgotten costs a read when it changes again."""

STALE_TRIES_MAX = 8
"""How often facts older than their event are read again: 2.5 seconds in all, more than a new primary needs."""

CAMPAIGNS_REMEMBERED_MAX = 10_000

_LONG_AGO_S = float("-inf")


@dataclass(slots=True, kw_only=True)
class LiveCounts:
    """What the live settler did since it began; for people and tests."""

    batches: int = 0
    """Batches of participations that were read."""
    read: int = 0
    """Participations among them: each was one document of one query."""
    paid: int = 0
    finished: int = 0
    """Events of participations that are paid already, our own effects among them: nothing was read for these."""
    campaigns: int = 0
    stale: int = 0
    """Facts that were older than their event, and were read again."""
    failed: int = 0
    """Keys that failed by themselves, and are tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLimits:
    """``batch_max``: participations settled at once. ``campaign_interval_s``: a campaign is looked at once in it."""

    batch_max: int
    campaign_interval_s: float


class LiveSettler:
    """For one thread, of the daemon that leads. Raises what :class:`Settler` raises; no key is lost by that."""

    def __init__(
        self,
        queue: WorkQueue[Key],
        settler: Settler,
        *,
        limits: LiveLimits,
        measuring: Measuring,
        stamp: BatchStamp,
        stopping: threading.Event,
    ) -> None:
        self._queue = queue
        self._settler = settler
        self._clock = measuring.clock
        self._freezer = PoolFreezer(deciding=settler.deciding, poster=settler.poster, clock=measuring.clock)
        self._limits = limits
        self._measuring = measuring
        self._stamp = stamp
        self._stopping = stopping
        self._taken: dict[Key, Work[Key]] = {}
        self._campaigns: dict[Key, Iterator[None]] = {}
        """Campaigns that are being worked on, each where it was left."""
        self._finished: dict[DocumentId, None] = {}
        self._hinted: dict[DocumentId, float] = {}
        """Campaign → when a participation of it last put it into the queue, or will."""
        self.counts = LiveCounts()

    def shown(self) -> dict[str, Value]:
        """Queue and settler in numbers, for the status board."""
        return {**asdict(self._queue.numbers()), **{f"live_{name}": n for name, n in asdict(self.counts).items()}}

    def run(self) -> None:
        """Settle until nothing waits, or until the daemon stops, between two batches."""
        while not self._stopping.is_set() and self.step():
            pass

    def step(self) -> bool:
        """One batch of participations, and one page of a campaign; returns whether there was anything to do."""
        batch = self._queue.get_batch(self._limits.batch_max)
        self._taken.update({work.key: work for work in batch})
        try:
            for work in batch:
                if work.key.kind is KeyKind.CAMPAIGN:
                    self._campaigns[work.key] = self._pages_of(work)
                    self.counts.campaigns += 1
            self._settle_works([work for work in batch if work.key.kind is KeyKind.PARTICIPATION])
            self._next_page()
        except ReconcilerError:
            # Whatever the reason, it is not these keys' own: they come out again when there is work to be done.
            self._campaigns.clear()
            for work in self._taken.values():
                self._queue.put_back(work)
            self._taken.clear()
            raise
        return bool(batch or self._campaigns)

    def _settle_works(self, works: Sequence[Work[Key]]) -> None:
        fresh: list[Work[Key]] = []
        for work in works:
            if work.key.document_id in self._finished:
                self.counts.finished += 1
                self._done(work)
            else:
                fresh.append(work)
        if fresh:
            self._settle_or_split(fresh)

    def _settle_or_split(self, works: Sequence[Work[Key]]) -> None:
        """Where a database refuses a batch, find out which of it is to blame: one document must not stop the others."""
        try:
            settled = self._settle([work.key.document_id for work in works], works)
        except DatabaseFailure as failure:
            if not failure.is_answer:
                raise
            if len(works) == 1:
                self._put_off(works[0], failure)
                return
            middle = len(works) // 2
            self._settle_or_split(works[:middle])
            self._settle_or_split(works[middle:])
            return
        finished = set(settled.finished)
        for work in works:
            if self._is_stale(work, settled, finished):
                self.counts.stale += 1
                del self._taken[work.key]
                self._queue.retry(work)
            else:
                self._done(work)

    def _settle(self, participation_ids: Sequence[DocumentId], works: Sequence[Work[Key]] = ()) -> SettleResult:
        began_s = time.monotonic()
        self.counts.batches += 1
        self.counts.read += len(participation_ids)
        settled = self._settler.settle(participation_ids, self._stamp)
        self.counts.paid += settled.paid
        self._remember(settled.finished)
        self._measuring.live(settled, time.monotonic() - began_s)
        say_paid(settled, self._stamp, dry_run=False)
        if settled.committed_s is not None:
            committed_at = self._clock() - timedelta(seconds=time.monotonic() - settled.committed_s)
            self._measure_latency(works, settled, committed_at)
        if self._settler.deciding.policy.has_pools:
            for campaign_id in settled.campaigns:
                self._hint_campaign(campaign_id)
        return settled

    def _is_stale(self, work: Work[Key], settled: SettleResult, finished: set[DocumentId]) -> bool:
        """Whether what was read is older than the change that asked for it, and is worth reading again.

        It happens right after an election. What was paid on such facts was rightly paid; what was not may be due.
        """
        if work.after is None or settled.as_of is None or settled.as_of >= work.after:
            return False
        return work.key.document_id not in finished and self._queue.failures_count(work.key) < STALE_TRIES_MAX

    def _put_off(self, work: Work[Key], failure: DatabaseFailure) -> None:
        self.counts.failed += 1
        del self._taken[work.key]
        is_first = self._queue.failures_count(work.key) == 0
        delay_s = self._queue.retry(work)
        if is_first:
            log.warning(
                "a database refuses what one document needs; it is tried again, and the others go on",
                action="live_key_failed",
                document=work.key.kind.value,
                id=str(work.key.document_id),
                database=failure.database,
                reason=str(failure),
                again_in_s=delay_s,
            )

    def _next_page(self) -> None:
        """One page of the campaign that waited longest; then it is the next one's turn."""
        if not self._campaigns:
            return
        key = next(iter(self._campaigns))
        pages = self._campaigns.pop(key)
        try:
            next(pages)
        except StopIteration:
            self._done(self._taken[key])
        except DatabaseFailure as failure:
            if not failure.is_answer:
                raise
            self._put_off(self._taken[key], failure)
        else:
            self._campaigns[key] = pages

    def _pages_of(self, work: Work[Key]) -> Iterator[None]:
        """What a changed campaign asks for, a page at a time: held ones first, in their order, as in a sweep."""
        campaign_id, settler = work.key.document_id, self._settler
        if work.after is not None:
            settler.deciding.facts.catch_up(work.after)
        terms = settler.deciding.facts.campaigns([campaign_id]).get(campaign_id.tagged)
        if not isinstance(terms, CampaignTerms):
            return
        holds = [hold for hold in settler.deciding.ledger.open_holds() if hold.campaign_id == campaign_id.tagged]
        held = [DocumentId.from_tagged(hold.participation_id) for hold in holds]
        yield from self._settle_pages(held)
        seen = set(held)
        if terms.status not in STATUSES_THAT_PAY:
            return
        if settler.deciding.policy.has_pools and self._freezer.freeze_due([terms], self._stamp).count:
            yield from self._pay_lines()
        if settler.deciding.policy.scope is Scope.CAMPAIGN:
            return
        for page in settler.deciding.facts.candidates([terms], self._limits.batch_max):
            readable = [one for one in page if isinstance(one, DocumentId)]
            yield from self._settle_pages([one for one in readable if one not in seen and one not in self._finished])

    def _pay_lines(self) -> Iterator[None]:
        after = ""
        while lines := self._settler.deciding.ledger.unposted_lines(after, self._limits.batch_max):
            yield from self._settle_pages(lines)
            after = lines[-1].tagged

    def _settle_pages(self, participation_ids: Sequence[DocumentId]) -> Iterator[None]:
        size = self._limits.batch_max
        for start in range(0, len(participation_ids), size):
            page = participation_ids[start : start + size]
            try:
                self._settle(page)
            except DatabaseFailure as failure:
                if not failure.is_answer:
                    raise
                # As keys of their own each can fail by itself.
                for participation_id in page:
                    self._queue.add(Key(KeyKind.PARTICIPATION, participation_id))
            yield

    def _hint_campaign(self, campaign_id: DocumentId) -> None:
        """Put a campaign into the queue, at most once in an interval however many of its participations change."""
        now_s = time.monotonic()
        last_s = self._hinted.pop(campaign_id, _LONG_AGO_S)
        due_s = max(now_s, last_s + self._limits.campaign_interval_s)
        if last_s > now_s:
            due_s = last_s
        elif due_s > now_s:
            self._queue.add_later(Key(KeyKind.CAMPAIGN, campaign_id), due_s - now_s)
        else:
            self._queue.add(Key(KeyKind.CAMPAIGN, campaign_id))
        self._hinted[campaign_id] = due_s
        if len(self._hinted) > CAMPAIGNS_REMEMBERED_MAX:
            del self._hinted[next(iter(self._hinted))]

    def _remember(self, finished: Sequence[DocumentId]) -> None:
        self._finished.update(dict.fromkeys(finished))
        while len(self._finished) > FINISHED_MAX:
            del self._finished[next(iter(self._finished))]

    def _measure_latency(self, works: Sequence[Work[Key]], settled: SettleResult, committed_at: datetime) -> None:
        for work in works:
            if work.changed_at is not None and work.key.document_id.tagged in settled.outcomes:
                waited_s = (committed_at - work.changed_at).total_seconds()
                self._measuring.metrics.trigger_latency.observe(max(0.0, waited_s))

    def _done(self, work: Work[Key]) -> None:
        del self._taken[work.key]
        self._queue.done(work.key)
