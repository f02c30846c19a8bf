"""One attempt to deliver one event: signed, bounded in time and size, and answered with a value, never an exception."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from types import TracebackType
from typing import Self

import httpx
from standardwebhooks import Webhook

from reconciler.clock import Clock
from reconciler.domain.deliveries import Answer, Answered, Message, Target, answer_of_status

ANSWER_BYTES_MAX = 16_384
"""How much of an answer is read: nothing in it matters, but a connection that was read to its end can be used again."""

ANSWER_WITHIN_S = 1.0

USER_AGENT = "payout-reconciler-webhooks/1"


class Sender:
    """Posts events, within one event loop: `async with Sender(…) as sender`.

    Redirects are not followed, and neither proxies nor credentials of the environment are used: an event goes where the
    configuration says, or nowhere.
    """

    def __init__(self, *, timeout_s: float, connections_max: int, clock: Clock) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            verify=_tls(),
            limits=httpx.Limits(max_connections=connections_max, max_keepalive_connections=connections_max),
            headers={"user-agent": USER_AGENT},
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def send(self, target: Target, message: Message) -> Answered:
        """Send once. What goes wrong is an answer; httpx's own messages quote the URL and stay here."""
        headers = {"content-type": "application/json", **signed_headers(target.secrets, message, self._clock())}
        try:
            # A limit on the whole: the client's own starts anew with every byte that trickles in.
            async with asyncio.timeout(self._timeout_s):
                return await self._post(target.url, message.payload, headers)
        except (TimeoutError, httpx.TimeoutException):
            return Answered(answer=Answer.TIMED_OUT)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError):
            return Answered(answer=Answer.UNREACHABLE)

    async def _post(self, url: str, payload: str, headers: Mapping[str, str]) -> Answered:
        async with self._client.stream("POST", url, content=payload.encode(), headers=headers) as response:
            answered = Answered(answer=answer_of_status(response.status_code), status_code=response.status_code)
            # The status has said it all. What follows is read for the connection's sake, and may fail.
            with suppress(TimeoutError, httpx.HTTPError):
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await _drain(response)
            return answered


def signed_headers(secrets: Sequence[str], message: Message, now: datetime) -> dict[str, str]:
    """The headers of the Standard Webhooks scheme. ``now`` is when it is sent: receivers refuse what is old."""
    signatures = [Webhook(secret).sign(message.event_id, now, message.payload) for secret in secrets]
    return {
        "webhook-id": message.event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


async def _drain(response: httpx.Response) -> None:
    received = 0
    # Raw: what is never decoded cannot unfold into gigabytes.
    async for chunk in response.aiter_raw():
        received += len(chunk)
        if received > ANSWER_BYTES_MAX:
            return


@cache
def _tls() -> ssl.SSLContext:
    """Certificates are read from disk once, not for every look at the queue."""
    # With SSL_CERT_FILE and SSL_CERT_DIR, for companies with an authority of their own.
    return httpx.create_ssl_context(trust_env=True)
