"""All metrics for Prometheus in one place: names, labels and meaning. No label ever names a participation or a person.

Jobs are handed a :class:`Metrics` and count on it; whoever serves ``/metrics`` renders its registry. Base units
(seconds, minor units of a currency), counters end with ``_total``.
"""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SWEEP_BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600)
_GROUP_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300)


class Metrics:
    """All metrics of one process, on a registry of their own: two daemons in one test do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauge = partial(Gauge, registry=self.registry)
        self._counter = partial(Counter, registry=self.registry)
        self._histogram = partial(Histogram, registry=self.registry, buckets=_LATENCY_BUCKETS_S)
        self._sweeps()
        self._stream()
        self._queue()
        self._leading()
        self._webhooks()
        self._recording()

    def _sweeps(self) -> None:
        """``kind``: ``full`` (a sweep), ``live`` (a batch of the watch) or ``check``."""
        self.sweep_last_success = self._gauge(
            "payout_sweep_last_success_timestamp_seconds", "When a sweep last ended well.", ["kind"]
        )
        self.sweep_duration = self._histogram(
            "payout_sweep_duration_seconds", "How long sweeps take.", ["kind"], buckets=_SWEEP_BUCKETS_S
        )
        self.sweeps = self._counter("payout_sweeps_total", "Sweeps by how they ended.", ["kind", "outcome"])
        self.sweep_skipped = self._counter(
            "payout_sweep_skipped_total", "Participations not paid, by reason.", ["reason"]
        )
        self.ledger_entries = self._counter("payout_ledger_entries_total", "Requests to post, by outcome.", ["outcome"])
        self.amount_paid = self._counter("payout_amount_paid_total", "Gross amount paid, in minor units.", ["currency"])
        self.overdue_oldest_age = self._gauge(
            "payout_overdue_oldest_age_seconds",
            "How long the oldest participation is due that could be neither paid nor held; 0 when there is none.",
        )

    def _stream(self) -> None:
        self.stream_state = self._gauge(
            "payout_stream_state", "1 for the state the watch is in, 0 for the others.", ["state"]
        )
        self.stream_lag = self._gauge("payout_stream_lag_seconds", "How far the stream is behind the cluster.")
        self.stream_heartbeat = self._gauge(
            "payout_stream_last_heartbeat_timestamp_seconds", "When the stream last answered."
        )
        self.stream_events = self._counter("payout_stream_events_total", "Events by operation.", ["op"])
        self.stream_reopens = self._counter("payout_stream_reopens_total", "Streams opened again, by why.", ["reason"])
        self.stream_history_lost = self._counter(
            "payout_stream_history_lost_total", "How often the stream's position was lost."
        )
        self.stream_token_age = self._gauge("payout_stream_token_age_seconds", "Age of the resume token that is kept.")
        self.trigger_latency = self._histogram(
            "payout_trigger_latency_seconds", "From a change in MongoDB to the commit in the ledger."
        )

    def _queue(self) -> None:
        self.queue_depth = self._gauge("payout_queue_depth", "Keys that wait.")
        self.queue_adds = self._counter("payout_queue_adds_total", "Keys added.")
        self.queue_retries = self._counter("payout_queue_retries_total", "Keys put back after a failure.")
        self.queue_collapses = self._counter(
            "payout_queue_collapses_total", "How often the queue was full and became one order to sweep everything."
        )
        self.queue_duration = self._histogram("payout_queue_queue_duration_seconds", "How long keys wait.")
        self.work_duration = self._histogram("payout_queue_work_duration_seconds", "How long keys are worked on.")
        self.unfinished_work = self._gauge(
            "payout_queue_unfinished_work_seconds", "Time spent so far on all that is being worked on."
        )
        self.longest_running = self._gauge(
            "payout_queue_longest_running_processor_seconds", "How long the oldest piece of work has run."
        )

    def _leading(self) -> None:
        self.leader = self._gauge("payout_leader", "1 while this daemon leads.")
        self.lease_epoch = self._gauge("payout_lease_epoch", "The epoch of the lease last seen.")
        self.build_info = self._gauge("payout_build_info", "Always 1; what runs.", ["version", "python"])

    def _webhooks(self) -> None:
        self.webhook_deliveries = self._counter(
            "payout_webhook_deliveries_total",
            "Attempts to deliver an event, by what became of them.",
            ["endpoint", "outcome"],
        )
        self.webhook_oldest_pending_age = self._gauge(
            "payout_webhook_oldest_pending_age_seconds",
            "Age of the oldest event that an endpoint has not taken; 0 when there is none.",
            ["endpoint"],
        )
        self.webhook_dead = self._gauge("payout_webhook_dead_letters", "Events that were given up.", ["endpoint"])

    def _recording(self) -> None:
        """``outcome``: ``recorded``, ``replayed``, or why a report changed nothing."""
        self.recordings = self._counter(
            "payout_recordings_total", "Reports of impressions and clicks, by what became of them.", ["kind", "outcome"]
        )
        self.recording_group_size = self._histogram(
            "payout_recording_group_size_reports", "Reports that are written together.", buckets=_GROUP_BUCKETS
        )
        self.recording_group_duration = self._histogram(
            "payout_recording_group_duration_seconds", "How long writing a group takes, a majority's commit included."
        )
