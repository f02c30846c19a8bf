"""Wiring of webhooks: from settings to the worker that delivers. httpx is imported only where something is sent."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from importlib.util import find_spec

from app.parts import Parts
from jobs.process.daemon import Job
from jobs.process.worker import WorkerSpec
from jobs.webhooks.delivering import STEP_WITHIN_S, Delivering, DeliveryLimits, Gauges
from reconciler.clock import utc_now
from reconciler.config import Settings
from reconciler.config.webhooks import WebhookEndpoint, WebhookSettings
from reconciler.domain.deliveries import Answered, Message, RetryPolicy, Target
from reconciler.errors import ConfigError

_NEEDED = ("httpx", "standardwebhooks")


def require_sending(settings: Settings) -> None:
    """Raises ConfigError when endpoints are configured and what sends to them is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if settings.webhooks.endpoints and missing:
        raise ConfigError(
            f"webhooks.endpoints needs {' and '.join(missing)}, which come with the extra api: "
            "pip install 'payout-reconciler[api]'."
        )


def delivery_jobs(parts: Parts) -> list[Job]:
    """The worker that delivers; none where nobody is told."""
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
    from reconciler.webhooks.sending import Sender  # noqa: PLC0415 - an extra: see above

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
    """How many requests at once, and how patiently."""
    return DeliveryLimits(
        concurrency_max=webhooks.concurrency_max,
        retry=RetryPolicy(
            first=timedelta(seconds=webhooks.retry_first_s),
            longest=timedelta(seconds=webhooks.retry_max_s),
            attempts_max=webhooks.attempts_max,
        ),
        retention=timedelta(days=webhooks.retention_days),
    )


def target_of(endpoint: WebhookEndpoint) -> Target:
    """An endpoint as the sender takes it."""
    return Target(
        name=endpoint.name, url=endpoint.url, secrets=tuple(one.get_secret_value() for one in endpoint.secret)
    )


def send_once(webhooks: WebhookSettings, endpoint: WebhookEndpoint, message: Message) -> Answered:
    """Send one message now, beside the queue."""
    from reconciler.webhooks.sending import Sender  # noqa: PLC0415 - an extra: see above

    async def send() -> Answered:
        async with Sender(timeout_s=webhooks.timeout_s, connections_max=1, clock=utc_now) as sender:
            return await sender.send(target_of(endpoint), message)

    return asyncio.run(send())
