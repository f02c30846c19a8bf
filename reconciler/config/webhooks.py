"""The section of webhooks: which endpoints events are sent to, and how patiently."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from reconciler.config import checks
from reconciler.config.section import Seconds, Section, Whole
from reconciler.domain.events import EventType
from reconciler.redaction import STRUCK

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with, not one
_SECRET_BYTES = range(24, 65)


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 63 lower-case letters, digits, - or _, as billing-2 is")
    return value


def _url(value: str) -> str:
    # None of these quotes the URL: its path or query may be a secret.
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL such as https://example.com/hooks/payouts") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("must be an http or https URL such as https://example.com/hooks/payouts")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or password: the signature says who sends")
    if parts.fragment:
        raise ValueError("must not have a fragment (what follows #), which is never sent")
    if not value.isascii() or any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("must be plain ASCII without spaces, percent-encoded where that is needed")
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str | SecretStr) else value


def _secrets(value: list[SecretStr]) -> list[SecretStr]:
    if not value:
        raise ValueError("must be a secret, or a list of them while one replaces another")
    for one in value:
        text = one.get_secret_value().removeprefix(_SECRET_PREFIX)
        try:
            length = len(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            length = 0
        if length not in _SECRET_BYTES:
            raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes")
    return value


def _parsed(value: object) -> object:
    """A list, or JSON of one: that is how an environment variable holds it."""
    if not isinstance(value, str):
        return value
    try:
        parsed: Any = json.loads(value)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, list):
        raise ValueError("must be a list of endpoints; in an environment variable, as JSON")
    return parsed


def _unique(value: list[WebhookEndpoint]) -> list[WebhookEndpoint]:
    if len({endpoint.name for endpoint in value}) < len(value):
        raise ValueError("must give each endpoint a name of its own")
    return value


class WebhookEndpoint(Section):
    """Where events are sent, and how they are signed."""

    name: Annotated[str, AfterValidator(_name)]
    """What the endpoint is called in logs, metrics and commands; deliveries are kept under it."""
    url: Annotated[str, AfterValidator(_url)]
    """Where events are posted."""
    secret: Annotated[list[SecretStr], BeforeValidator(_as_list), AfterValidator(_secrets)]
    """What events are signed with: whsec_ and base64. Several while one replaces another: each signs."""
    events: list[EventType] = Field(default_factory=lambda: list(EventType), min_length=1)
    """The types of events that are wanted; all of them if nothing is said."""

    @property
    def masked_url(self) -> str:
        """Scheme and host: the rest may be a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/{STRUCK if parts.path.strip('/') or parts.query else ''}"


class WebhookSettings(Section):
    """Who is told of payments and the like, signed by the Standard Webhooks scheme."""

    endpoints: Annotated[list[WebhookEndpoint], BeforeValidator(_parsed), AfterValidator(_unique)] = Field(
        default_factory=list
    )
    """Each with name, url, secret (one, or a list while one replaces another) and events (default: all). Nobody by
    default. Secrets belong into the environment: RECONCILER__WEBHOOKS__ENDPOINTS takes the list as JSON."""
    interval_s: Seconds = 5
    """Seconds between two looks for what is due: how long a retry may be late. New events are sent at once."""
    timeout_s: Seconds = 10
    """Seconds within which an endpoint has to answer: receivers should keep the event, answer, and work afterwards."""
    attempts_max: Whole = Field(default=20, ge=1, le=1000)
    """Attempts until a delivery is given up and kept as a dead letter: with the waits below, some three days, so that
    a receiver may be down over a long weekend."""
    retry_first_s: Seconds = 5
    """Seconds until the second attempt; each further wait is twice the one before, less up to a quarter by chance."""
    retry_max_s: Seconds = 43_200
    """The longest wait between two attempts, in seconds: twelve hours."""
    concurrency_max: Whole = Field(default=8, ge=1, le=256)
    """Requests at once to one endpoint: enough for hundreds of events a second, few enough for a small receiver."""
    retention_days: Whole = Field(default=30, ge=1, le=3650)
    """Days until delivered events are forgotten: time to look at them, and to send them again."""
    allow_plain_http: bool = False
    """Whether events may go out unencrypted to other machines. Off: signatures do not keep anyone from reading."""

    @model_validator(mode="after")
    def _no_plain_http(self) -> Self:
        if not self.allow_plain_http:
            for endpoint in self.endpoints:
                parts = urlsplit(endpoint.url)
                if parts.scheme == "http" and not checks.is_loopback(parts.hostname or ""):
                    raise ValueError(
                        f"must give {endpoint.name} an https URL: plain http goes to this machine only, "
                        "unless webhooks.allow_plain_http is true"
                    )
        return self

    def masked_endpoints(self) -> Sequence[dict[str, Any]]:
        """The endpoints for people, without secrets and without paths."""
        return [
            {
                "name": one.name,
                "url": one.masked_url,
                "secret": [STRUCK] * len(one.secret),
                "events": [event.value for event in one.events],
            }
            for one in self.endpoints
        ]
