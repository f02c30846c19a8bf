"""The identity provider's public keys: fetched by one thread of its own, and never waited for without an end."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

import httpx
import jwt
import structlog
from cryptography.exceptions import UnsupportedAlgorithm

log = structlog.get_logger(__name__)

FETCH_WITHIN_S = 5.0
"""For the whole of a fetch: a limit on each read would begin anew with every byte that trickles in."""
JWKS_BYTES_MAX = 262_144
"""A provider publishes a handful of keys of some hundred bytes each."""
FRESH_S = 300.0
"""Keys are fetched again after this time; a withdrawn one is refused by then."""
STALE_S = 3_600.0
"""While the provider is away, keys are believed for so long."""
RETRY_S = 30.0
"""Between two fetches at least, however many tokens name a key nobody knows."""


class KeyUnknown(Exception):
    """The provider does not publish this key."""


class ProviderAway(Exception):
    """The identity provider's keys cannot be fetched, and none that are held may still be used."""


class ProviderKeys:
    """Keys by their ``kid``. Any thread may ask; none of these methods blocks."""

    def __init__(self, url: str, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_s: float | None = None
        self._tried_s: float | None = None
        self._is_away = False
        self._fetching: Future[None] | None = None

    def waits_for(self, kid: str) -> Future[None] | None:
        """What to wait for before :meth:`find` knows; None: it knows now. Begins a fetch where one is due.

        A key that is held is waited for only while the provider was well at the last try: when it is away, or lets its
        answer trickle, everybody goes on with the keys that are held.
        """
        with self._lock:
            age_s = self._age_s()
            if age_s is not None and age_s <= FRESH_S and kid in self._keys:
                return None
            if self._fetching is None and self._may_try():
                self._tried_s = self._clock_s()
                self._fetching = Future()
                threading.Thread(target=self._fetch, args=(self._fetching,), name="jwks", daemon=True).start()
            has_one = age_s is not None and age_s <= STALE_S and kid in self._keys
            return None if has_one and self._is_away else self._fetching

    def find(self, kid: str) -> jwt.PyJWK:
        """A key that is held. Raises KeyUnknown or ProviderAway."""
        with self._lock:
            age_s = self._age_s()
            if age_s is None or age_s > STALE_S:
                raise ProviderAway
            found = self._keys.get(kid)
        if found is None:
            raise KeyUnknown
        return found

    def _age_s(self) -> float | None:
        return None if self._fetched_s is None else self._clock_s() - self._fetched_s

    def _may_try(self) -> bool:
        return self._tried_s is None or self._clock_s() - self._tried_s >= RETRY_S

    def _fetch(self, done: Future[None]) -> None:
        keys: Mapping[str, jwt.PyJWK] | None = None
        try:
            keys = _keys_of(asyncio.run(_get(self._url)))
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            log.warning(
                "the identity provider's keys could not be fetched",
                action="jwks_unavailable",
                error=type(error).__name__,
            )
        finally:
            with self._lock:
                self._is_away = keys is None
                if keys is not None:
                    self._keys, self._fetched_s = keys, self._clock_s()
                self._fetching = None
            done.set_result(None)


async def _get(url: str) -> bytes:
    """The provider's answer. Raises what httpx raises, TimeoutError, or ValueError when it is too large."""
    async with (
        asyncio.timeout(FETCH_WITHIN_S),
        httpx.AsyncClient(timeout=FETCH_WITHIN_S, follow_redirects=False) as client,
        client.stream("GET", url, headers={"accept": "application/json", "accept-encoding": "identity"}) as response,
    ):
        response.raise_for_status()
        body = b""
        # Raw: what is never decoded cannot unfold into gigabytes.
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > JWKS_BYTES_MAX:
                raise ValueError("the answer is too large")
        return body


def _keys_of(body: bytes) -> Mapping[str, jwt.PyJWK]:
    """The keys for signatures that can be read; others are passed over. Raises ValueError where there is none."""
    try:
        document = json.loads(body)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    found: dict[str, jwt.PyJWK] = {}
    for entry in entries if isinstance(entries, list) else ():
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if not isinstance(kid, str) or not kid or entry.get("use", "sig") != "sig":
            continue
        try:
            found[kid] = jwt.PyJWK(entry)
        except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError, OverflowError):
            # Of another family, or odd: it is nobody's key here.
            continue
    if not found:
        raise ValueError("the answer holds no key that can be used")
    return found
