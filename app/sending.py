"""Sending to the endpoints of webhooks. httpx, which an extra brings, is imported only where something is sent."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec

from reconciler.clock import utc_now
from reconciler.config import Settings
from reconciler.config.webhooks import WebhookEndpoint, WebhookSettings
from reconciler.domain.deliveries import Answered, Message, Target
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


def target_of(endpoint: WebhookEndpoint) -> Target:
    """An endpoint as the sender takes it."""
    return Target(
        name=endpoint.name, url=endpoint.url, secrets=tuple(one.get_secret_value() for one in endpoint.secret)
    )


def send_once(webhooks: WebhookSettings, endpoint: WebhookEndpoint, message: Message) -> Answered:
    """Send one message now, beside the queue."""
    from reconciler.webhooks.sending import Sender  # an extra: see above

    async def send() -> Answered:
        async with Sender(timeout_s=webhooks.timeout_s, connections_max=1, clock=utc_now) as sender:
            return await sender.send(target_of(endpoint), message)

    return asyncio.run(send())
