"""Health: threads alone for /livez, everything for /readyz, and metrics that ask nobody."""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.parts import Parts
from reconciler import VERSION
from reconciler.api import app as api_app
from reconciler.api import database_health
from reconciler.config.api import ApiAuthSettings
from reconciler.devstack.process import wait_until
from reconciler.ledger.engine import open_engine
from tests.support.served import VIEWER_KEY, Served, bearer, served, token


def test_livez_tells_which_thread_is_gone_and_asks_no_database(api: Served) -> None:
    answer = api.client.get("/livez")
    assert (answer.status_code, answer.text) == (200, "ok\n")

    api.context.liveness.watch("sweep", lambda: None)
    api.context.liveness.watch("watch", lambda: "its thread has ended")

    answer = api.client.get("/livez?verbose")
    assert answer.status_code == 503
    assert answer.text == "[+]sweep ok\n[-]watch its thread has ended\nnot ok\n"


def test_readyz_waits_for_the_first_sweep_and_names_a_stream_that_should_run(api: Served) -> None:
    answer = api.client.get("/readyz")
    assert answer.status_code == 503
    assert "[-]first_sweep is not done yet" in answer.text

    api.context.status.record("sweep", last_finished_at=api.context.clock())
    assert api.client.get("/readyz").status_code == 200
    assert "[+]ledger ok" in api.client.get("/readyz?verbose").text

    api.context.status.record("stream", state="backing_off")
    assert "[-]stream is backing_off" in api.client.get("/readyz").text
    api.context.status.record("stream", state="degraded_polling")
    assert api.client.get("/readyz").status_code == 200

    api.context.status.ask("clock", lambda: {"fault": "this host's clock is 2.0 days ahead"})
    assert "[-]clock this host's clock is 2.0 days ahead" in api.client.get("/readyz").text


def test_readyz_names_the_job_that_waits_for_a_database(api_parts: Parts) -> None:
    """Though the API's own connections may do: what counts is whether payments are made."""
    api_parts.status.record("sweep", last_finished_at=api_parts.clock())
    troubles: dict[str, str | None] = {"sweep": None, "live": "MongoDB cannot be reached"}
    with served(api_parts, changes={"troubles": lambda: troubles}) as one:
        answer = one.client.get("/readyz")
        assert (answer.status_code, "[-]job_live MongoDB cannot be reached" in answer.text) == (503, True)
        assert one.client.get("/livez").status_code == 200
        troubles["live"] = None
        assert one.client.get("/readyz").status_code == 200


@pytest.mark.parametrize("name", ["ledger", "mongodb"])
def test_readyz_does_not_wait_for_a_database_that_hangs(
    api_parts: Parts, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_parts.status.record("sweep", last_finished_at=api_parts.clock())
    monkeypatch.setattr(database_health, "ANSWER_S", 0.2)
    monkeypatch.setattr(database_health, "FRESH_S", 0.0)
    over, asked = threading.Event(), list[str]()

    def hang(*_: object, **__: object) -> None:
        asked.append(name)
        over.wait(60)

    monkeypatch.setattr(api_app, "require_current" if name == "ledger" else "is_standalone", hang)
    with served(api_parts) as one:
        for _ in range(3):
            answer = one.client.get("/readyz")
            assert answer.status_code == 503
            assert f"[-]{name} has not answered for" in answer.text
        # It is asked once, however many want to know.
        assert len(asked) == 1
        over.set()
        assert wait_until(lambda: one.client.get("/readyz").status_code == 200, timeout_s=20)


@pytest.fixture
def unmigrated(api_parts: Parts, postgres_url: str) -> Iterator[Parts]:
    engine = open_engine(postgres_url)
    object.__setattr__(api_parts, "engine", engine)
    yield api_parts
    engine.dispose()


def test_readyz_says_that_the_ledger_is_not_migrated(unmigrated: Parts) -> None:
    unmigrated.status.record("sweep", last_finished_at=unmigrated.clock())
    with served(unmigrated) as one:
        answer = one.client.get("/readyz")
        assert answer.status_code == 503
        assert "[-]ledger is not at this program's revision" in answer.text
        assert one.client.get("/livez").status_code == 200


def test_metrics_render_what_was_counted(api: Served, tmp_path: Path) -> None:
    api.context.metrics.sweeps.labels("full", "complete").inc()
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'payout_sweeps_total{kind="full",outcome="complete"} 1.0' in answer.text


def test_metrics_tell_amounts_and_so_are_for_those_who_may_read(api: Served, api_parts: Parts) -> None:
    assert api.client.get("/metrics").status_code == 401
    assert api.client.get("/metrics", headers=bearer(token("other"))).status_code == 403
    assert api.client.get("/metrics", headers=bearer(VIEWER_KEY)).status_code == 200
    with served(api_parts, auth=ApiAuthSettings()) as one:
        assert one.client.get("/metrics").status_code == 200


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == VERSION
