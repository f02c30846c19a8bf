"""People at a browser: a form, a cookie, and a token on everything they send."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi import APIRouter

from app.parts import Parts
from reconciler.api.auth import PageAction, PageViewer
from reconciler.api.callers import Caller, Proof, Role
from reconciler.api.login import FAILURES_MAX, WINDOW_S, FailureLimit
from reconciler.api.sessions import LIFETIME_S, SESSIONS_MAX, Sessions
from reconciler.config.api import ApiAuthSettings
from tests.support.served import ADMIN_KEY, VIEWER_KEY, Served, served, token

WHY = {"reason": "looked at it"}
REVERSE = "/api/v1/payouts/payout:oid:64b000000000000000000001:1/reverse"

pages = APIRouter()


@pages.get("/page")
async def page(caller: PageViewer) -> dict[str, str]:
    return {"name": caller.name, "csrf_token": caller.csrf_token}


@pages.post("/page")
async def act(action: PageAction) -> dict[str, Any]:
    return {"name": action.caller.name, "said": action.form.get("said")}


@pytest.fixture
def api(api_parts: Parts) -> Iterator[Served]:
    with served(api_parts, routers=(pages,)) as one:
        yield one


def log_in(api: Served, credential: str, target: str = "/page") -> Any:
    return api.client.post("/login", data={"credential": credential, "next": target})


def test_a_page_sends_strangers_to_the_form_and_back(api: Served) -> None:
    away = api.client.get("/page?a=1")
    assert (away.status_code, away.headers["location"]) == (303, "/login?next=/page%3Fa%3D1")
    assert "Token or API key" in api.client.get(away.headers["location"]).text

    back = log_in(api, token("viewer"), "/page?a=1")
    assert (back.status_code, back.headers["location"]) == (303, "/page?a=1")
    cookie = back.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "secure" not in cookie.lower()
    assert api.client.get("/page").json()["name"] == "asha"


def test_a_cookie_is_secure_behind_a_proxy_that_speaks_https(api_parts: Parts) -> None:
    with served(api_parts, routers=(pages,), settings={"trusted_proxies": "127.0.0.1"}) as one:
        answer = one.client.post(
            "/login",
            data={"credential": ADMIN_KEY},
            headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"},
        )
        assert "; secure" in answer.headers["set-cookie"].lower()
        assert "strict-transport-security" in answer.headers


def test_the_form_leads_nowhere_else(api: Served) -> None:
    for target in ("https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\nb", ""):
        assert log_in(api, ADMIN_KEY, target).headers["location"] == "/", target


def test_what_an_admin_sends_needs_the_token_of_the_page(api: Served) -> None:
    log_in(api, ADMIN_KEY)
    csrf = api.client.get("/page").json()["csrf_token"]
    assert api.client.post("/page", data={"said": "x"}).json()["type"].endswith(":csrf")
    assert api.client.post("/page", data={"said": "x", "csrf_token": "guess"}).status_code == 403
    done = api.client.post("/page", data={"said": "x", "csrf_token": csrf})
    assert done.json() == {"name": "operator", "said": "x"}

    assert api.client.post(REVERSE, json=WHY).json()["type"].endswith(":csrf")
    assert api.client.post(REVERSE, json=WHY, headers={"X-CSRF-Token": csrf}).status_code == 409
    assert api.client.get("/api/v1/holds").status_code == 200


def test_a_viewer_may_look_and_not_act(api: Served) -> None:
    log_in(api, VIEWER_KEY)
    csrf = api.client.get("/page").json()["csrf_token"]
    assert api.client.post("/page", data={"csrf_token": csrf}).json()["type"].endswith(":forbidden")
    assert api.client.post(REVERSE, json=WHY, headers={"X-CSRF-Token": csrf}).status_code == 403


def test_logging_out_is_final(api: Served) -> None:
    secret = log_in(api, ADMIN_KEY).cookies["reconciler_session"]
    assert api.client.post("/logout").headers["location"] == "/login"
    api.client.cookies.set("reconciler_session", secret)
    assert api.client.get("/api/v1/holds").status_code == 401


def test_wrong_tries_have_to_wait_and_are_told_nothing(api: Served) -> None:
    for _ in range(FAILURES_MAX):
        answer = log_in(api, "guess")
        assert answer.status_code == 401
        assert "guess" not in answer.text
        assert "set-cookie" not in answer.headers
    refused = log_in(api, ADMIN_KEY)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= WINDOW_S + 1


def test_a_token_without_a_role_opens_no_session(api: Served) -> None:
    assert log_in(api, token(None)).status_code == 403


def test_without_authentication_nobody_has_to_log_in(api_parts: Parts) -> None:
    with served(api_parts, auth=ApiAuthSettings(), routers=(pages,)) as one:
        assert one.client.get("/login?next=/page").headers["location"] == "/page"
        seen = one.client.get("/page").json()
        assert seen["name"] == "local"
        assert one.client.post("/page", data={"said": "x"}).status_code == 403
        assert one.client.post("/page", data={"said": "x", "csrf_token": seen["csrf_token"]}).status_code == 200


class Seconds:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_sessions_end_with_the_day_or_with_their_token_and_are_bounded() -> None:
    seconds = Seconds()
    sessions = Sessions(clock_s=seconds)
    key = Caller(name="key", role=Role.ADMIN, proof=Proof.API_KEY)
    by_key, _ = sessions.open(key)
    by_token, opened = sessions.open(Caller(name="t", role=Role.VIEWER, proof=Proof.TOKEN, expires_s=1060.0))
    assert (opened.proof, opened.expires_s) == (Proof.SESSION, 1060.0)

    seconds.now = 1059.9
    assert sessions.find(by_token) is not None
    seconds.now = 1060
    assert sessions.find(by_token) is None
    assert sessions.find(by_key) is not None
    seconds.now = 1000 + LIFETIME_S
    assert sessions.find(by_key) is None

    first, _ = sessions.open(key)
    for number in range(SESSIONS_MAX):
        sessions.open(replace(key, name=f"other {number}"))
    assert sessions.find(first) is None


def test_whoever_logs_in_too_often_ends_sessions_of_nobody_else() -> None:
    sessions = Sessions(clock_s=Seconds())
    admin = Caller(name="asha", role=Role.ADMIN, proof=Proof.TOKEN)
    # Under the admin's name, but of another hand.
    crowd = Caller(name="asha", role=Role.VIEWER, proof=Proof.API_KEY)
    kept, known = sessions.open(admin)
    first, _ = sessions.open(crowd)
    last = ""
    for _ in range(SESSIONS_MAX + 10):
        last, _ = sessions.open(crowd)
    assert (sessions.find(kept), sessions.find(first)) == (known, None)
    assert sessions.find(last) is not None
    # And when the whole is full, whoever has the most makes room.
    for number in range(SESSIONS_MAX):
        sessions.open(Caller(name=f"{number}", role=Role.VIEWER, proof=Proof.TOKEN))
    assert sessions.find(kept) is not None


def test_failures_are_counted_an_address_and_forgotten() -> None:
    seconds = Seconds()
    limit = FailureLimit(clock_s=seconds)
    for _ in range(FAILURES_MAX):
        assert limit.wait_s("a") == 0
        limit.count("a")
    assert limit.wait_s("a") == WINDOW_S
    assert limit.wait_s("b") == 0
    seconds.now += WINDOW_S
    assert limit.wait_s("a") == 0
