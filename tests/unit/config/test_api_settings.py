"""The API's settings: who may be let in from where, and what no key or secret may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.config import load
from reconciler.config.api import ApiKey
from reconciler.config.checks import is_loopback
from reconciler.errors import ConfigError

NOWHERE = Path("/dev/null")
DIGEST = "ab" * 32
SECRET = "x" * 32


def refusal(**given: object) -> str:
    with pytest.raises(ConfigError) as refused:
        load(NOWHERE, {}, {name.replace("__", "."): value for name, value in given.items()})
    return str(refused.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "db.example.com"])
def test_other_addresses_than_loopback_need_authentication(host: str) -> None:
    assert "must stay on a loopback host" in refusal(api__enabled=True, api__host=host)
    assert load(NOWHERE, {}, {"api.enabled": False, "api.host": host}).api.host == host
    for auth in ({"api.auth.jwt_secret": SECRET}, {"api.auth.api_keys": f"ops:admin:{DIGEST}"}):
        assert load(NOWHERE, {}, {"api.enabled": True, "api.host": host, **auth}).api.auth.is_configured


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_what_is_this_machine(host: str, is_it: bool) -> None:
    assert is_loopback(host) is is_it


def test_a_short_secret_is_refused_and_not_shown() -> None:
    said = refusal(api__auth__jwt_secret="short-secret")
    assert "must have at least 32 bytes" in said
    assert "short-secret" not in said
    masked = load(NOWHERE, {}, {"api.auth.jwt_secret": SECRET}).masked()
    assert SECRET not in str(masked)


@pytest.mark.parametrize(
    "url", ["http://identity.example/keys", "https://user:pw@identity.example/keys", "ftp://x/", "https://"]
)
def test_a_provider_is_asked_by_https(url: str) -> None:
    assert "must be a https URL" in refusal(api__auth__jwks_url=url)


def test_a_provider_needs_audience_and_issuer() -> None:
    assert "must set audience and issuer" in refusal(api__auth__jwks_url="https://identity.example/keys")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ("ops", "exactly name, role and sha256"),
        ([{"name": "ops", "role": "admin"}], "exactly name, role and sha256"),
        (f"ops:root:{DIGEST}", "the role viewer or admin"),
        ("ops:admin:prk_the-key-itself", "a sha256 of 64 small hex digits"),
        (f"o ps:admin:{DIGEST}", "must name keys with"),
        (f"ops:admin:{DIGEST},ops:viewer:{DIGEST}", "must name each key differently"),
        (7, "must be a list of keys"),
    ],
)
def test_keys_that_are_none(keys: object, why: str) -> None:
    said = refusal(api__auth__api_keys=keys)
    assert why in said
    assert "prk_" not in said


def test_keys_as_text_and_as_a_list() -> None:
    wanted = [ApiKey(name="ops", role="admin", sha256=DIGEST), ApiKey(name="tv", role="viewer", sha256=DIGEST)]
    as_text = f"ops:admin:{DIGEST}, tv:viewer:{DIGEST}"
    assert load(NOWHERE, {"RECONCILER__API__AUTH__API_KEYS": as_text}, {}).api.auth.api_keys == wanted
    as_list = [one.model_dump() for one in wanted]
    assert load(NOWHERE, {}, {"api.auth.api_keys": as_list}).api.auth.api_keys == wanted


@pytest.mark.parametrize("origin", ["*", "https://a.example/", "a.example", "https://a.example/x", "null"])
def test_origins_that_are_none(origin: str) -> None:
    assert "must list origins" in refusal(api__cors_origins=origin)
