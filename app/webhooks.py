"""Wiring of webhooks: from settings to the worker that delivers. httpx is imported only where something is sent."""

from __future__ import annotations

import random
from datetime import timedelta

from app.parts import Parts
from app.sending import target_of
from jobs.process.daemon import Job
from jobs.process.worker import WorkerSpec
from jobs.webhooks.delivering import STEP_WITHIN_S, Delivering, DeliveryLimits, Gauges
from reconciler.backoff import Backoff
from reconciler.config.webhooks import WebhookSettings
from reconciler.domain.deliveries import RetryPolicy


def delivery_jobs(parts: Parts) -> list[Job]:
    """The worker that delivers; none where no endpoint is configured."""
    webhooks = parts.settings.webhooks
    if not webhooks.endpoints:
        return []
    return [
        Job(
            worker=WorkerSpec(
                name="webhooks",
                step=delivering_of(parts).step,
                deadline_s=2 * (STEP_WITHIN_S + webhooks.timeout_s),
            ),
            interval_s=webhooks.interval_s,
            subscribe=parts.bell.subscribe,
        )
    ]


def delivering_of(parts: Parts) -> Delivering:
    """What sends events to the endpoints of the settings."""
    from reconciler.webhooks.sending import Sender  # an extra: see above

    webhooks = parts.settings.webhooks
    connections_max = webhooks.concurrency_max * len(webhooks.endpoints)
    return Delivering(
        [target_of(endpoint) for endpoint in webhooks.endpoints],
        queue=parts.deliveries,
        open_sender=lambda: Sender(timeout_s=webhooks.timeout_s, connections_max=connections_max, clock=parts.clock),
        limits=limits_of(webhooks),
        gauges=Gauges(board=parts.status, metrics=parts.metrics),
        clock=parts.clock,
        chance=random.random,
        stopping=parts.stopping,
    )


def limits_of(webhooks: WebhookSettings) -> DeliveryLimits:
    """Return how many requests may run at once, and how failed ones are retried."""
    return DeliveryLimits(
        concurrency_max=webhooks.concurrency_max,
        retry=RetryPolicy(
            backoff=Backoff(first_s=webhooks.retry_first_s, max_s=webhooks.retry_max_s),
            attempts_max=webhooks.attempts_max,
        ),
        retention=timedelta(days=webhooks.retention_days),
    )
