"""JSON Web Tokens: HS256 with our secret, RS256 and ES256 with the identity provider's keys.

The algorithm in a token chooses between families of keys that never mix: a public key is never taken for an HMAC
secret, and ``none`` is no family.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import structlog
from jwt.exceptions import PyJWKClientError, PyJWKSetError

from reconciler.api.callers import Caller, Proof, Role
from reconciler.config.api import ApiAuthSettings

log = structlog.get_logger(__name__)

LEEWAY_S = 10
"""What two machines' clocks may differ."""

TOKEN_LENGTH_MAX = 8_192
NAME_LENGTH_MAX = 200

JWKS_TIMEOUT_S = 3.0
JWKS_FRESH_S = 300.0
"""Keys are fetched again after this time; a withdrawn one is refused by then."""
JWKS_STALE_S = 3_600.0
"""While the provider is away, keys are believed for so long."""
JWKS_RETRY_S = 30.0
"""Between two fetches at least, however many tokens name a key nobody knows."""

_PROVIDER_ALGORITHMS = ("RS256", "ES256")
_KEY_TYPE = {"RS256": "RSA", "ES256": "EC"}


class BadToken(Exception):
    """A token that is not taken; the text says why in a few words, without the token."""


class ProviderAway(Exception):
    """The identity provider's keys cannot be fetched, and none that are held may still be used."""


class ProviderKeys:
    """The provider's public keys by their ``kid``: cached, rotated, and fetched at most every JWKS_RETRY_S seconds."""

    def __init__(self, url: str, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._client = jwt.PyJWKClient(url, cache_keys=False, cache_jwk_set=False, timeout=JWKS_TIMEOUT_S)
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_s: float | None = None
        self._tried_s: float | None = None

    def cached(self, kid: str) -> jwt.PyJWK | None:
        """A fresh key that is held; asks nobody."""
        fetched_s = self._fetched_s
        if fetched_s is None or self._clock_s() - fetched_s > JWKS_FRESH_S:
            return None
        return self._keys.get(kid)

    def find(self, kid: str) -> jwt.PyJWK:
        """A key; fetches when it is not held. May block. Raises BadToken or ProviderAway."""
        with self._lock:
            if self.cached(kid) is None:
                self._fetch_unless_tried()
            found = self._keys.get(kid)
            age_s = None if self._fetched_s is None else self._clock_s() - self._fetched_s
        if age_s is None or age_s > JWKS_STALE_S:
            raise ProviderAway
        if found is None:
            raise BadToken("it names a key that the identity provider does not publish")
        return found

    def _fetch_unless_tried(self) -> None:
        now_s = self._clock_s()
        if self._tried_s is not None and now_s - self._tried_s < JWKS_RETRY_S:
            return
        self._tried_s = now_s
        try:
            keys = self._client.get_signing_keys(refresh=True)
        except (PyJWKClientError, PyJWKSetError, ValueError, OSError) as error:
            log.warning(
                "the identity provider's keys could not be fetched",
                action="jwks_unavailable",
                error=type(error).__name__,
            )
            return
        self._keys = {key.key_id: key for key in keys if key.key_id}
        self._fetched_s = now_s


class TokenVerifier:
    """Checks tokens by some settings."""

    def __init__(self, settings: ApiAuthSettings, keys: ProviderKeys | None = None) -> None:
        self._settings = settings
        self._secret = settings.jwt_secret.get_secret_value()
        self._keys = keys or (ProviderKeys(settings.jwks_url) if settings.jwks_url else None)

    def needs_provider(self, token: str) -> bool:
        """Whether :meth:`verify` would have to ask the identity provider, and so may block."""
        try:
            algorithm, kid = self._header(token)
        except BadToken:
            return False
        return algorithm in _PROVIDER_ALGORITHMS and self._keys is not None and self._keys.cached(kid) is None

    def verify(self, token: str) -> Caller:
        """Who a token speaks for. Raises BadToken or ProviderAway."""
        algorithm, kid = self._header(token)
        settings = self._settings
        try:
            claims = jwt.decode(
                token,
                self._key(algorithm, kid),
                algorithms=[algorithm],
                audience=settings.audience or None,
                issuer=settings.issuer or None,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub"]},
            )
        except jwt.PyJWTError as error:
            # The class says enough; the message may quote a claim.
            raise BadToken(type(error).__name__) from None
        name = claims["sub"]
        if not isinstance(name, str) or not name.strip() or len(name) > NAME_LENGTH_MAX or not name.isprintable():
            raise BadToken("its sub is no name")
        return Caller(
            name=name, role=_role(claims.get(settings.roles_claim)), proof=Proof.TOKEN, expires_s=float(claims["exp"])
        )

    def _header(self, token: str) -> tuple[str, str]:
        if len(token) > TOKEN_LENGTH_MAX:
            raise BadToken("it is too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise BadToken("it cannot be read") from None
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if not isinstance(algorithm, str) or not isinstance(kid, str):
            raise BadToken("its header cannot be read")
        return algorithm, kid

    def _key(self, algorithm: str, kid: str) -> Any:
        if algorithm == "HS256" and self._secret:
            return self._secret
        if algorithm in _PROVIDER_ALGORITHMS and self._keys is not None:
            key = self._keys.find(kid)
            if key.key_type != _KEY_TYPE[algorithm]:
                raise BadToken("its algorithm is not that of its key")
            return key.key
        raise BadToken("its algorithm is not taken")


def _role(claim: object) -> Role | None:
    """The highest role in a claim: text (words with blanks or commas between), or a list of texts."""
    words = claim.replace(",", " ").split() if isinstance(claim, str) else claim
    if not isinstance(words, list):
        return None
    return next((role for role in (Role.ADMIN, Role.VIEWER) if role.value in words), None)
