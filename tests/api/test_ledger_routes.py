"""Payouts, holds, explanations and decisions through the API, on both ledgers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.parts import Parts, parts_of
from jobs.check.options import CheckOptions
from tests.support.platform import Platform
from tests.support.served import ADMIN_KEY, Served, bearer, served

WHY = {"reason": "checked with the brand"}


@pytest.fixture
def api(parts: Parts) -> Iterator[Served]:
    with served(parts) as one:
        yield one


def paid_ids(api: Served, query: str = "") -> list[str]:
    return [one["participation_id"] for one in api.get(f"/api/v1/payouts{query}").json()["payouts"]]


def test_payouts_page_by_page_with_filters(api: Served, parts: Parts, platform: Platform) -> None:
    campaign = platform.campaign()
    other = platform.campaign()
    made = [str(platform.participation(one, 2000)) for one in (campaign, other)]
    parts.sweep.step("test")
    newest_first = list(reversed(paid_ids(api)))
    assert sorted(newest_first) == sorted(made)

    first = api.get("/api/v1/payouts?limit=1").json()
    second = api.get(f"/api/v1/payouts?limit=1&cursor={first['next_cursor']}").json()
    assert [first["payouts"][0]["participation_id"], second["payouts"][0]["participation_id"]] == paid_ids(api)
    assert second["next_cursor"] is None

    assert paid_ids(api, f"?campaign={campaign}") == [made[0]]
    assert paid_ids(api, "?status=reversed") == []
    assert len(paid_ids(api, "?status=paid&trigger=test&currency=INR")) == 2
    assert paid_ids(api, "?since=2999-01-01T00:00:00Z") == []
    assert paid_ids(api, "?campaign=none&streamer=nobody") == []

    key = first["payouts"][0]["payout_key"]
    [one] = api.get(f"/api/v1/payouts/{key}").json()["payouts"]
    assert (one["amount_minor"], one["amount"], one["status"]) == (330_000, "3300.00", "paid")
    assert api.get("/api/v1/payouts/payout:str:nobody:1").status_code == 404


BAD_FILTERS = (
    "limit=0",
    "limit=501",
    "cursor=x",
    "cursor=-1",
    "status=lost",
    "since=2026-01-01T00:00:00",
    "since=x",
    "currency=inr",
    "campaign=",
    "unknown=1",
    "trigger=a%00b",
    "since=0001-01-01T00:00:00%2B14:00",
)


def test_filters_that_are_none_are_refused(api: Served) -> None:
    found = {query: api.get(f"/api/v1/payouts?{query}").status_code for query in BAD_FILTERS}
    assert found == dict.fromkeys(BAD_FILTERS, 422)


def test_why_it_was_paid_or_not(api: Served, parts: Parts, platform: Platform) -> None:
    campaign = platform.campaign()
    paid, waiting = platform.participation(campaign, 2001), platform.participation(platform.campaign(), 1999)
    parts.sweep.step("test")

    told = api.get(f"/api/v1/explain/{paid}").json()
    assert (told["payouts"][0]["amount_minor"], told["payouts"][0]["holds_true"]) == (330_000, True)
    assert api.get(f"/api/v1/explain/{waiting}").json()["reason"] == "below_target"
    assert api.get("/api/v1/explain/64b0000000000000000000ff").status_code == 404
    assert api.get("/api/v1/explain/%00").status_code == 404


def test_a_reversal_names_who_holds_the_credential(api: Served, parts: Parts, platform: Platform) -> None:
    participation = platform.participation(platform.campaign(), 2000)
    parts.sweep.step("test")
    key = f"payout:oid:{participation}:1"

    answer = api.post(f"/api/v1/payouts/{key}/reverse", json=WHY)
    assert answer.json() == {"subject": key, "result": "reversed", "by": "asha"}
    assert api.woken == ["payers"]

    again = api.post(f"/api/v1/payouts/{key}/reverse", json=WHY)
    assert (again.status_code, again.json()["detail"]) == (409, f"{key} was reversed before.")
    [decision] = api.get(f"/api/v1/payouts/{key}").json()["payouts"][0]["decisions"]
    assert (decision["kind"], decision["by"], decision["reason"]) == ("reverse", "asha", WHY["reason"])
    assert len(api.get("/api/v1/payouts").json()["payouts"]) == 2


def test_holds_are_approved_and_rejected(parts: Parts, platform: Platform) -> None:
    settings = parts.settings.model_copy(
        update={"payout": parts.settings.payout.model_copy(update={"approval_threshold": {"INR": "1000.00"}})}
    )
    ids = [platform.participation(platform.campaign(), 2000) for _ in range(2)]
    with parts_of(settings) as own, served(own) as one:
        own.sweep.step("test")
        waiting = [hold["approve_with"] for hold in one.get("/api/v1/holds").json()["holds"]]
        assert sorted(waiting) == sorted(f"payout:oid:{participation}:1" for participation in ids)

        approved = one.client.post(f"/api/v1/payouts/{waiting[0]}/approve", json=WHY, headers=bearer(ADMIN_KEY))
        assert (approved.json()["result"], approved.json()["by"]) == ("approved", "operator")
        assert one.post(f"/api/v1/payouts/{waiting[1]}/reject", json=WHY).json()["result"] == "rejected"
        assert one.post(f"/api/v1/payouts/{waiting[1]}/approve", json=WHY).status_code == 409

        own.sweep.step("test")
        assert [one_["payout_key"] for one_ in one.get("/api/v1/payouts").json()["payouts"]] == [waiting[0]]
        assert one.get("/api/v1/holds").json() == {"holds": []}


def test_a_halt_is_shown_and_ended(api: Served, parts: Parts) -> None:
    assert api.get("/api/v1/campaigns/monitoring/status").json()["isActive"] is True
    assert api.post("/api/v1/resume", json=WHY).status_code == 409

    parts.decisions.halt("chain_broken", "batch 1")
    shown = api.get("/api/v1/campaigns/monitoring/status").json()
    assert (shown["isActive"], shown["halt"]["cause"]) == (False, "chain_broken: batch 1")

    assert api.post("/api/v1/resume", json=WHY).json() == {"subject": "paying", "result": "resumed", "by": "asha"}
    assert api.get("/api/v1/campaigns/monitoring/status").json()["halt"] is None


def test_how_far_a_campaign_is(api: Served, parts: Parts, platform: Platform) -> None:
    campaign = platform.campaign()
    platform.participation(campaign, 2000)
    path = f"/api/v1/campaigns/{campaign}"

    before = api.get(f"{path}/completion-status").json()
    assert (before["due"], before["isComplete"], before["targetImpressions"]) == (1, False, 2000)
    parts.sweep.step("test")
    after: dict[str, Any] = api.get(f"{path}/completion-status").json()
    assert (after["due"], after["notDue"], after["isComplete"], after["paidMinor"]) == (
        0,
        {"already_paid": 1},
        True,
        330_000,
    )

    assert api.post(f"{path}/completion-check").status_code == 202
    assert api.woken == [f"campaign {campaign}"]
    assert api.post("/api/v1/campaigns/64b0000000000000000000ff/completion-check").status_code == 404
    assert api.get("/api/v1/campaigns/none/completion-status").status_code == 404


def test_a_break_is_acknowledged(api: Served, parts: Parts, platform: Platform) -> None:
    platform.participation(platform.campaign(), "many")
    parts.full_check.step(CheckOptions(trigger="test"))
    [found] = api.get("/api/v1/breaks").json()["breaks"]
    assert (found["kind"], found["severity"], found["status"]) == ("malformed", "warning", "open")

    path = f"/api/v1/breaks/{found['break_id']}/acknowledge"
    assert api.post(path, json=WHY).json() == {"subject": found["break_id"], "result": "acknowledged", "by": "asha"}
    assert [one["status"] for one in api.get("/api/v1/breaks").json()["breaks"]] == ["acknowledged"]
    assert api.post(path, json=WHY).json()["detail"].startswith(f"{found['break_id']} was acknowledged by asha")
    assert api.post("/api/v1/breaks/none/acknowledge", json=WHY).status_code == 409
