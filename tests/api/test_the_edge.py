"""What every request passes: ids, limits, headers, other sites, and the log."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import APIRouter
from structlog.testing import LogCapture

from app.parts import Parts
from reconciler.api.edge import prefixes_of
from reconciler.api.services import ServicesOf
from reconciler.config.api import ApiAuthSettings
from reconciler.devstack.process import wait_until
from tests.support.served import Served, bearer, served, token

REVERSE = "/api/v1/payouts/payout:oid:64b000000000000000000001:1/reverse"

probes = APIRouter()


@probes.get("/defect")
async def defect() -> None:
    raise ZeroDivisionError("the secret document")


@probes.get("/slow")
async def slow(services: ServicesOf) -> None:
    await services.offload(lambda: services.context.stopping.wait(30))


@probes.post("/api/v1/campaigns/impression/{token}")
async def record(token: str) -> dict[str, bool]:
    return {"taken": True}


@probes.post("/api/v1/campaigns/click/{token}")
async def record_slowly(token: str, services: ServicesOf) -> dict[str, bool]:
    await services.offload(lambda: services.context.stopping.wait(1))
    return {"taken": True}


@pytest.fixture
def probed(api_parts: Parts) -> Iterator[Served]:
    with served(api_parts, routers=(probes,), settings={"body_bytes_max": 1024}) as one:
        yield one


def kind_of(answer: Any) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["x-request-id"]
    return str(document["type"]).removeprefix("urn:payout-reconciler:problem:")


def test_a_request_id_is_taken_when_it_is_one_and_else_made(probed: Served) -> None:
    assert probed.client.get("/livez", headers={"X-Request-ID": "a-1.b_2"}).headers["x-request-id"] == "a-1.b_2"
    for bad in ("a b", "x" * 65, "{}", "-a"):
        assert probed.client.get("/livez", headers={"X-Request-ID": bad}).headers["x-request-id"].isalnum()


def test_a_body_that_is_too_large_is_refused_before_and_while_it_is_read(probed: Served) -> None:
    body = json.dumps({"reason": "x" * 2000}).encode()
    headers = {"Content-Type": "application/json", **bearer(token("admin"))}

    assert kind_of(probed.client.post(REVERSE, content=body, headers=headers)) == "too_large"
    chunked = probed.client.post(REVERSE, content=iter([body[:900], body[900:]]), headers=headers)
    assert kind_of(chunked) == "too_large"


BODIES = {
    b"": "invalid",
    b"{": "malformed",
    b"\xff\xfe": "malformed",
    b"[" * 1000: "malformed",
    b'{"reason": ' + b"[" * 400 + b"]" * 400 + b"}": "invalid",
    b'{"reason": "x", "by": "somebody else"}': "invalid",
    b'{"reason": "  "}': "invalid",
    b'{"reason": "a\\u0000b"}': "invalid",
    b"null": "invalid",
    b'{"reason": NaN}': "invalid",
}


def test_a_body_that_is_none_of_ours_is_refused(probed: Served) -> None:
    headers = {"Content-Type": "application/json", **bearer(token("admin"))}
    found = {body: kind_of(probed.client.post(REVERSE, content=body, headers=headers)) for body in BODIES}
    assert found == BODIES


def test_what_is_wrong_is_told_without_what_was_sent(probed: Served) -> None:
    answer = probed.post(REVERSE, json={"reason": 7, "password": "hunter2"})
    assert kind_of(answer) == "invalid"
    assert {one["where"] for one in answer.json()["errors"]} == {"body.reason", "body.password"}
    assert "hunter2" not in answer.text


def test_what_takes_too_long_is_answered_in_time(api_parts: Parts) -> None:
    with served(api_parts, routers=(probes,), settings={"request_timeout_s": 0.5}) as one:
        assert kind_of(one.client.get("/slow")) == "timeout"


def test_a_report_is_not_cut_off_before_its_own_deadline(api_parts: Parts) -> None:
    # The probe takes a second, longer than others may take; the real routes answer within their own deadline.
    limits = {"request_timeout_s": 0.2, "recording": {"deadline_s": 15}}
    with served(api_parts, routers=(probes,), settings=limits) as one:
        assert one.client.post("/api/v1/campaigns/click/patient-token").json() == {"taken": True}
    with served(api_parts, routers=(probes,), settings=limits | {"recording": {"deadline_s": 0.1}}) as one:
        assert kind_of(one.client.post("/api/v1/campaigns/click/patient-token")) == "timeout"


def test_a_refused_report_names_its_request(api_parts: Parts) -> None:
    with served(api_parts) as one:
        answer = one.client.post("/api/v1/campaigns/impression/nobodys-token")
        counted = one.get("/metrics").text
    assert kind_of(answer) == "token_unknown"
    assert 'payout_recordings_total{kind="impression",outcome="token_unknown"} 1.0' in counted
    assert "payout_recording_group_duration_seconds_count 1.0" in counted


def test_a_defect_is_answered_and_logged_without_its_words(probed: Served, said: LogCapture) -> None:
    answer = probed.client.get("/defect")
    assert kind_of(answer) == "defect"
    assert "secret document" not in answer.text
    [line] = [one for one in said.entries if one.get("action") == "api_defect"]
    assert line["error"] == "ZeroDivisionError"
    assert line["where"].startswith(f"{__name__}:")
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "secret document" not in str(said.entries)


def test_unknown_addresses_and_methods_are_problems_too(probed: Served) -> None:
    assert kind_of(probed.client.get("/nothing")) == "not_found"
    assert kind_of(probed.client.delete("/livez")) == "method_not_allowed"


def _paths(said: LogCapture) -> list[str]:
    return [one["path"] for one in list(said.entries) if one.get("action") == "api_request"]


SECRET_TOKEN = "s3cr3t-t0k3n"
ASKED = {
    "/api/v1/campaigns/impression/T": "/api/v1/campaigns/impression/{token}",
    "/api/v1/campaigns/impression/T/": "/api/v1/campaigns/impression/***",
    "/api/v1/campaigns/impression/T/more": "/api/v1/campaigns/impression/***",
    "/api/v1/campaigns/impression//T": "/api/v1/campaigns/impression/***",
    "/api/v1/campaigns/Impression/T": "/api/v1/campaigns/***",
    "/api/v1/campaigns/impressions/T": "/api/v1/campaigns/***",
    "/api/v1/campaigns/impression%2fT": "/api/v1/campaigns/impression/{token}",
    "/api/v1/campaigns/impression/%2fT": "/api/v1/campaigns/impression/***",
    "/api/v1/campaigns/impression/x%00/T": "/api/v1/campaigns/impression/***",
    "/api/v2/campaigns/impression/T": "/api/***",
    "//api/v1/campaigns/impression/T": "/***",
    "/impression/T": "/***",
    "/T": "/***",
    "/static/T": "/static/***",
    "/api/v1/payouts/T": "/api/v1/payouts/{key}",
    "/payouts/x/impression/T": "/payouts/{key}",
    "/api/v1/campaigns/impression/T/completion-check": "/api/v1/campaigns/{campaign_id}/completion-check",
}


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "HEAD", "OPTIONS"])
def test_no_token_of_an_overlay_is_logged_wherever_it_is_sent(probed: Served, said: LogCapture, method: str) -> None:
    for path in ASKED:
        url = path.replace("T", SECRET_TOKEN)
        headers = {"Referer": f"https://overlay.example/{SECRET_TOKEN}"}
        answer = probed.client.request(method, f"{url}?token={SECRET_TOKEN}", headers=headers, follow_redirects=False)
        assert answer.status_code < 500
        assert SECRET_TOKEN not in answer.headers.get("location", "").partition("?next=")[0]
        if "impression" in path and "payouts" not in path:
            assert SECRET_TOKEN not in answer.text
    # The line of a request comes after its answer.
    assert wait_until(lambda: len(_paths(said)) >= len(ASKED), timeout_s=30)
    assert SECRET_TOKEN not in str(said.entries)
    assert SECRET_TOKEN not in probed.client.get("/metrics", headers=bearer(token("viewer"))).text
    if method == "POST":
        assert _paths(said)[: len(ASKED)] == list(ASKED.values())


def test_prefixes_end_where_the_first_parameter_begins() -> None:
    assert prefixes_of(["/", "/a/b/{c}/d", "/a/x"]) == {"/a", "/a/b", "/a/x"}


def test_a_log_line_says_who_asked_for_what_and_not_with_which_credential(probed: Served, said: LogCapture) -> None:
    credential = token("viewer")
    probed.client.get("/api/v1/holds?secret=1", headers=bearer(credential))
    assert wait_until(lambda: "/api/v1/holds" in _paths(said), timeout_s=30)
    [line] = [one for one in said.entries if one.get("action") == "api_request"]
    assert (line["method"], line["path"], line["status"], line["caller"]) == ("GET", "/api/v1/holds", 200, "asha")
    assert credential not in str(said.entries)


def test_every_answer_carries_the_headers_that_keep_browsers_safe(probed: Served) -> None:
    for path in ("/livez", "/login", "/nothing", "/defect", "/static/app.css"):
        headers = probed.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "same-origin"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_pages_of_other_sites_may_not_act_but_overlays_may_record(probed: Served) -> None:
    headers = {"Origin": "https://evil.example", **bearer(token("admin"))}
    assert kind_of(probed.client.post(REVERSE, json={"reason": "x"}, headers=headers)) == "cross_origin"
    recorded = probed.client.post("/api/v1/campaigns/impression/abc", headers={"Origin": "https://overlay.example"})
    assert recorded.status_code == 200
    own = {"Origin": str(probed.client.base_url).rstrip("/"), **bearer(token("admin"))}
    assert kind_of(probed.client.post(REVERSE, json={"reason": "x"}, headers=own)) == "refused"


def test_an_origin_that_is_no_address_is_another_site_and_no_defect(probed: Served) -> None:
    headers = {"Origin": "http://[", **bearer(token("admin"))}
    assert kind_of(probed.client.post(REVERSE, json={"reason": "x"}, headers=headers)) == "cross_origin"


def test_origins_that_are_configured_may_call(api_parts: Parts) -> None:
    origin = "https://app.example"
    with served(api_parts, settings={"cors_origins": [origin]}) as one:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert one.client.options(REVERSE, headers=asked).headers["access-control-allow-origin"] == origin
        asked["Origin"] = "https://evil.example"
        assert "access-control-allow-origin" not in one.client.options(REVERSE, headers=asked).headers
        headers = {"Origin": origin, **bearer(token("admin"))}
        assert one.client.post(REVERSE, json={"reason": "x"}, headers=headers).status_code == 409


def test_without_authentication_this_machine_gets_in_by_its_own_name_only(api_parts: Parts) -> None:
    with served(api_parts, auth=ApiAuthSettings()) as one:
        assert one.client.get("/api/v1/holds").status_code == 200
        # What a browser sends when an attacker's name points at 127.0.0.1.
        rebound = one.client.get("/api/v1/holds", headers={"Host": f"evil.example:{one.client.base_url.port}"})
        assert kind_of(rebound) == "cross_origin"
        form = one.client.post(
            REVERSE, content=b'{"reason": "x"}', headers={"Content-Type": "text/plain", "Origin": "null"}
        )
        assert kind_of(form) == "cross_origin"


def test_json_must_say_that_it_is_json(probed: Served) -> None:
    headers = {"Content-Type": "text/plain", **bearer(token("admin"))}
    answer = probed.client.post(REVERSE, content=b'{"reason": "x"}', headers=headers)
    assert answer.status_code == 422


def test_bytes_that_are_no_http_end_the_connection_and_nothing_else(probed: Served) -> None:
    address = urlsplit(str(probed.client.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01 not http\r\n\r\n")
        assert b"400" in connection.recv(1000)
    assert probed.client.get("/livez").status_code == 200
