"""Endpoints as people configure them: what is dangerous is refused, and no refusal quotes a secret."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from app import sending as wiring
from reconciler.config import load
from reconciler.domain.events import EventType
from reconciler.errors import ConfigError

NOWHERE = Path("/dev/null")
VARIABLE = "RECONCILER__WEBHOOKS__ENDPOINTS"
SECRET = "whsec_" + base64.b64encode(b"s3cr3t-s3cr3t-s3cr3t-s3cr3t").decode()


def endpoint(**fields: Any) -> dict[str, Any]:
    return {"name": "billing", "url": "https://example.com/hooks/very-private", "secret": SECRET} | fields


def in_environment(*endpoints: Any) -> dict[str, str]:
    return {VARIABLE: json.dumps(list(endpoints))}


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as refused:
        load(NOWHERE, environ, {})
    sentence = str(refused.value)
    assert "s3cr3t" not in sentence
    assert SECRET[6:] not in sentence
    assert "very-private" not in sentence
    return sentence


def test_an_endpoint_wants_everything_unless_it_says_otherwise() -> None:
    environ = in_environment(endpoint(), endpoint(name="crm", events=["payout.reversed"], secret=[SECRET, SECRET]))
    billing, crm = load(NOWHERE, environ, {}).webhooks.endpoints
    assert billing.events == list(EventType)
    assert [one.get_secret_value() for one in billing.secret] == [SECRET]
    assert (crm.events, len(crm.secret)) == ([EventType.PAYOUT_REVERSED], 2)


def test_a_file_holds_them_too(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"webhooks: {{endpoints: [{{name: a, url: 'http://localhost:1/', secret: {SECRET}}}]}}")
    assert [one.name for one in load(file, {}, {}).webhooks.endpoints] == ["a"]


def test_people_see_neither_secrets_nor_paths() -> None:
    settings = load(NOWHERE, in_environment(endpoint()), {})
    [shown] = settings.masked()["webhooks"]["endpoints"]
    assert shown == {
        "name": "billing",
        "url": "https://example.com/***",
        "secret": ["***"],
        "events": [event.value for event in EventType],
    }
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"url": "ftp://example.com/very-private"}, "must be an http or https URL"),
        ({"url": "file:///etc/very-private"}, "must be an http or https URL"),
        ({"url": "https://user:s3cr3t@example.com/"}, "must not hold a user name or password"),
        ({"url": "https://s3cr3t@example.com/"}, "must not hold a user name or password"),
        ({"url": "https://example.com/#very-private"}, "must not have a fragment"),
        ({"url": "https://example.com/very-private path"}, "must be plain ASCII"),
        ({"url": "https://[very-private/"}, "must be a URL"),
        ({"url": "https://example.com:99999/"}, "must be a URL"),
        ({"url": "http://example.com/very-private"}, "must give billing an https URL"),
        ({"url": "http://127.0.0.1.example.com/"}, "must give billing an https URL"),
        ({"secret": "whsec_s3cr3t"}, "must be whsec_ and the base64"),
        ({"secret": "whsec_czNjcjN0"}, "must be whsec_ and the base64"),
        ({"secret": []}, "must be a secret"),
        ({"secret": 7}, "must be a list"),
        ({"name": "Billing 1"}, "must be 1 to 63 lower-case letters"),
        ({"events": ["payout.made"]}, "must be 'participation.settled'"),
        ({"events": []}, "must not be empty"),
        ({"colour": "s3cr3t"}, "is not a setting"),
    ],
)
def test_what_is_dangerous_or_wrong_is_refused(fields: dict[str, Any], why: str) -> None:
    sentence = refusal(in_environment(endpoint(**fields)))
    assert why in sentence
    assert VARIABLE in sentence


@pytest.mark.parametrize("text", ["s3cr3t", "{", '{"name": "s3cr3t"}', "[" * 100_000, "7"])
def test_what_is_no_list_is_refused_without_a_quote(text: str) -> None:
    assert "must be a list of endpoints" in refusal({VARIABLE: text})


def test_two_of_one_name_are_refused() -> None:
    assert "a name of its own" in refusal(in_environment(endpoint(), endpoint()))


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "127.8.9.1:80", "[::1]:9"])
def test_plain_http_goes_to_this_machine(host: str) -> None:
    assert load(NOWHERE, in_environment(endpoint(url=f"http://{host}/")), {}).webhooks.endpoints


def test_plain_http_goes_further_only_where_it_is_allowed() -> None:
    environ = in_environment(endpoint(url="http://example.com/"))
    assert load(NOWHERE, environ, {"webhooks.allow_plain_http": True}).webhooks.endpoints


def test_without_the_extra_endpoints_are_refused_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "find_spec", lambda _name: None)
    wiring.require_sending(load(NOWHERE, {}, {}))
    with pytest.raises(ConfigError, match=r"needs httpx and standardwebhooks, .* 'payout-reconciler\[api\]'"):
        wiring.require_sending(load(NOWHERE, in_environment(endpoint()), {}))
