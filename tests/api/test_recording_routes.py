"""The two routes as overlays see them: every status, what is shown and what never is."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from pymongo.database import Database

from app.recording import recording_of
from reconciler.api.rate_limits import BucketRate, Buckets, RateLimits
from reconciler.api.recording_routes import Recording, recording_router
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.recording import Outcome, RecordingRefusal, RefusedReport, ViewerReport
from reconciler.mongo.connection import Connection
from tests.support.platform import Platform
from tests.support.recording import HeardHints, ask, recording_settings

Document = dict[str, Any]
TOKEN = "0123456789abcdef01234567"
IMPRESSION = f"/api/v1/campaigns/impression/{TOKEN}"
CLICK = f"/api/v1/campaigns/click/{TOKEN}"


@pytest.fixture
def participation_id(platform: Platform) -> Any:
    """One of the reference case, with nothing counted."""
    fields = {"clicks": 0, "estimatedEarnings": 0.0, "browserSourceToken": TOKEN}
    return platform.participation(platform.campaign(), impressions=0, **fields)


def _counted(platform: Platform, participation_id: Any) -> tuple[Any, Any]:
    member = platform.read("campaignparticipations", participation_id)
    return member["impressions"], member["clicks"]


def test_counting(mongo_connection: Connection, platform: Platform, participation_id: Any) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        first = await client.post(IMPRESSION)
        assert first.status_code == 200
        assert first.headers["content-type"] == "application/json"
        assert first.headers["cache-control"] == "no-store"
        assert first.json() == {"impressions": 1, "clicks": 0, "remaining": 1999, "completed": False}
        many = await client.post(IMPRESSION, json={"count": 999})
        assert many.json() == {"impressions": 1000, "clicks": 0, "remaining": 1000, "completed": False}
        click = await client.post(CLICK, content=b' {"count": 2} ', headers={"content-type": "text/plain"})
        assert click.json() == {"impressions": 1000, "clicks": 2, "remaining": 1000, "completed": False}
        last = await client.post(IMPRESSION, json={"count": 1000})
        assert last.json() == {"impressions": 2000, "clicks": 2, "remaining": 0, "completed": True}
        over = await client.post(IMPRESSION)
        assert over.status_code == 409
        assert over.headers["content-type"] == "application/problem+json"
        assert over.json()["code"] == "budget_exhausted"
        assert over.json()["affordable_count"] == 0

    ask(mongo_connection, talk)
    assert _counted(platform, participation_id) == (2000, 2)


def test_hints_come_at_milestones_and_at_the_target_only(
    mongo_connection: Connection, platform: Platform, participation_id: Any
) -> None:
    triggers = HeardHints()
    heard: list[int] = []

    async def talk(client: httpx.AsyncClient) -> None:
        for count in (49, 1, 48, 1, 851, 50, 49, 1, 949, 1):
            await client.post(IMPRESSION, json={"count": count})
            heard.append(len(triggers.participations))
        await client.post(CLICK, json={"count": 100})

    ask(mongo_connection, talk, triggers=triggers, api__recording__milestones="50:1000, 100:1100")
    # 49 · 50 · 98 · 99 · 950 · 1000 · 1049 · 1050 · 1999 · 2000
    assert heard[-1] == len(triggers.participations) == 5
    assert set(triggers.participations) == {DocumentId(IdKind.OBJECT_ID, str(participation_id))}


def test_a_key_makes_a_retry_safe(mongo_connection: Connection, platform: Platform, participation_id: Any) -> None:
    key = {"idempotency-key": str(uuid4())}

    async def talk(client: httpx.AsyncClient) -> None:
        first, other = await client.post(IMPRESSION, json={"count": 3}, headers=key), await client.post(IMPRESSION)
        again = await client.post(IMPRESSION, json={"count": 3}, headers=key)
        assert (first.status_code, other.status_code, again.status_code) == (200, 200, 200)
        assert again.content == first.content
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        for path, body in ((IMPRESSION, {"count": 4}), (CLICK, {"count": 3})):
            clash = await client.post(path, json=body, headers=key)
            assert (clash.status_code, clash.json()["code"]) == (422, "key_reused")

    ask(mongo_connection, talk)
    assert _counted(platform, participation_id) == (4, 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 422),
        (b"[]", 422),
        (b"5", 422),
        (b"null", 422),
        (b"nonsense", 422),
        (b"\xff\xfe", 422),
        (b'{"count": 0}', 422),
        (b'{"count": -1}', 422),
        (b'{"count": 1001}', 422),
        (b'{"count": 1.0}', 422),
        (b'{"count": 1e2}', 422),
        (b'{"count": NaN}', 422),
        (b'{"count": true}', 422),
        (b'{"count": "5"}', 422),
        (b'{"count": null}', 422),
        (b'{"count": [5]}', 422),
        (b'[["count", 5]]', 422),
        (b'{"count": 5, "count": 6}', 422),
        (b'{"count": 5, "more": 6}', 422),
        (b'{"Count": 5}', 422),
        (b'{"count": 5}{"count": 5}', 422),
        ('{"count": 5}'.encode("utf-16"), 422),
        (b"[" * 1000, 422),
        (b'{"count":' * 100, 422),
        (b'{"count": ' + b"9" * 900 + b"}", 422),
        (b" " * 2000, 413),
        (b'{"count": 5}' + b" " * 2000, 413),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_bodies_that_are_nothing(
    mongo_connection: Connection, platform: Platform, participation_id: Any, body: bytes, status: int
) -> None:
    async def chunks() -> Any:
        yield body[: len(body) // 2]
        yield body[len(body) // 2 :]

    async def talk(client: httpx.AsyncClient) -> None:
        whole, chunked = await client.post(IMPRESSION, content=body), await client.post(IMPRESSION, content=chunks())
        for answer in (whole, chunked):
            assert (answer.status_code, answer.json()["code"]) == (status, "malformed_request")
            assert TOKEN not in answer.text

    ask(mongo_connection, talk)
    assert _counted(platform, participation_id) == (0, 0)


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 201, "schlüssel", "a\tb"])
def test_keys_that_are_none(mongo_connection: Connection, platform: Platform, participation_id: Any, key: str) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        for given in ([key.encode()], [b"a", b"b"]):
            answer = await client.post(IMPRESSION, headers=[(b"idempotency-key", one) for one in given])
            assert answer.status_code == 422

    ask(mongo_connection, talk)
    assert _counted(platform, participation_id) == (0, 0)


@pytest.mark.parametrize(
    "token",
    [
        "nobody-has-this-token",
        "short",
        "x" * 201,
        "%00%00%00%00%00%00%00%00",
        "a b c d e f g h",
        "$ne-or-$gt",
        "ünïcödé-token",
    ],
)
def test_unknown_tokens_and_those_of_no_shape_look_the_same(
    mongo_connection: Connection, platform: Platform, participation_id: Any, token: str
) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.post(f"/api/v1/campaigns/impression/{token}")
        assert (answer.status_code, answer.json()["code"]) == (404, "token_unknown")
        assert token not in answer.text
        assert answer.json().keys() == {"type", "title", "status", "detail", "request_id", "code"}

    ask(mongo_connection, talk)


def test_what_is_malformed_is_named_without_a_value(
    mongo_connection: Connection, platform: Platform, participation_id: Any
) -> None:
    platform.database["campaigns"].update_many({}, {"$set": {"remainingBudget": "a secret budget"}})

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.post(IMPRESSION)
        assert answer.status_code == 409
        assert answer.json()["code"] == "campaign_malformed"
        assert answer.json()["problems"] == [
            {"field": "remaining_budget", "why": "is text that is not a plain decimal number"}
        ]

    ask(mongo_connection, talk)


class TestLimits:
    def test_a_token_that_reports_too_fast(
        self, mongo_connection: Connection, platform: Platform, participation_id: Any
    ) -> None:
        async def talk(client: httpx.AsyncClient) -> None:
            known = [await client.post(IMPRESSION) for _ in range(4)]
            unknown = [await client.post(f"/api/v1/campaigns/impression/{'0' * 24}") for _ in range(4)]
            assert [one.status_code for one in known] == [200, 200, 200, 429]
            # The limit is asked before anybody looks for the token, so it tells nothing of it.
            assert [one.status_code for one in unknown] == [404, 404, 404, 429]
            assert known[3].json() == unknown[3].json()
            assert 1 <= int(known[3].headers["retry-after"]) <= 1000

        limits: Document = {"api__recording__token_per_s_max": 1, "api__recording__token_burst_max": 3}
        ask(mongo_connection, talk, **limits)
        assert _counted(platform, participation_id) == (3, 0)

    def test_an_address_that_tries_tokens_out(
        self, mongo_connection: Connection, platform: Platform, participation_id: Any
    ) -> None:
        async def talk(client: httpx.AsyncClient) -> None:
            tried = [await client.post(f"/api/v1/campaigns/click/guess-number-{n}") for n in range(5)]
            assert [one.status_code for one in tried] == [404] * 4 + [429]
            # Whatever it says of itself, since nobody is believed.
            answer = await client.post(IMPRESSION, headers={"x-forwarded-for": "198.51.100.7"})
            assert answer.status_code == 429

        limits: Document = {"api__recording__address_per_s_max": 1, "api__recording__address_burst_max": 4}
        ask(mongo_connection, talk, **limits)

    def test_the_impressions_of_a_token_are_limited_whatever_carries_them(
        self, mongo_connection: Connection, platform: Platform, participation_id: Any
    ) -> None:
        async def talk(client: httpx.AsyncClient) -> None:
            known = [await client.post(IMPRESSION, json={"count": 400}) for _ in range(3)]
            assert [one.status_code for one in known] == [200, 200, 429]
            # Two hundred are lacking of a thousand a minute; a slow machine has waited for some of them.
            assert 2 <= int(known[2].headers["retry-after"]) <= 12
            # What is left may come; clicks pay nothing and have no such limit.
            assert (await client.post(IMPRESSION, json={"count": 200})).status_code == 200
            assert (await client.post(IMPRESSION, json={"count": 500})).status_code == 429
            assert (await client.post(CLICK, json={"count": 1000})).status_code == 200

        ask(mongo_connection, talk, api__recording__impressions_per_minute_max=1000)
        assert _counted(platform, participation_id)[0] == 1000

    def test_only_what_is_counted_takes_from_the_limit(
        self, mongo_connection: Connection, platform: Platform, participation_id: Any
    ) -> None:
        async def talk(client: httpx.AsyncClient) -> None:
            same = [
                await client.post(IMPRESSION, json={"count": 500}, headers={"idempotency-key": "once"})
                for _ in range(4)
            ]
            assert [one.status_code for one in same] == [200] * 4
            refused = [await client.post("/api/v1/campaigns/impression/nobody-has-this", json={"count": 1000})] * 3
            assert [one.status_code for one in refused] == [404] * 3
            assert (await client.post(IMPRESSION, json={"count": 500})).status_code == 200
            assert (await client.post(IMPRESSION, json={"count": 500})).status_code == 429

        ask(mongo_connection, talk, api__recording__impressions_per_minute_max=1000)
        assert _counted(platform, participation_id)[0] == 1000

    def test_what_nobody_knows_to_be_counted_takes_from_the_limit(self) -> None:
        """Else a MongoDB that commits and does not answer lets through any number of them."""

        class Unanswered:
            async def record(self, _report: ViewerReport) -> Outcome:
                return RefusedReport(refusal=RecordingRefusal.OUTCOME_UNKNOWN)

        buckets = Buckets(BucketRate(per_s_max=0, burst_max=1))
        of_a_token = Buckets(BucketRate(per_s_max=1, burst_max=1000))
        limits = RateLimits(tokens=buckets, addresses=buckets, impressions=of_a_token)
        groups: Any = Unanswered()
        app = FastAPI()
        app.include_router(recording_router(Recording(groups=groups, limits=limits, count_max=1000)))

        async def talk() -> list[int]:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://recording") as client:
                return [(await client.post(IMPRESSION, json={"count": 900})).status_code for _ in range(2)]

        assert asyncio.run(talk()) == [503, 429]

    def test_behind_a_proxy_each_client_has_its_own(
        self, mongo_connection: Connection, platform: Platform, participation_id: Any
    ) -> None:
        async def talk(client: httpx.AsyncClient) -> None:
            statuses = [
                (await client.post(IMPRESSION, headers={"x-forwarded-for": f"spoofed, {address}"})).status_code
                for address in ("198.51.100.7", "198.51.100.8", "198.51.100.7")
            ]
            assert statuses == [200, 200, 429]

        limits: Document = {"api__recording__address_per_s_max": 1, "api__recording__address_burst_max": 1}
        ask(mongo_connection, talk, api__trusted_proxies="192.0.2.0/24", **limits)


def test_no_token_and_no_key_is_logged(
    mongo_connection: Connection,
    platform: Platform,
    participation_id: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        await client.post(IMPRESSION, headers={"idempotency-key": "the-key-in-clear"})
        await client.post(IMPRESSION, content=b"nonsense")
        await client.post("/api/v1/campaigns/click/unknown-token-in-clear")

    # The test's own client would log its requests.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with caplog.at_level(logging.DEBUG, logger="reconciler"):
        ask(mongo_connection, talk)
    said = caplog.text + "".join(capfd.readouterr())
    assert TOKEN not in said
    assert "in-clear" not in said


def test_sixteen_clients_lose_nothing(
    mongo_connection: Connection, mongo_database: Database[Document], platform: Platform
) -> None:
    """A scaled-down crowd (benchmarks/bench_api.py has the whole): six participations, two budgets, one too small."""
    campaigns = [platform.campaign(), platform.campaign(budget=165, remainingBudget=165)]
    tokens = [f"crowd-token-{number}" for number in range(6)]
    for number, token in enumerate(tokens):
        fields = {"clicks": 0, "estimatedEarnings": 0.0, "browserSourceToken": token}
        platform.participation(campaigns[number % 2], impressions=0, **fields)
    statuses: dict[str, list[int]] = {token: [] for token in tokens}

    async def talk(client: httpx.AsyncClient) -> None:
        async def one_client(number: int) -> None:
            for step in range(60):
                token = tokens[(number + step) % len(tokens)]
                answer = await client.post(f"/api/v1/campaigns/impression/{token}")
                statuses[token].append(answer.status_code)

        await asyncio.gather(*(one_client(number) for number in range(16)))

    ask(mongo_connection, talk)

    members = {one["browserSourceToken"]: one for one in mongo_database["campaignparticipations"].find()}
    for token, answers in statuses.items():
        assert members[token]["impressions"] == answers.count(200)
        assert round(members[token]["estimatedEarnings"] * 100) == 165 * answers.count(200)
        assert set(answers) <= {200, 409}
    assert all(set(statuses[token]) == {200} for token in tokens[::2])
    assert sum(statuses[token].count(200) for token in tokens[1::2]) == 100
    left = [platform.read("campaigns", one)["remainingBudget"] for one in campaigns]
    assert left == [round((330_000 - 165 * 480) / 100, 2), 0]


def test_what_stands_in_the_schema(mongo_connection: Connection) -> None:
    app = FastAPI()
    app.include_router(recording_router(recording_of(recording_settings(), mongo_connection, HeardHints())))
    schema = app.openapi()
    for kind in ("impression", "click"):
        operation = schema["paths"][f"/api/v1/campaigns/{kind}/{{token}}"]["post"]
        assert operation["operationId"] == f"record_{kind}"
        assert sorted(operation["responses"]) == ["200", "400", "404", "409", "413", "422", "429", "503"]
        assert [one["name"] for one in operation["parameters"]] == ["token", "Idempotency-Key"]
        assert operation["requestBody"]["content"]["application/json"]["example"] == {"count": 12}
        assert operation["responses"]["200"]["content"]["application/json"]["example"]["remaining"] == 2
    json.dumps(schema)


def test_after_the_stop_nothing_is_taken_and_nobody_waits(
    mongo_connection: Connection, platform: Platform, participation_id: Any
) -> None:
    recording = recording_of(recording_settings(), mongo_connection, HeardHints())
    app = FastAPI()
    app.include_router(recording_router(recording))

    async def run() -> list[int]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://recording") as client:
            statuses = [(await client.post(IMPRESSION)).status_code]
            async with recording.running():
                assert recording.groups.is_alive
                statuses += [(await client.post(IMPRESSION)).status_code]
            answer = await client.post(IMPRESSION)
            assert answer.headers["retry-after"] == "1"
            return [*statuses, answer.status_code]

    assert asyncio.run(run()) == [503, 200, 503]
    assert not recording.groups.is_alive
    assert _counted(platform, participation_id) == (1, 0)
