"""Full checks on demand: one at a time, by whoever leads, with their progress as it happens; and their reports."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from cli.composition import Parts
from cli.serving import check_requests_of
from jobs.full_check import CheckOptions, Progress
from jobs.requested_checks import RequestedChecks
from tests.support.platform import Platform
from tests.support.served import ADMIN_KEY, Served, bearer, served, token

CHECK = "/api/v1/campaigns/monitoring/full-check"


def checks_of(parts: Parts) -> RequestedChecks:
    def check(report_id: str, trigger: str, progress: Progress) -> str:
        report, _ = parts.full_check.step(CheckOptions(trigger=trigger, report_id=report_id), progress)
        return report.verdict

    return RequestedChecks(check_requests_of(parts), check, status=parts.status, clock=parts.clock)


@pytest.fixture
def api(api_parts: Parts) -> Iterator[Served]:
    with served(api_parts) as one:
        yield one


def events(api: Served, report_id: str) -> Iterator[dict[str, Any]]:
    with api.client.stream("GET", f"{CHECK}/{report_id}/events", headers=bearer(token("viewer"))) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def test_a_check_is_asked_for_done_and_read(api: Served, api_parts: Parts, platform: Platform) -> None:
    platform.participation(platform.campaign(), 2000)
    answer = api.post(CHECK)
    assert answer.status_code == 202
    asked = answer.json()
    assert (asked["state"], asked["isNew"], asked["requestedBy"]) == ("waiting", True, "asha")
    assert api.woken == ["checks"]
    again = api.client.post(CHECK, headers=bearer(ADMIN_KEY)).json()
    assert (again["reportId"], again["isNew"]) == (asked["reportId"], False)

    stream = events(api, asked["reportId"])
    assert next(stream)["state"] == "waiting"
    worker = threading.Thread(target=checks_of(api_parts).step)
    worker.start()
    seen = list(stream)
    worker.join()

    assert (seen[-1]["state"], seen[-1]["outcome"], seen[-1]["done"]) == ("finished", "repaired", 1)
    report = api.get(asked["report"]).json()
    assert (report["report_id"], report["trigger"]) == (asked["reportId"], "asha")
    [head] = api.get("/api/v1/reports").json()["reports"]
    assert (head["report_id"], head["verdict"], head["formats"]) == (asked["reportId"], "repaired", ["json", "csv"])
    csv = api.get(f"{asked['report']}.csv")
    assert csv.headers["content-type"] == "text/csv; charset=utf-8"
    assert csv.text.startswith("kind,reason,severity")
    assert api.get("/api/v1/reports/latest.json").json() == report
    assert api.post(CHECK).json()["isNew"] is True


def test_reports_that_are_none(api: Served) -> None:
    assert api.get("/api/v1/reports").json() == {"reports": []}
    assert api.get("/api/v1/reports/latest").status_code == 404
    for bad in ("..%2f..%2fetc%2fpasswd", "latest.exe", "..", "latest.json.", ".hidden"):
        assert api.get(f"/api/v1/reports/{bad}").status_code in (404, 422), bad
    assert api.get(f"{CHECK}/none").status_code == 404
    assert api.get(f"{CHECK}/none/events").status_code == 404


def test_a_report_as_a_page_may_run_nothing(api: Served, api_parts: Parts) -> None:
    folder = api_parts.settings.reports.directory
    folder.mkdir()
    (folder / "r1.html").write_text("<script>alert(1)</script>", encoding="utf-8")
    page = api.get("/api/v1/reports/r1.html")
    assert page.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def test_a_thousand_at_once_make_one_check(api: Served) -> None:
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    with httpx.Client(base_url=api.client.base_url, limits=limits, timeout=60) as client:
        headers = bearer(ADMIN_KEY)
        with ThreadPoolExecutor(max_workers=100) as crowd:
            found = list(crowd.map(lambda _: client.post(CHECK, headers=headers), range(1000)))
    assert {one.status_code for one in found} == {202}
    assert len({one.json()["reportId"] for one in found}) == 1
    assert sum(one.json()["isNew"] for one in found) == 1


def test_a_stream_ends_with_the_daemon(api: Served) -> None:
    stream = events(api, api.post(CHECK).json()["reportId"])
    next(stream)
    api.context.stopping.set()
    assert list(stream) == []
