"""The API in the daemon's process: where it listens, what it refuses, and how it ends with it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.database import Database

from reconciler.devstack.process import free_port, wait_until
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from tests.support.command_line import RUN_PY, CommandLine, Running
from tests.support.platform import Platform
from tests.support.served import SECRET, bearer, token

ENDS_WITHIN_S = 10.0
CHECK = "/api/v1/campaigns/monitoring/full-check"


@pytest.fixture
def run_py(mongo_uri: str, mongo_database: Database[dict[str, Any]], sqlite_url: str, tmp_path: Path) -> CommandLine:
    engine = open_engine(sqlite_url)
    upgrade(engine)
    engine.dispose()
    return CommandLine(
        folder=tmp_path,
        settings={
            "MONGODB_URI": mongo_uri,
            "RECONCILER__MONGODB__DATABASE": mongo_database.name,
            "LEDGER_URL": sqlite_url,
            "RECONCILER__API__ENABLED": "true",
            "RECONCILER__API__PORT": "0",
        },
    )


def client_of(daemon: Running) -> httpx.Client:
    [event] = daemon.wait_for("api_started")
    return httpx.Client(base_url=event["url"], timeout=30)


@pytest.fixture
def daemon(run_py: CommandLine) -> Iterator[Running]:
    with run_py.start(RECONCILER__API__AUTH__JWT_SECRET=SECRET, RECONCILER__API__AUTH__AUDIENCE="payouts") as running:
        yield running


def test_it_serves_pays_and_ends_with_the_daemon(daemon: Running, platform: Platform) -> None:
    campaign = platform.campaign()
    platform.participation(campaign, 2000)
    headers = bearer(token("admin"))
    with client_of(daemon) as client:
        daemon.wait_for("daemon_started")
        assert wait_until(lambda: client.get("/readyz").status_code == 200, timeout_s=60)
        assert client.get("/livez?verbose").text.startswith("[+]sweep ok")
        client.post(f"/api/v1/campaigns/{campaign}/completion-check", headers=headers)
        assert wait_until(lambda: client.get("/api/v1/payouts", headers=headers).json()["payouts"] != [], timeout_s=60)

        asked = client.post(CHECK, headers=headers).json()
        with client.stream("GET", asked["events"], headers=headers) as stream:
            told = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
        assert (told[-1]["state"], told[-1]["outcome"]) == ("finished", "clean")
        assert client.get(asked["report"], headers=headers).json()["verdict"] == "clean"
        assert client.get("/api/v1/payouts").status_code == 401

        status = client.get("/api/v1/campaigns/monitoring/status", headers=headers).json()
        assert (status["isActive"], status["lastCheck"]["outcome"]) == (True, "clean")

        # Somebody who looks on does not hold up the end.
        lookers = [threading.Thread(target=_look_on, args=(client, headers)) for _ in range(3)]
        for one in lookers:
            one.start()
        daemon.send(signal.SIGTERM)
        assert daemon.ended(within_s=ENDS_WITHIN_S) == 0
        for one in lookers:
            one.join()
    assert daemon.events("api_stopped")
    assert SECRET not in "".join(daemon.lines)


def _look_on(client: httpx.Client, headers: dict[str, str]) -> None:
    try:
        asked = client.post(CHECK, headers=headers).json()
        with client.stream("GET", asked["events"], headers=headers) as stream:
            for _ in stream.iter_lines():
                pass
    except (httpx.HTTPError, ValueError, KeyError):
        return


def test_a_port_that_is_taken_is_said(run_py: CommandLine) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run_py.run(RECONCILER__API__PORT=str(port), RECONCILER__LOG__LEVEL="error")
    assert ended.code == 2
    assert ended.sentence.startswith(f"api.port {port} on 127.0.0.1 cannot be listened on: Address already in use")


def test_strangers_are_not_let_in_from_elsewhere(run_py: CommandLine) -> None:
    ended = run_py.run(RECONCILER__API__HOST="0.0.0.0")
    assert ended.code == 2
    assert ended.sentence.startswith("api must stay on a loopback host such as 127.0.0.1 until api.auth is set")
    assert run_py.run("config", "check", RECONCILER__API__HOST="0.0.0.0").code == 2


def test_without_its_packages_it_says_so_and_the_rest_works(run_py: CommandLine, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "class Without:\n"
        "    def __init__(self, finder): self.finder = finder\n"
        "    def __getattr__(self, name): return getattr(self.finder, name)\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        hidden = {'fastapi', 'starlette', 'uvicorn', 'jwt', 'python_multipart'}\n"
        "        return None if name.partition('.')[0] in hidden else self.finder.find_spec(name, path, target)\n"
        "sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]\n"
        f"sys.path.insert(0, {str(RUN_PY.parent)!r})\n"
        "from cli.app import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )

    def run(*arguments: str, enabled: str) -> subprocess.CompletedProcess[str]:
        environ = dict(run_py.settings) | {"RECONCILER__API__ENABLED": enabled, "RECONCILER__LOG__LEVEL": "error"}
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    refused = run(enabled="true")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith("api.enabled needs packages that are not installed (fastapi, uvicorn, jwt")
    assert run("--once", "--json", enabled="false").returncode == 0


def test_a_key_that_was_made_lets_its_holder_in(run_py: CommandLine, platform: Platform) -> None:
    made = run_py.run("apikey", "new", "--role", "viewer", "--name", "grafana", "--json").json()
    entry = made["config"]
    keys = f"{entry['name']}:{entry['role']}:{entry['sha256']}"
    with run_py.start(RECONCILER__API__AUTH__API_KEYS=keys) as running, client_of(running) as client:
        assert client.get("/api/v1/holds", headers=bearer(made["key"])).status_code == 200
        assert client.post("/api/v1/resume", json={"reason": "x"}, headers=bearer(made["key"])).status_code == 403
    assert made["key"] not in "".join(running.lines)
    assert run_py.run("apikey", "new", "--role", "viewer", "--name", "a b").code == 2


def test_a_stand_by_takes_requests_that_the_leader_does(run_py: CommandLine, platform: Platform) -> None:
    with run_py.start() as leader, client_of(leader):
        leader.wait_for("lease_acquired")
        with run_py.start(RECONCILER__API__PORT=str(free_port())) as standby, client_of(standby) as client:
            standby.wait_for("standing_by")
            assert client.get("/readyz").status_code == 200
            asked = client.post(CHECK).json()
            assert wait_until(
                lambda: client.get(f"{CHECK}/{asked['reportId']}").json()["state"] == "finished", timeout_s=60
            )
            assert leader.events("check_finished")
            assert not standby.events("check_finished")
            assert client.get("/api/v1/campaigns/monitoring/status").json()["isLeader"] is False
