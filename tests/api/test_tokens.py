"""Tokens of an identity provider: rotation, caches, confusion of algorithms, and a provider that is away."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from app.parts import Parts
from reconciler.api.callers import Caller, Role
from reconciler.api.provider_keys import (
    FETCH_WITHIN_S,
    FRESH_S,
    JWKS_BYTES_MAX,
    RETRY_S,
    STALE_S,
    ProviderAway,
    ProviderKeys,
)
from reconciler.api.tokens import BadToken, TokenVerifier
from reconciler.config.api import ApiAuthSettings
from reconciler.devstack.process import wait_until
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


def verified(verifier: TokenVerifier, token: str) -> Caller:
    """Who a token speaks for, once the provider was asked where it has to be."""
    waiting = verifier.waits_for(token)
    if waiting is not None:
        waiting.result(timeout=60)
    return verifier.verify(token)


def test_keys_are_fetched_once_rotated_and_withdrawn(provider: Provider) -> None:
    seconds = Seconds()
    verifier = TokenVerifier(settings_of(provider), ProviderKeys(provider.url, clock_s=seconds))

    assert verified(verifier, signed("r1", "RS256")).role is Role.ADMIN
    assert verified(verifier, signed("e1", "ES256")).name == "asha"
    assert None is verifier.waits_for(signed("r1", "RS256"))
    assert provider.asked == 1

    provider.kids = ["r2"]
    with pytest.raises(BadToken):
        verified(verifier, signed("r2", "RS256"))
    assert provider.asked == 1
    seconds.now += RETRY_S
    verified(verifier, signed("r2", "RS256"))
    assert provider.asked == 2
    with pytest.raises(BadToken):
        verified(verifier, signed("r1", "RS256"))


def test_tokens_that_name_unknown_keys_do_not_make_us_ask_for_ever(provider: Provider) -> None:
    verifier = TokenVerifier(settings_of(provider), ProviderKeys(provider.url, clock_s=Seconds()))
    for number in range(50):
        with pytest.raises(BadToken):
            verified(verifier, signed(f"unknown{number}", "RS256", RSA_KEYS["r1"]))
    assert provider.asked == 1


def test_while_the_provider_is_away_keys_are_believed_for_a_while(provider: Provider) -> None:
    seconds = Seconds()
    verifier = TokenVerifier(settings_of(provider), ProviderKeys(provider.url, clock_s=seconds))
    verified(verifier, signed("r1", "RS256"))
    provider.is_away = True

    seconds.now += FRESH_S + 1
    assert verified(verifier, signed("r1", "RS256")).name == "asha"
    seconds.now += STALE_S
    with pytest.raises(ProviderAway):
        verified(verifier, signed("r1", "RS256"))


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
            verified(verifier, bad)
    assert verified(verifier, jwt.encode({**claims}, SECRET, algorithm="HS256")).name == "asha"


def test_without_a_secret_no_token_is_taken_that_is_signed_with_one(provider: Provider) -> None:
    verifier = TokenVerifier(settings_of(provider))
    with pytest.raises(BadToken):
        verified(verifier, jwt.encode({"sub": "a", "exp": 4_000_000_000}, SECRET, algorithm="HS256"))


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_a_subject_must_be_a_name(provider: Provider, name: str) -> None:
    with pytest.raises(BadToken):
        verified(TokenVerifier(settings_of(provider)), signed("r1", "RS256", sub=name))


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
    assert verified(TokenVerifier(settings), signed("r1", "RS256", groups=claim)).role is role


def test_a_provider_that_is_away_is_said_and_not_a_wrong_token(provider: Provider, api_parts: Parts) -> None:
    with served(api_parts, auth=settings_of(provider)) as one:
        provider.is_away = True
        answer = one.client.get("/api/v1/holds", headers=bearer(signed("r1", "RS256")))
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "unavailable")
    provider.is_away = False
    with served(api_parts, auth=settings_of(provider)) as one:
        assert one.client.get("/api/v1/holds", headers=bearer(signed("r1", "RS256"))).status_code == 200


class Odd:
    """A provider that says one thing, piece by piece with a pause between, until nobody listens."""

    def __init__(self, *pieces: bytes, pause_s: float = 0.0, endless: bool = False) -> None:
        self.asked = 0
        self._pieces, self._pause_s, self._endless = pieces, pause_s, endless
        self._ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/jwks"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.asked += 1
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.recv(65_536)
            for piece in self._pieces:
                connection.sendall(piece)
            while self._endless and not self._ended.wait(self._pause_s):
                connection.sendall(self._pieces[-1])

    def close(self) -> None:
        self._ended.set()
        self._socket.close()


def said(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


GOOD_KEY = json.dumps(jwk("r1"))
ODD_ANSWERS = {
    "no json": said(b"<html>"),
    "no object": said(b"[]"),
    "no keys": said(b"{}"),
    "keys of another kind": said(b'{"keys": {"r1": 1}}'),
    "nested deeply": said(b"[" * 100_000),
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "no http": b"\x00\x01\x02",
    "nothing": b"",
    "too large": said(b" " * JWKS_BYTES_MAX + f'{{"keys": [{GOOD_KEY}]}}'.encode()),
    "a number without end": said(b'{"keys": [' + b"9" * 100_000 + b"]}"),
}


@pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
def test_an_odd_answer_of_the_provider_is_none_at_all(answer: bytes) -> None:
    odd = Odd(answer)
    try:
        verifier = TokenVerifier(
            ApiAuthSettings.model_validate({"jwks_url": odd.url, "audience": AUDIENCE, "issuer": ISSUER})
        )
        with pytest.raises(ProviderAway):
            verified(verifier, signed("r1", "RS256"))
    finally:
        odd.close()


def test_odd_keys_stand_in_the_way_of_no_good_one() -> None:
    odd_keys: list[Any] = [
        1, None, "x", [], {}, {"kid": 7}, {"kid": "a"}, {"kid": "b", "kty": "oct", "k": "x"}, {"kid": "c", "kty": 5},
        {"kid": "d", "kty": "RSA", "n": "", "e": ""}, {"kid": "e", "kty": "RSA", "n": "!!", "e": "AQAB"},
        {"kid": "f", "kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"}, {"kid": "g", "kty": "EC", "x": 1},
        {"kid": "h", "kty": "RSA", "n": "AQ" * 20_000, "e": "AQAB"}, {"kid": "i", "kty": "OKP", "x": "A"},
        {"kid": "j", "kty": "RSA", "alg": ["RS256"], "n": "AQAB", "e": "AQAB"}, {**jwk("e1"), "kid": "k", "use": "enc"},
    ]  # fmt: skip
    odd = Odd(said(json.dumps({"keys": [*odd_keys, jwk("r1")]}).encode()))
    try:
        verifier = TokenVerifier(
            ApiAuthSettings.model_validate({"jwks_url": odd.url, "audience": AUDIENCE, "issuer": ISSUER})
        )
        assert verified(verifier, signed("r1", "RS256")).name == "asha"
        for kid in "abcdefghijk":
            with pytest.raises(BadToken):
                verified(verifier, signed(kid, "RS256", RSA_KEYS["r1"]))
    finally:
        odd.close()


@pytest.mark.parametrize(
    "pieces",
    [(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"), (said(b" " * 10_000)[:60], b" ")],
    ids=["its header", "its body"],
)
def test_a_provider_that_drips_holds_up_nobody(api_parts: Parts, pieces: tuple[bytes, ...]) -> None:
    odd = Odd(*pieces, pause_s=0.1, endless=True)
    settings = ApiAuthSettings.model_validate(
        {"jwks_url": odd.url, "jwt_secret": SECRET, "audience": AUDIENCE, "issuer": ISSUER}
    )
    try:
        with served(api_parts, auth=settings) as one, ThreadPoolExecutor(24) as crowd:
            strangers = [
                crowd.submit(one.client.get, "/api/v1/holds", headers=bearer(signed(f"x{n}", "RS256", RSA_KEYS["r1"])))
                for n in range(24)
            ]
            assert wait_until(lambda: odd.asked > 0, timeout_s=30)
            began = time.monotonic()
            for _ in range(10):
                assert one.get("/api/v1/holds").status_code == 200
            assert time.monotonic() - began < FETCH_WITHIN_S
            assert {future.result(timeout=60).status_code for future in strangers} == {503}
            # It is not asked again at once.
            assert (
                one.client.get("/api/v1/holds", headers=bearer(signed("x", "RS256", RSA_KEYS["r1"]))).status_code == 503
            )
            assert odd.asked == 1
    finally:
        odd.close()


def test_keys_that_are_held_go_on_while_the_provider_drips(provider: Provider) -> None:
    seconds = Seconds()
    keys = ProviderKeys(provider.url, clock_s=seconds)
    verifier = TokenVerifier(settings_of(provider), keys)
    verified(verifier, signed("r1", "RS256"))
    odd = Odd(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n", pause_s=0.1, endless=True)
    try:
        keys._url = odd.url
        seconds.now += FRESH_S + 1
        # The first ones wait for the try that fails; from then on nobody does.
        assert verified(verifier, signed("r1", "RS256")).name == "asha"
        seconds.now += RETRY_S
        assert verifier.waits_for(signed("r1", "RS256")) is None
        assert verifier.verify(signed("r1", "RS256")).name == "asha"
        assert wait_until(lambda: odd.asked == 2, timeout_s=30)
    finally:
        odd.close()


def test_a_token_of_brackets_is_a_bad_token(provider: Provider) -> None:
    header = base64.urlsafe_b64encode(b"[" * 5_000).decode().rstrip("=")
    with pytest.raises(BadToken):
        verified(TokenVerifier(settings_of(provider, jwt_secret=SECRET)), f"{header}.e30.x")
