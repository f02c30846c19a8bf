"""The API as it is served: real ports over real databases, a real server in a thread, and a client."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
from fastapi import APIRouter

from app import serving
from app.parts import Parts, defaults_of
from reconciler.api.api_keys import digest_of, new_key
from reconciler.api.app import create_app
from reconciler.api.context import ApiContext
from reconciler.api.server import ApiServer
from reconciler.config.api import ApiAuthSettings, ApiKey, ApiSettings
from reconciler.domain.ids import DocumentId
from reconciler.mongo.trials import TrialReader
from reconciler.status import Liveness

SECRET = "a secret of the tests, long enough for HS256"
AUDIENCE = "payouts"
ISSUER = "https://identity.example"
VIEWER_KEY, ADMIN_KEY = new_key(), new_key()

AUTH = ApiAuthSettings.model_validate(
    {
        "jwt_secret": SECRET,
        "audience": AUDIENCE,
        "issuer": ISSUER,
        "api_keys": [
            ApiKey(name="watcher", role="viewer", sha256=digest_of(VIEWER_KEY)),
            ApiKey(name="operator", role="admin", sha256=digest_of(ADMIN_KEY)),
        ],
    }
)


def token(roles: object = "admin", *, secret: str = SECRET, **changes: Any) -> str:
    """A token as the identity provider would sign it; ``changes`` to its claims, None takes one out."""
    now = datetime.now(UTC)
    claims = {
        "sub": "asha",
        "aud": AUDIENCE,
        "iss": ISSUER,
        "roles": roles,
        # Longer than the whole suite takes: some are made when it begins.
        "exp": now + timedelta(days=1),
        **changes,
    }
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, algorithm="HS256")


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


@dataclass(slots=True, kw_only=True)
class Served:
    """A served context; ``woken`` counts what was woken."""

    context: ApiContext
    client: httpx.Client
    woken: list[str] = field(default_factory=list)

    def get(self, path: str, role: str = "viewer", **more: Any) -> Any:
        return self.client.get(path, headers=bearer(token(role)), **more)

    def post(self, path: str, role: str = "admin", **more: Any) -> Any:
        return self.client.post(path, headers=bearer(token(role)), **more)


@dataclass(frozen=True, slots=True)
class _Heard:
    """Hints, written down."""

    seen: list[str]

    def participation(self, participation_id: DocumentId) -> None:
        self.seen.append(f"participation {participation_id}")

    def campaign(self, campaign_id: DocumentId) -> None:
        self.seen.append(f"campaign {campaign_id}")


def context_of(
    parts: Parts,
    *,
    auth: ApiAuthSettings = AUTH,
    settings: Mapping[str, object] | None = None,
    woken: list[str] | None = None,
    routers: tuple[APIRouter, ...] = (),
) -> ApiContext:
    seen: list[str] = [] if woken is None else woken
    context = serving.context_of(parts, parts, _Heard(seen), Liveness())
    return replace(
        context,
        settings=ApiSettings.model_validate({"enabled": True, "auth": auth, **(settings or {})}),
        timezone="Asia/Kolkata",
        stopping=threading.Event(),
        people=replace(context.people, wake=lambda: seen.append("payers")),
        wake_checks=lambda: seen.append("checks"),
        routers=(*routers, *context.routers),
        trials=TrialReader(parts.connection, parts.settings.mapping, defaults_of(parts.settings)),
    )


@contextmanager
def served(parts: Parts, *, changes: Mapping[str, Any] | None = None, **more: Any) -> Iterator[Served]:
    """Serve; ``changes`` to the context's fields."""
    woken: list[str] = []
    context = replace(context_of(parts, woken=woken, **more), **(changes or {}))
    deaths: list[str] = []
    settings = context.settings.model_copy(update={"port": 0})
    server = ApiServer(create_app(context), settings, stopping=context.stopping, on_death=lambda: deaths.append("api"))
    server.start()
    try:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            yield Served(context=context, client=client, woken=woken)
    finally:
        context.stopping.set()
        has_ended = server.stop()
    assert has_ended
    assert deaths == []
