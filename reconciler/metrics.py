"""All metrics for Prometheus in one place: names, labels and meaning. No label ever names a participation or a person.

Jobs are handed a :class:`Metrics` and count on it; whoever serves ``/metrics`` renders its registry. Base units
(seconds, minor units of a currency), counters end with ``_total``.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SWEEP_BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600)
_GROUP_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300)


class Metrics:
    """All metrics of one process, on a registry of their own: two daemons in one test do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._sweeps()
        self._stream()
        self._queue()
        self._leading()
        self._webhooks()
        self._recording()

    def _sweeps(self) -> None:
        """``kind``: ``full`` (a sweep), ``live`` (a batch of the watch) or ``check``."""
        registry = self.registry
        self.sweep_last_success = Gauge(
            "payout_sweep_last_success_timestamp_seconds", "When a sweep last ended well.", ["kind"], registry=registry
        )
        self.sweep_duration = Histogram(
            "payout_sweep_duration_seconds",
            "How long sweeps take.",
            ["kind"],
            registry=registry,
            buckets=_SWEEP_BUCKETS_S,
        )
        self.sweeps = Counter(
            "payout_sweeps_total", "Sweeps by how they ended.", ["kind", "outcome"], registry=registry
        )
        self.sweep_skipped = Counter(
            "payout_sweep_skipped_total", "Participations not paid, by reason.", ["reason"], registry=registry
        )
        self.ledger_entries = Counter(
            "payout_ledger_entries_total", "Requests to post, by outcome.", ["outcome"], registry=registry
        )
        self.amount_paid = Counter(
            "payout_amount_paid_total", "Gross amount paid, in minor units.", ["currency"], registry=registry
        )
        self.overdue_oldest_age = Gauge(
            "payout_overdue_oldest_age_seconds",
            "How long the oldest participation is due that could be neither paid nor held; 0 when there is none.",
            registry=registry,
        )

    def _stream(self) -> None:
        registry = self.registry
        self.stream_state = Gauge(
            "payout_stream_state", "1 for the state the watch is in, 0 for the others.", ["state"], registry=registry
        )
        self.stream_lag = Gauge(
            "payout_stream_lag_seconds", "How far the stream is behind the cluster.", registry=registry
        )
        self.stream_heartbeat = Gauge(
            "payout_stream_last_heartbeat_timestamp_seconds", "When the stream last answered.", registry=registry
        )
        self.stream_events = Counter("payout_stream_events_total", "Events by operation.", ["op"], registry=registry)
        self.stream_reopens = Counter(
            "payout_stream_reopens_total", "Streams opened again, by why.", ["reason"], registry=registry
        )
        self.stream_history_lost = Counter(
            "payout_stream_history_lost_total", "How often the stream's position was lost.", registry=registry
        )
        self.stream_token_age = Gauge(
            "payout_stream_token_age_seconds", "Age of the resume token that is kept.", registry=registry
        )
        self.trigger_latency = Histogram(
            "payout_trigger_latency_seconds",
            "From a change in MongoDB to the commit in the ledger.",
            registry=registry,
            buckets=_LATENCY_BUCKETS_S,
        )

    def _queue(self) -> None:
        registry = self.registry
        self.queue_depth = Gauge("payout_queue_depth", "Keys that wait.", registry=registry)
        self.queue_adds = Counter("payout_queue_adds_total", "Keys added.", registry=registry)
        self.queue_retries = Counter("payout_queue_retries_total", "Keys put back after a failure.", registry=registry)
        self.queue_collapses = Counter(
            "payout_queue_collapses_total",
            "How often the queue was full and became one order to sweep everything.",
            registry=registry,
        )
        self.queue_duration = Histogram(
            "payout_queue_queue_duration_seconds", "How long keys wait.", registry=registry, buckets=_LATENCY_BUCKETS_S
        )
        self.work_duration = Histogram(
            "payout_queue_work_duration_seconds",
            "How long keys are worked on.",
            registry=registry,
            buckets=_LATENCY_BUCKETS_S,
        )
        self.unfinished_work = Gauge(
            "payout_queue_unfinished_work_seconds",
            "Time spent so far on all that is being worked on.",
            registry=registry,
        )
        self.longest_running = Gauge(
            "payout_queue_longest_running_processor_seconds",
            "How long the oldest piece of work has run.",
            registry=registry,
        )

    def _leading(self) -> None:
        registry = self.registry
        self.leader = Gauge("payout_leader", "1 while this daemon leads.", registry=registry)
        self.lease_epoch = Gauge("payout_lease_epoch", "The epoch of the lease last seen.", registry=registry)
        self.build_info = Gauge("payout_build_info", "Always 1; what runs.", ["version", "python"], registry=registry)

    def _webhooks(self) -> None:
        registry = self.registry
        self.webhook_deliveries = Counter(
            "payout_webhook_deliveries_total",
            "Attempts to deliver an event, by what became of them.",
            ["endpoint", "outcome"],
            registry=registry,
        )
        self.webhook_oldest_pending_age = Gauge(
            "payout_webhook_oldest_pending_age_seconds",
            "Age of the oldest event that an endpoint has not taken; 0 when there is none.",
            ["endpoint"],
            registry=registry,
        )
        self.webhook_dead = Gauge(
            "payout_webhook_dead_letters", "Events that were given up.", ["endpoint"], registry=registry
        )

    def _recording(self) -> None:
        """``outcome``: ``recorded``, ``replayed``, or why a report changed nothing."""
        registry = self.registry
        self.recordings = Counter(
            "payout_recordings_total",
            "Reports of impressions and clicks, by what became of them.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.recording_group_size = Histogram(
            "payout_recording_group_size_reports",
            "Reports that are written together.",
            registry=registry,
            buckets=_GROUP_BUCKETS,
        )
        self.recording_group_duration = Histogram(
            "payout_recording_group_duration_seconds",
            "How long writing a group takes, a majority's commit included.",
            registry=registry,
            buckets=_LATENCY_BUCKETS_S,
        )
