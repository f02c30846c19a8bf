"""Whatever a document is named by: its payout can be opened wherever it is listed, and times have one spelling."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from pymongo.database import Database

from app.parts import Parts
from tests.support.platform import Platform
from tests.support.product import Product
from tests.support.served import ADMIN_KEY, VIEWER_KEY, Served, bearer, served

NAMES = [
    "a/b", "/a", "a//b/", "a?b=c", "a#b", "a%b", "a%2Fb", "a b", " a ", "a\tb", "a\nb", "a\r\nb", "\x1b[31m", "\x9b2J",
    "\u202ea", "ümlaut 日本 🎉", "a:1", "payout:str:x:1", "oid:x", "str:y", ".", "..", "a/../b", "approve", "x/approve",
    "x/reverse", "'", '"', "<b>", "\\", "+", "&", ";", "=1+1", "-", "--json", "64B000000000000000000001",
    "\x7f", "\ufeff",
]  # fmt: skip


@pytest.fixture
def paid(api_parts: Parts, platform: Platform) -> Iterator[tuple[Served, list[str]]]:
    campaign = platform.campaign(budget=1_000_000, targetImpressions=2000)
    for name in NAMES:
        platform.participation(campaign, 2000, _id=name, streamerId=name)
    api_parts.sweep.step("test")
    with served(api_parts) as one:
        listed = one.get("/api/v1/payouts?limit=500").json()["payouts"]
        yield one, [row["payout_key"] for row in listed]


def test_each_payout_that_is_listed_can_be_opened(paid: tuple[Served, list[str]]) -> None:
    one, keys = paid
    assert sorted(keys) == sorted(f"payout:str:{name}:1" for name in NAMES)
    with_cookie = one.client
    with_cookie.post("/login", data={"credential": VIEWER_KEY})
    for key in keys:
        path = quote(key, safe="")
        [found] = one.get(f"/api/v1/payouts/{path}").json()["payouts"]
        assert found["payout_key"] == key
        explained = one.get(f"/api/v1/explain/{quote('str:' + key.split(':', 2)[2].rpartition(':')[0], safe='')}")
        assert explained.status_code == 200, key
        assert with_cookie.get(f"/payouts/{path}").status_code == 200, key


def test_each_of_them_can_be_taken_back_at_a_page_and_by_the_api(paid: tuple[Served, list[str]]) -> None:
    one, keys = paid
    login = one.client.post("/login", data={"credential": ADMIN_KEY})
    assert login.status_code == 303
    for number, key in enumerate(keys):
        path = quote(key, safe="")
        if number % 2:
            answer = one.client.post(
                f"/api/v1/payouts/{path}/reverse", json={"reason": "tried out"}, headers=bearer(ADMIN_KEY)
            )
            assert answer.json()["result"] == "reversed", key
        else:
            page = one.client.get(f"/payouts/{path}/reverse").text
            [csrf] = set(re.findall(r'name="csrf_token" value="([^"]+)"', page))
            form = {"csrf_token": csrf, "reason": "tried out", "confirm": "yes"}
            assert one.client.post(f"/payouts/{path}/reverse", data=form).status_code == 303
    for key in keys:
        [found] = one.get(f"/api/v1/payouts/{quote(key, safe='')}").json()["payouts"]
        assert found["reversed_at"] is not None, key


TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*")
SPELLED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def times_in(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from times_in(one, f"{path}.{key}")
    elif isinstance(value, list):
        for one in value:
            yield from times_in(one, path)
    elif isinstance(value, str) and TIME.fullmatch(value):
        yield path, value


@pytest.fixture
def product(
    mongo_uri: str,
    mongo_database: Database[dict[str, Any]],
    sqlite_url: str,
    capsys: pytest.CaptureFixture[str],
    api_parts: Parts,
) -> Product:
    servers = {"mongodb.uri": mongo_uri, "mongodb.database": mongo_database.name, "ledger.url": sqlite_url}
    folder = str(api_parts.settings.reports.directory)
    return Product(servers=servers, capsys=capsys, settings={"reports.directory": folder})


def test_every_time_in_every_document_is_spelled_alike_and_a_break_has_one_shape(
    product: Product, platform: Platform, api_parts: Parts
) -> None:
    campaign = platform.campaign(currency="JPY", budget=100_000, paymentRate=1000, targetImpressions=2000)
    platform.participation(campaign, 2000)
    platform.participation(platform.campaign(), 2000)
    platform.participation(platform.campaign(), "not a number")
    documents: dict[str, Any] = {}
    commands = (
        ("--once",), ("--full-check",), ("status",), ("payouts", "list"), ("holds", "list"), ("breaks", "list"),
        ("report", "list"), ("report", "show"), ("ledger", "verify"), ("ledger", "balances"), ("stream", "show"),
        ("ledger", "journal"), ("webhooks", "list"), ("ledger", "anchor"), ("migrate",),
    )  # fmt: skip
    for arguments in commands:
        documents[" ".join(arguments)] = product.run("--json", *arguments).json()
    [key] = [row["payout_key"] for row in documents["payouts list"]["payouts"]][:1]
    documents["payouts show"] = product.run("payouts", "show", key, "--json").json()
    documents["explain"] = product.run("explain", key.split(":")[2], "--json").json()
    with served(api_parts) as one:
        one.context.status.record("sweep", last_finished_at=one.context.clock())
        one.post("/api/v1/campaigns/monitoring/full-check")
        for path in (
            "campaigns/monitoring/status", "payouts", f"payouts/{key}", "holds", "breaks", "reports", "reports/latest",
            f"explain/{key.split(':')[2]}",
        ):  # fmt: skip
            documents[path] = one.get(f"/api/v1/{path}").json()
        asked = one.post("/api/v1/campaigns/monitoring/full-check").json()["reportId"]
        documents["asked"] = one.get(f"/api/v1/campaigns/monitoring/full-check/{asked}").json()
    found = {(name, *one) for name, document in documents.items() for one in times_in(document)}
    assert len(found) > 30
    assert {one for one in found if not SPELLED.fullmatch(one[2])} == set()
    ours, theirs = documents["breaks list"]["breaks"][0], documents["breaks"]["breaks"][0]
    assert (ours.keys(), {**ours, "age_s": 0}) == (theirs.keys(), {**theirs, "age_s": 0})
    assert json.dumps(ours)
