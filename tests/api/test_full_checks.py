"""Full checks on demand: one at a time, by whoever leads, with their progress as it happens; and their reports."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from app.parts import Parts
from app.serving import check_requests_of
from jobs.check.options import CheckOptions, Progress
from jobs.check.requested import RequestedChecks
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.streams import OpenStreams
from reconciler.devstack.process import wait_until
from tests.support.platform import Platform
from tests.support.served import ADMIN_KEY, Served, bearer, served, token

CHECK = "/api/v1/campaigns/monitoring/full-check"


def checks_of(parts: Parts) -> RequestedChecks:
    def check(report_id: str, progress: Progress) -> str:
        report, _ = parts.full_check.step(CheckOptions(trigger="full_check", report_id=report_id), progress)
        return report.verdict

    return RequestedChecks(check_requests_of(parts), check)


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
    assert (report["report_id"], report["trigger"]) == (asked["reportId"], "full_check")
    [head] = api.get("/api/v1/reports").json()["reports"]
    assert (head["report_id"], head["verdict"], head["formats"]) == (
        asked["reportId"],
        "repaired",
        ["json", "csv", "html"],
    )
    csv = api.get(f"{asked['report']}.csv")
    assert csv.headers["content-type"] == "text/csv; charset=utf-8"
    assert len(csv.text.splitlines()) == 2
    page = api.get(f"{asked['report']}.html")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert asked["reportId"] in page.text
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
    # A connection each: one that is kept may end, at the server, in the moment in which the client takes it again.
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)
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


def test_streams_are_counted_in_and_out() -> None:
    streams = OpenStreams(3, of_one_max=2)
    for whose in ("asha", "asha", "ben"):
        streams.enter(whose)
    with pytest.raises(Problem) as one_too_many:
        streams.enter("ben")
    assert one_too_many.value.kind is ProblemKind.BUSY
    streams.leave("ben")
    with pytest.raises(Problem) as of_one:
        streams.enter("asha")
    assert of_one.value.kind is ProblemKind.TOO_MANY
    streams.enter("ben")


def test_a_reader_that_goes_is_counted_out(api_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.api.app.STREAMS_MAX", 1)
    with served(api_parts) as one:
        report_id = one.post(CHECK).json()["reportId"]
        with one.client.stream("GET", f"{CHECK}/{report_id}/events", headers=bearer(ADMIN_KEY)) as stream:
            assert stream.status_code == 200
            assert one.get(f"{CHECK}/{report_id}/events").json()["type"].endswith(":busy")

        def is_free() -> bool:
            with one.client.stream("GET", f"{CHECK}/{report_id}/events", headers=bearer(ADMIN_KEY)) as again:
                return again.status_code == 200

        assert wait_until(is_free, timeout_s=30)
