"""Tokens of an identity provider: rotation, caches, confusion of algorithms, and a provider that is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from cli.composition import Parts
from reconciler.api.callers import Role
from reconciler.api.tokens import (
    JWKS_FRESH_S,
    JWKS_RETRY_S,
    JWKS_STALE_S,
    BadToken,
    ProviderAway,
    ProviderKeys,
    TokenVerifier,
)
from reconciler.config.api import ApiAuthSettings
from tests.support.served import AUDIENCE, ISSUER, SECRET, bearer, served

RSA_KEYS = {kid: rsa.generate_private_key(public_exponent=65537, key_size=2048) for kid in ("r1", "r2")}
EC_KEYS = {"e1": ec.generate_private_key(ec.SECP256R1())}


def jwk(kid: str) -> dict[str, Any]:
    if kid in RSA_KEYS:
        return {**json.loads(RSAAlgorithm.to_jwk(RSA_KEYS[kid].public_key())), "kid": kid, "use": "sig"}
    return {**json.loads(ECAlgorithm.to_jwk(EC_KEYS[kid].public_key())), "kid": kid, "use": "sig"}


class Provider:
    """A real one, on loopback: what it publishes, and how often it was asked."""

    def __init__(self) -> None:
        self.kids = ["r1", "e1"]
        self.asked = 0
        self.is_away = False
        provider = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                body = json.dumps({"keys": [jwk(kid) for kid in provider.kids]}).encode()
                self.send_response(500 if provider.is_away else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


@pytest.fixture
def provider() -> Iterator[Provider]:
    one = Provider()
    yield one
    one.server.shutdown()
    one.server.server_close()
    one.thread.join()


class Seconds:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def settings_of(provider: Provider, **more: Any) -> ApiAuthSettings:
    given = {"jwks_url": provider.url, "audience": AUDIENCE, "issuer": ISSUER, **more}
    return ApiAuthSettings.model_validate(given)


def signed(kid: str, algorithm: str, key: Any = None, **changes: Any) -> str:
    claims = {"sub": "asha", "aud": AUDIENCE, "iss": ISSUER, "roles": "admin", **changes}
    claims.setdefault("exp", datetime.now(UTC) + timedelta(minutes=5))
    own: Any = {**RSA_KEYS, **EC_KEYS}.get(kid)
    return jwt.encode(claims, key or own, algorithm=algorithm, headers={"kid": kid})


def test_keys_are_fetched_once_rotated_and_withdrawn(provider: Provider) -> None:
    seconds = Seconds()
    verifier = TokenVerifier(settings_of(provider), ProviderKeys(provider.url, clock_s=seconds))

    assert verifier.needs_provider(signed("r1", "RS256"))
    assert verifier.verify(signed("r1", "RS256")).role is Role.ADMIN
    assert verifier.verify(signed("e1", "ES256")).name == "asha"
    assert not verifier.needs_provider(signed("r1", "RS256"))
    assert provider.asked == 1

    provider.kids = ["r2"]
    with pytest.raises(BadToken):
        verifier.verify(signed("r2", "RS256"))
    assert provider.asked == 1
    seconds.now += JWKS_RETRY_S
    verifier.verify(signed("r2", "RS256"))
    assert provider.asked == 2
    with pytest.raises(BadToken):
        verifier.verify(signed("r1", "RS256"))


def test_tokens_that_name_unknown_keys_do_not_make_us_ask_for_ever(provider: Provider) -> None:
    verifier = TokenVerifier(settings_of(provider), ProviderKeys(provider.url, clock_s=Seconds()))
    for number in range(50):
        with pytest.raises(BadToken):
            verifier.verify(signed(f"unknown{number}", "RS256", RSA_KEYS["r1"]))
    assert provider.asked == 1


def test_while_the_provider_is_away_keys_are_believed_for_a_while(provider: Provider) -> None:
    seconds = Seconds()
    verifier = TokenVerifier(settings_of(provider), ProviderKeys(provider.url, clock_s=seconds))
    verifier.verify(signed("r1", "RS256"))
    provider.is_away = True

    seconds.now += JWKS_FRESH_S + 1
    assert verifier.verify(signed("r1", "RS256")).name == "asha"
    seconds.now += JWKS_STALE_S
    with pytest.raises(ProviderAway):
        verifier.verify(signed("r1", "RS256"))


def test_no_key_is_taken_for_another_kind_of_key(provider: Provider) -> None:
    verifier = TokenVerifier(settings_of(provider, jwt_secret=SECRET))
    public = (
        RSA_KEYS["r1"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    # By hand: the library refuses to sign with a public key, an attacker would not.
    head = jwt.utils.base64url_encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "r1"}).encode())
    claims = {"sub": "asha", "aud": AUDIENCE, "iss": ISSUER, "roles": "admin", "exp": 4_000_000_000}
    body = jwt.utils.base64url_encode(json.dumps(claims).encode())
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head + b"." + body, public)
    forged = b".".join((head, body, jwt.utils.base64url_encode(mac))).decode()

    for bad in (
        forged,
        signed("e1", "RS256", RSA_KEYS["r1"]),
        signed("r1", "ES256", EC_KEYS["e1"]),
        signed("r1", "PS256", RSA_KEYS["r1"]),
        signed("r1", "RS256", RSA_KEYS["r2"]),
        jwt.encode({**claims}, SECRET * 2, algorithm="HS512"),
        "a.b.c",
        "x" * 10_000,
    ):
        with pytest.raises(BadToken):
            verifier.verify(bad)
    assert verifier.verify(jwt.encode({**claims}, SECRET, algorithm="HS256")).name == "asha"


def test_without_a_secret_no_token_is_taken_that_is_signed_with_one(provider: Provider) -> None:
    verifier = TokenVerifier(settings_of(provider))
    with pytest.raises(BadToken):
        verifier.verify(jwt.encode({"sub": "a", "exp": 4_000_000_000}, SECRET, algorithm="HS256"))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_a_subject_must_be_a_name(provider: Provider, name: str) -> None:
    with pytest.raises(BadToken):
        TokenVerifier(settings_of(provider)).verify(signed("r1", "RS256", sub=name))


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        ("admin", Role.ADMIN),
        ("viewer, admin", Role.ADMIN),
        ("viewer other", Role.VIEWER),
        (["viewer"], Role.VIEWER),
        ([["admin"]], None),
        ("Admin", None),
        (None, None),
        (1, None),
    ],
)
def test_roles_as_text_or_list(provider: Provider, claim: object, role: Role | None) -> None:
    settings = settings_of(provider, roles_claim="groups")
    assert TokenVerifier(settings).verify(signed("r1", "RS256", groups=claim)).role is role


def test_a_provider_that_is_away_is_said_and_not_a_wrong_token(provider: Provider, api_parts: Parts) -> None:
    with served(api_parts, auth=settings_of(provider)) as one:
        provider.is_away = True
        answer = one.client.get("/api/v1/holds", headers=bearer(signed("r1", "RS256")))
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "unavailable")
    provider.is_away = False
    with served(api_parts, auth=settings_of(provider)) as one:
        assert one.client.get("/api/v1/holds", headers=bearer(signed("r1", "RS256"))).status_code == 200
