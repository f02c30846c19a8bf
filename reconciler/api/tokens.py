"""JSON Web Tokens: HS256 with our secret, RS256 and ES256 with the identity provider's keys.

The algorithm in a token chooses between families of keys that never mix: a public key is never taken for an HMAC
secret, and ``none`` is no family.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import jwt

from reconciler.api.callers import Caller, Proof, Role
from reconciler.api.provider_keys import KeyUnknown, ProviderKeys
from reconciler.config.api import ApiAuthSettings

LEEWAY_S = 10
"""What two machines' clocks may differ."""

TOKEN_LENGTH_MAX = 8_192
NAME_LENGTH_MAX = 200

_PROVIDER_ALGORITHMS = ("RS256", "ES256")
_KEY_TYPE = {"RS256": "RSA", "ES256": "EC"}


class BadToken(Exception):
    """A token that is not taken; the text says why in a few words, without the token."""


class TokenVerifier:
    """Checks tokens by some settings."""

    def __init__(self, settings: ApiAuthSettings, keys: ProviderKeys | None = None) -> None:
        self._settings = settings
        self._secret = settings.jwt_secret.get_secret_value()
        self._keys = keys or (ProviderKeys(settings.jwks_url) if settings.jwks_url else None)

    def waits_for(self, token: str) -> Future[None] | None:
        """What to wait for before :meth:`verify`: an answer of the identity provider. None: nothing."""
        try:
            algorithm, kid = self._header(token)
        except BadToken:
            return None
        if algorithm not in _PROVIDER_ALGORITHMS or self._keys is None:
            return None
        return self._keys.waits_for(kid)

    def verify(self, token: str) -> Caller:
        """Who a token speaks for; blocks nobody. Raises BadToken or ProviderAway."""
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
        except (jwt.PyJWTError, RecursionError):
            raise BadToken("it cannot be read") from None
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if not isinstance(algorithm, str) or not isinstance(kid, str):
            raise BadToken("its header cannot be read")
        return algorithm, kid

    def _key(self, algorithm: str, kid: str) -> Any:
        if algorithm == "HS256" and self._secret:
            return self._secret
        if algorithm in _PROVIDER_ALGORITHMS and self._keys is not None:
            try:
                key = self._keys.find(kid)
            except KeyUnknown:
                raise BadToken("it names a key that the identity provider does not publish") from None
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
