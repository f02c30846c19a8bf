"""The pages by HTTP: who sees which, what a form needs, and how refusals and outages look to a person."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from app.parts import Parts
from reconciler.ledger.engine import open_engine
from reconciler.queries.payouts import PayoutQuery, payout_rows
from tests.support.page_routes import ADMINS_ONLY, KEY, PRESSED, READ_BY_POST, SHOWN
from tests.support.platform import Platform
from tests.support.served import ADMIN_KEY, VIEWER_KEY, Served, bearer, served, token

STREAMS = {"/events", "/test/watch/64b000000000000000000001"}
_CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')


@pytest.fixture
def shared(api_parts: Parts) -> Iterator[Served]:
    with served(api_parts) as one:
        yield one


@pytest.fixture
def people(shared: Served) -> Iterator[dict[str, httpx.Client]]:
    """Browsers of a viewer and an admin, logged in."""
    base = str(shared.client.base_url)
    clients = {role: httpx.Client(base_url=base, timeout=30) for role in ("viewer", "admin")}
    for role, key in (("viewer", VIEWER_KEY), ("admin", ADMIN_KEY)):
        clients[role].post("/login", data={"credential": key})
    yield clients
    for client in clients.values():
        client.close()


def form_secret(client: httpx.Client) -> str:
    found = _CSRF.search(client.get("/reports").text)
    assert found is not None
    return found.group(1)


def status_of(client: httpx.Client, method: str, path: str, **more: Any) -> int:
    """Of a stream only the beginning is read."""
    with client.stream(method, path, **more) as answer:
        return answer.status_code


def test_strangers_are_sent_to_the_login_form_and_back(shared: Served) -> None:
    shared.client.cookies.clear()
    for (method, _), path in (SHOWN | READ_BY_POST | ADMINS_ONLY | PRESSED).items():
        answer = shared.client.request(method, path, json={"token": "x"} if method == "POST" else None)
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/login"), path
        assert "text/html" not in answer.headers.get("content-type", "")


def test_who_has_no_role_sees_nothing(shared: Served) -> None:
    for (method, _), path in (SHOWN | READ_BY_POST | ADMINS_ONLY | PRESSED).items():
        body = {"token": "x"} if method == "POST" else None
        answer = shared.client.request(method, path, headers=bearer(token("auditor")), json=body)
        assert answer.status_code == 403, path


def test_a_viewer_sees_every_page_and_presses_nothing(shared: Served, people: dict[str, httpx.Client]) -> None:
    viewer = people["viewer"]
    for (method, _), path in SHOWN.items():
        assert status_of(viewer, method, path) in (200, 303, 404), path
    for (method, _), path in (ADMINS_ONLY | PRESSED).items():
        answer = viewer.request(method, path, data={"reason": "because", "confirm": "yes"})
        # For the role, and not only because no page gave the form's secret away.
        assert (answer.status_code, "This needs the role admin." in answer.text) == (403, True), path
    assert shared.woken == []


def test_a_form_without_the_sessions_secret_does_nothing(shared: Served, people: dict[str, httpx.Client]) -> None:
    admin = people["admin"]
    for (method, _), path in PRESSED.items():
        for secret in (
            {},
            {"csrf_token": ""},
            {"csrf_token": "x" * 43},
            {"csrf_token": form_secret(people["admin"])[:-1]},
        ):
            form = {"reason": "because", "confirm": "yes", "subject": KEY, **secret}
            assert admin.request(method, path, data=form).status_code == 403, path
        # A token acts by the API's own routes: it has no form, and so no secret of one.
        headers = bearer(token("admin"))
        assert shared.client.request(method, path, headers=headers, data={"reason": "because"}).status_code == 403
    assert shared.woken == []


def test_what_became_of_a_form_is_said_once_and_refusals_in_a_sentence(people: dict[str, httpx.Client]) -> None:
    admin = people["admin"]
    form = {"csrf_token": form_secret(admin), "reason": "because", "subject": KEY}
    answer = admin.post("/holds/approve", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/holds")
    page = admin.get("/holds").text
    assert "Nothing was done." in page
    assert KEY in page
    assert "Nothing was done." not in admin.get("/holds").text


@pytest.mark.parametrize("reason", ["", "   ", "x" * 1001, "a\x00b"])
def test_without_a_reason_nothing_is_done(people: dict[str, httpx.Client], reason: str) -> None:
    admin = people["admin"]
    admin.post("/resume", data={"csrf_token": form_secret(admin), "reason": reason})
    assert "a reason is needed" in admin.get("/halt").text


def test_an_unconfirmed_reversal_is_refused(people: dict[str, httpx.Client]) -> None:
    admin = people["admin"]
    form = {"csrf_token": form_secret(admin), "reason": "because"}
    answer = admin.post(f"/payouts/{KEY}/reverse", data=form)
    assert answer.status_code == 422
    assert "Tick the box" in answer.text


def test_halted_is_said_on_every_page_and_ended_by_who_is_signed_in(
    shared: Served, api_parts: Parts, people: dict[str, httpx.Client]
) -> None:
    admin = people["admin"]
    api_parts.decisions.halt("chain_broken", "<b>batch 7</b>")
    page = admin.get("/halt").text
    assert "chain_broken: &lt;b&gt;batch 7&lt;/b&gt;" in page
    admin.post("/resume", data={"csrf_token": form_secret(admin), "reason": "mended"})
    assert "Paying goes on." in admin.get("/halt").text
    assert not api_parts.decisions.is_halted()
    assert shared.woken == ["payers"]


def test_texts_of_documents_are_never_markup(
    api_parts: Parts, mongo_database: Any, people: dict[str, httpx.Client]
) -> None:
    platform = Platform(mongo_database)
    evil = "<script>alert(1)</script>"
    platform.participation(platform.campaign(title=evil), "many", _id=evil, streamerId=evil)
    for path in ("/participations/%3Cscript%3Ealert(1)%3C%2Fscript%3E", f"/payouts?campaign={evil}&status={evil}"):
        page = people["viewer"].get(path).text
        assert evil not in page
        assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("status=lost", "There is no status lost."),
        ("since=yesterday", "yesterday is not a day"),
        ("until=9999-12-31", "9999-12-31 is not a day"),
        ("before=abc", "Nobody was paid yet."),
        ("currency=inr&since=2026-01-01", "No payout agrees with all of these."),
    ],
)
def test_filters_that_cannot_be_read_are_named(people: dict[str, httpx.Client], query: str, said: str) -> None:
    answer = people["viewer"].get(f"/payouts?{query}")
    assert answer.status_code == 200
    assert said in answer.text


def test_days_are_those_of_the_pages_zone(api_parts: Parts, mongo_database: Any, shared: Served) -> None:
    """What was paid today is found by today's date in India, where these pages are read, and not by tomorrow's."""
    platform = Platform(mongo_database)
    platform.participation(platform.campaign(), 2000)
    api_parts.sweep.step("sweep")
    created = payout_rows(shared.context.engine, PayoutQuery(limit=1))[0]["created_at"]
    day, next_day = _day_in_india(created, 0), _day_in_india(created, 1)
    with httpx.Client(base_url=str(shared.client.base_url), headers=bearer(token("viewer"))) as client:
        assert "3,300.00" in client.get(f"/payouts?since={day}&until={day}").text
        assert "3,300.00" not in client.get(f"/payouts?since={next_day}").text


def test_pages_are_read_on_by_a_cursor(
    api_parts: Parts, mongo_database: Any, shared: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.api.pages.payouts.ROWS", 2)
    platform = Platform(mongo_database)
    for _ in range(3):
        platform.participation(platform.campaign(), 2000)
    api_parts.sweep.step("sweep")
    first = shared.get("/payouts?status=paid").text
    older = re.search(r'href="(/payouts\?status=paid&amp;before=\d+)" rel="next"', first)
    assert older is not None
    second = shared.get(older.group(1).replace("&amp;", "&")).text
    keys = [re.findall(r'href="(/payouts/payout[^"]+)">Details', page) for page in (first, second)]
    assert [len(one) for one in keys] == [2, 1]
    assert not set(keys[0]) & set(keys[1])
    assert 'rel="next"' not in second


def test_the_overview_comes_while_the_ledger_is_away_and_other_pages_say_so(api_parts: Parts) -> None:
    away = open_engine("postgresql+psycopg://secret-host:1/payouts?hostaddr=127.0.0.1")
    with served(api_parts, changes={"engine": away}) as one:
        answer = one.get("/")
        assert answer.status_code == 200
        assert "Nothing can be paid: the ledger cannot be used." in answer.text
        assert "secret-host" not in answer.text
        refused = one.get("/holds")
        assert refused.status_code == 503
        assert "text/html" in refused.headers["content-type"]
        assert "The ledger&#39;s database cannot be reached" in refused.text


def test_events_tell_what_changed_and_end_with_the_daemon(shared: Served, api_parts: Parts) -> None:
    words: list[str] = []
    with shared.client.stream("GET", "/events", headers=bearer(token("viewer"))) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: "):
                continue
            words.append(json.loads(line[6:])["word"])
            if len(words) == 1:
                api_parts.decisions.halt("chain_broken", "told by the tests")
            if words[-1] == "Halted":
                shared.context.stopping.set()
    assert words[-1] == "Halted"


def test_without_the_setting_there_is_no_test_page(api_parts: Parts) -> None:
    with served(api_parts, changes={"trials": None}) as one:
        assert one.get("/test").status_code == 404
        assert one.client.post("/test/find", json={"token": "x"}).status_code == 404
        assert ">Test<" not in one.get("/").text


def test_the_test_page_names_a_participation_and_never_its_token(shared: Served, mongo_database: Any) -> None:
    platform = Platform(mongo_database)
    near = platform.participation(platform.campaign(), 7, browserSourceToken="a-secret-token-1")
    found = shared.client.post("/test/find", headers=bearer(token("viewer")), json={"token": "a-secret-token-1"})
    assert found.json() == {"participation_id": f"oid:{near}"}
    with shared.client.stream("GET", f"/test/watch/oid:{near}", headers=bearer(token("viewer"))) as answer:
        data = next(line for line in answer.iter_lines() if line.startswith("data: "))
    assert "7 <span" in json.loads(data[6:])["html"]
    assert "a-secret-token-1" not in data


def _day_in_india(text: str, later_days: int) -> str:
    local = datetime.fromisoformat(text).astimezone(ZoneInfo("Asia/Kolkata"))
    return (local + timedelta(days=later_days)).date().isoformat()
