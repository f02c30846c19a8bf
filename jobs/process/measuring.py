"""What sweeps and live batches did, as metrics for Prometheus and on the status board."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from jobs.payment.settling import SettleResult
from jobs.payment.sweep import SweepResult
from reconciler.clock import Clock
from reconciler.metrics import Metrics
from reconciler.status import StatusBoard

FULL, LIVE = "full", "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """Counts what sweeps and live batches did, as metrics and on the status board."""

    metrics: Metrics
    status: StatusBoard
    clock: Clock

    @contextmanager
    def sweep(self) -> Iterator[list[SweepResult]]:
        """Measure the sweep in the block, which adds its result to the list. An exception is a failed sweep."""
        began_at, done = self.clock(), list[SweepResult]()
        self.status.record("sweep", running_since=began_at)
        try:
            yield done
        except BaseException as error:
            self.metrics.sweeps.labels(FULL, "failed").inc()
            self.status.record("sweep", last_failed_at=self.clock(), last_error=type(error).__name__)
            raise
        finally:
            self.status.record("sweep", running_since=None)
        for result in done:
            self._swept(result, began_at)

    def live(self, settled: SettleResult, duration_s: float) -> None:
        """A batch of the watch was settled."""
        self.metrics.sweeps.labels(LIVE, "complete").inc()
        self.metrics.sweep_duration.labels(LIVE).observe(duration_s)
        self.metrics.sweep_last_success.labels(LIVE).set(self.clock().timestamp())
        self._settled(settled)

    def _swept(self, result: SweepResult, began_at: datetime) -> None:
        outcome = "complete" if result.complete else "stopped"
        now = self.clock()
        self.metrics.sweeps.labels(FULL, "dry_run" if result.dry_run else outcome).inc()
        self.metrics.sweep_duration.labels(FULL).observe(result.duration_s)
        if result.complete:
            self.metrics.sweep_last_success.labels(FULL).set(now.timestamp())
        if not result.dry_run:
            self._settled(result.settled)
        self.status.record(
            "sweep",
            last_began_at=began_at,
            last_finished_at=now,
            duration_s=round(result.duration_s, 3),
            outcome=outcome,
            dry_run=result.dry_run,
            due=result.settled.due,
            paid=result.settled.paid,
            held=result.settled.held,
            projected=result.settled.projected,
            blocked=result.blocked,
        )

    def _settled(self, settled: SettleResult) -> None:
        for currency, amount_minor in settled.paid_minor.items():
            self.metrics.amount_paid.labels(currency).inc(amount_minor)
        for outcome, count in (("paid", settled.paid), ("held", settled.held)):
            if count:
                self.metrics.ledger_entries.labels(outcome).inc(count)
        for reason, count in settled.skipped.items():
            if count:
                self.metrics.sweep_skipped.labels(reason).inc(count)
