"""Every route of the application × everybody who may try. A route that is not in the table fails the test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest
from fastapi.routing import iter_route_contexts

from app.parts import Parts
from reconciler.api.api_keys import new_key
from reconciler.api.app import create_app
from tests.support.page_routes import PAGES
from tests.support.served import ADMIN_KEY, VIEWER_KEY, Served, bearer, context_of, served, token

ID = "64b000000000000000000001"
KEY = f"payout:oid:{ID}:1"
WHY = {"reason": "looked at it"}
ANYBODY, PAGE, TOKEN, READS, ACTS = "anybody", "page", "token", "reads", "acts"

TABLE: dict[tuple[str, str], tuple[str, str, Any]] = {
    ("GET", "/livez"): (ANYBODY, "/livez", None),
    ("GET", "/readyz"): (ANYBODY, "/readyz", None),
    ("GET", "/metrics"): (READS, "/metrics", None),
    ("GET", "/login"): (ANYBODY, "/login", None),
    ("POST", "/login"): (PAGE, "/login", None),
    ("POST", "/logout"): (ANYBODY, "/logout", None),
    ("POST", "/api/v1/campaigns/impression/{token}"): (TOKEN, "/api/v1/campaigns/impression/nobody-has-this", None),
    ("POST", "/api/v1/campaigns/click/{token}"): (TOKEN, "/api/v1/campaigns/click/nobody-has-this", None),
    ("GET", "/api/v1/openapi.json"): (READS, "/api/v1/openapi.json", None),
    ("GET", "/api/v1/campaigns/monitoring/status"): (READS, "/api/v1/campaigns/monitoring/status", None),
    ("POST", "/api/v1/campaigns/monitoring/full-check"): (ACTS, "/api/v1/campaigns/monitoring/full-check", None),
    ("GET", "/api/v1/campaigns/monitoring/full-check/{report_id}"): (
        READS,
        "/api/v1/campaigns/monitoring/full-check/none",
        None,
    ),
    ("GET", "/api/v1/campaigns/monitoring/full-check/{report_id}/events"): (
        READS,
        "/api/v1/campaigns/monitoring/full-check/none/events",
        None,
    ),
    ("GET", "/api/v1/campaigns/{campaign_id:identity}/completion-status"): (
        READS,
        f"/api/v1/campaigns/{ID}/completion-status",
        None,
    ),
    ("POST", "/api/v1/campaigns/{campaign_id:identity}/completion-check"): (
        ACTS,
        f"/api/v1/campaigns/{ID}/completion-check",
        None,
    ),
    ("GET", "/api/v1/payouts"): (READS, "/api/v1/payouts", None),
    ("GET", "/api/v1/payouts/{key:identity}"): (READS, f"/api/v1/payouts/{KEY}", None),
    ("GET", "/api/v1/holds"): (READS, "/api/v1/holds", None),
    ("GET", "/api/v1/explain/{participation_id:identity}"): (READS, f"/api/v1/explain/{ID}", None),
    ("POST", "/api/v1/payouts/{key:identity}/approve"): (ACTS, f"/api/v1/payouts/{KEY}/approve", WHY),
    ("POST", "/api/v1/payouts/{key:identity}/reject"): (ACTS, f"/api/v1/payouts/{KEY}/reject", WHY),
    ("POST", "/api/v1/payouts/{key:identity}/reverse"): (ACTS, f"/api/v1/payouts/{KEY}/reverse", WHY),
    ("POST", "/api/v1/resume"): (ACTS, "/api/v1/resume", WHY),
    ("GET", "/api/v1/breaks"): (READS, "/api/v1/breaks", None),
    ("POST", "/api/v1/breaks/{break_id}/acknowledge"): (ACTS, "/api/v1/breaks/1/acknowledge", WHY),
    ("GET", "/api/v1/reports"): (READS, "/api/v1/reports", None),
    ("GET", "/api/v1/reports/{name}"): (READS, "/api/v1/reports/latest", None),
}


def _claims(**changes: Any) -> dict[str, str]:
    return bearer(token("admin", **changes))


NOW = datetime.now(UTC)
NOBODY: dict[str, dict[str, str]] = {
    "stranger": {},
    "an unknown key": bearer(new_key()),
    "a viewer's key with a letter more": bearer(f"{VIEWER_KEY}x"),
    "expired": _claims(exp=NOW - timedelta(minutes=1)),
    "not yet valid": _claims(nbf=NOW + timedelta(days=1)),
    "without an end": _claims(exp=None),
    "without a subject": _claims(sub=None),
    "for another audience": _claims(aud="others"),
    "without an audience": _claims(aud=None),
    "of another issuer": _claims(iss="https://evil.example"),
    "without an issuer": _claims(iss=None),
    "signed with another secret": _claims(secret="another secret, which is as long as ours is"),
    "unsigned": bearer(jwt.encode({"sub": "asha", "roles": "admin"}, "", algorithm="none")),
    "no token at all": bearer("x"),
    "another scheme": {"Authorization": "Basic YXNoYTpwdw=="},
    "a cookie nobody was given": {"Cookie": "reconciler_session=guess"},
}
VIEWERS = {"a viewer's token": bearer(token("viewer")), "a viewer's key": bearer(VIEWER_KEY)}
ADMINS = {
    "an admin's token": bearer(token("admin")),
    "an admin's token with a list": bearer(token(["other", "admin"])),
    "an admin's key": bearer(ADMIN_KEY),
}
WITHOUT_ROLE = {
    "no role": bearer(token(None)),
    "an unknown role": bearer(token("administrator")),
    "a role of another type": bearer(token({"admin": True})),
}


@pytest.fixture
def shared(api_parts: Parts) -> Iterator[Served]:
    with served(api_parts) as one:
        yield one


def routes_of(parts: Parts) -> set[tuple[str, str]]:
    """Method and path of all that the application answers to; files that it serves have no method."""
    app = create_app(context_of(parts))
    return {
        (method, str(one.path))
        for one in iter_route_contexts(app.routes)
        for method in set(one.methods or {"FILES"}) - {"HEAD", "OPTIONS"}
    }


def answer(api: Served, row: tuple[str, str], headers: dict[str, str]) -> httpx.Response:
    _, path, body = TABLE[row]
    # Without the answers' cookies: one that a former answer set must not help the next caller.
    api.client.cookies.clear()
    return api.client.request(row[0], path, headers=headers, json=body)


def test_every_route_is_in_the_table(api_parts: Parts) -> None:
    assert routes_of(api_parts) == {*TABLE, *PAGES, ("FILES", "/static")}


def test_nobody_gets_in_whom_we_do_not_know(shared: Served) -> None:
    wrong = [
        (row, who, found.status_code)
        for row, (need, _, _) in TABLE.items()
        if need in (READS, ACTS)
        for who, headers in NOBODY.items()
        if (found := answer(shared, row, headers)).status_code != 401
        or found.headers["www-authenticate"] != "Bearer"
        or found.json()["type"] != "urn:payout-reconciler:problem:unauthorized"
    ]
    assert wrong == []


def test_who_has_no_role_is_known_and_may_nothing(shared: Served) -> None:
    wrong = [
        (row, who, found.status_code)
        for row, (need, _, _) in TABLE.items()
        if need in (READS, ACTS)
        for who, headers in WITHOUT_ROLE.items()
        if (found := answer(shared, row, headers)).status_code != 403
    ]
    assert wrong == []


def test_a_viewer_reads_and_never_acts(shared: Served) -> None:
    wrong = [
        (row, who, found.status_code)
        for row, (need, _, _) in TABLE.items()
        if need != PAGE
        for who, headers in VIEWERS.items()
        if ((found := answer(shared, row, headers)).status_code == 403) != (need == ACTS) or found.status_code == 401
    ]
    assert wrong == []
    assert shared.woken == []


def test_an_admin_may_all(shared: Served) -> None:
    wrong = [
        (row, who, found.status_code)
        for row in TABLE
        if row != ("POST", "/login")
        for who, headers in ADMINS.items()
        if (found := answer(shared, row, headers)).status_code in (401, 403, 500)
    ]
    assert wrong == []
    assert "checks" in shared.woken


def test_health_and_metrics_ask_nobody(shared: Served) -> None:
    for row, (need, _, _) in TABLE.items():
        if need == ANYBODY:
            assert answer(shared, row, {}).status_code in (200, 303, 503), row


def test_recording_asks_for_its_own_token_and_for_nothing_else(shared: Served) -> None:
    for row, (need, _, _) in TABLE.items():
        if need == TOKEN:
            assert answer(shared, row, {}).status_code == answer(shared, row, bearer(ADMIN_KEY)).status_code == 404, row
