"""Two real daemons on one platform and one ledger: one leads, and one that slept through its lease pays nothing."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from bson.objectid import ObjectId

from app.parts import Parts
from reconciler.config import Settings
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.proof.verify import SqlVerifier
from reconciler.ledger.schema import compatibility, leases, payouts
from tests.support.platform import Platform

ROOT = Path(__file__).parents[2]
DUE = 60
TTL_S = 1.5
PATIENCE_S = 60.0


class RunningDaemon:
    """`run.py` as a process, and what it has logged."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "run.py"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(self.process.stderr)

    def said(self, action: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [one for one in found if one.get("action") == action]

    def wait_for(self, action: str, times: int = 1) -> dict[str, Any]:
        wait_until(lambda: len(self.said(action)) >= times or self.process.poll() is not None)
        assert len(self.said(action)) >= times, f"no {action} in:\n{''.join(self.lines[-15:])}"
        return self.said(action)[times - 1]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=15)


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)


@pytest.fixture(params=["with the watch", "sweeps only"])
def start(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., RunningDaemon]]:
    started: list[RunningDaemon] = []

    def start_one(**more: str) -> RunningDaemon:
        environment = {
            "RECONCILER_CONFIG": os.devnull,
            "MONGODB_URI": settings.mongodb.uri.get_secret_value(),
            "LEDGER_URL": settings.ledger.url.get_secret_value(),
            "RECONCILER__MONGODB__DATABASE": settings.mongodb.database,
            "RECONCILER__SWEEP__LEASE_TTL_S": str(TTL_S),
            "RECONCILER__SWEEP__INTERVAL_S": "0.3",
            "RECONCILER__SWEEP__PAGE_SIZE": "1",
            "RECONCILER__REPORTS__DIRECTORY": str(tmp_path / "reports"),
            "RECONCILER__LOG__FORMAT": "json",
            "RECONCILER__WATCH__ENABLED": str(request.param == "with the watch").lower(),
        }
        started.append(RunningDaemon(environment | more))
        return started[-1]

    yield start_one
    for one in started:
        one.close()


def paid_count(parts: Parts) -> int:
    with reading(parts.engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(payouts)).scalar_one())


def epoch(parts: Parts) -> int:
    with reading(parts.engine) as connection:
        return int(connection.execute(sa.select(leases.c.epoch)).scalar_one())


def is_unlocked(parts: Parts) -> bool:
    """Whether anybody could write now: a process frozen within its transaction holds up everybody by that alone."""
    if parts.engine.dialect.name == "sqlite":
        assert parts.engine.url.database is not None
        with closing(sqlite3.connect(parts.engine.url.database, timeout=0.05, isolation_level=None)) as file:
            try:
                file.execute("BEGIN IMMEDIATE").close()
            except sqlite3.OperationalError:
                return False
        return True
    with parts.engine.connect() as connection:
        try:
            for table in ("chain_head", "leases"):
                connection.exec_driver_sql(f"SELECT 1 FROM {table} FOR UPDATE NOWAIT")
        except sa.exc.OperationalError:
            return False
    return True


def freeze_between_transactions(daemon: RunningDaemon, parts: Parts) -> None:
    """SIGSTOP, in the middle of a sweep and outside of every transaction."""
    for _ in range(100):
        daemon.process.send_signal(signal.SIGSTOP)
        if is_unlocked(parts):
            return
        daemon.process.send_signal(signal.SIGCONT)
        time.sleep(0.003)
    raise AssertionError("it was in a transaction each time")


def test_one_frozen_past_its_lease_is_refused_when_it_wakes(
    platform: Platform, parts: Parts, start: Callable[..., RunningDaemon]
) -> None:
    campaign_id = platform.campaign(budget=3300 * DUE, targetImpressions=2000)
    streamers = [ObjectId() for _ in range(DUE)]
    for streamer_id in streamers:
        platform.participation(campaign_id, 2000, streamerId=streamer_id)
    sleeper = start()
    sleeper.wait_for("payouts_posted")
    freeze_between_transactions(sleeper, parts)
    paid_before = paid_count(parts)
    assert 0 < paid_before < DUE
    assert epoch(parts) == 1

    # The other one pays nothing itself: whatever the sleeper had in mind is still due when it wakes.
    # In one page and once: a rehearsal holds SQLite's only lock, and nobody could renew meanwhile.
    other = start(
        RECONCILER__PAYOUT__ENABLED="false", RECONCILER__SWEEP__PAGE_SIZE="1000", RECONCILER__SWEEP__INTERVAL_S="600"
    )
    assert other.wait_for("lease_acquired")["epoch"] == 2
    sleeper.process.send_signal(signal.SIGCONT)

    refused = sleeper.wait_for("lease_refused")
    assert refused["worker"] == "sweep"
    assert "has changed hands since this was begun (epoch 1)" in refused["reason"]
    sleeper.wait_for("lease_lost")
    assert paid_count(parts) == paid_before
    assert not sleeper.said("outage")
    assert not sleeper.said("halted")

    # It resigns, and the sleeper need not wait for the lease to run out.
    assert other.end() == 0
    other.wait_for("lease_resigned")
    assert sleeper.wait_for("lease_acquired", times=2)["epoch"] == 3
    lines = platform.database["transactions"]
    wait_until(lambda: lines.count_documents({}) >= DUE)
    assert sleeper.end() == 0

    with reading(parts.engine) as connection:
        paid = Counter(connection.execute(sa.select(payouts.c.streamer_id)).scalars())
    assert paid == Counter(str(streamer_id) for streamer_id in streamers)
    wallets = {wallet["userId"]: wallet["balance"] for wallet in platform.database["wallets"].find()}
    assert wallets == {str(streamer_id): 150.25 + 3300 for streamer_id in streamers}
    assert lines.count_documents({}) == DUE
    assert SqlVerifier(parts.engine).verify().faults == ()


def test_of_two_only_one_sweeps_until_it_is_killed(
    platform: Platform, parts: Parts, start: Callable[..., RunningDaemon]
) -> None:
    """Killed, not stopped: nobody resigns, and the other takes over when the lease has run out."""
    first = start()
    first.wait_for("lease_acquired")
    second = start()
    second.wait_for("standing_by")
    participation_id = platform.participation(platform.campaign(), 2000)
    first.wait_for("payouts_posted")
    assert not second.said("payouts_posted")

    first.process.kill()
    assert second.wait_for("lease_acquired")["epoch"] == 2
    again = platform.participation(platform.campaign(), 2000)
    second.wait_for("payouts_posted")

    wait_until(lambda: platform.database["transactions"].count_documents({}) >= 2)
    assert second.end() == 0
    assert len(second.said("standing_by")) == 1
    with reading(parts.engine) as connection:
        paid = Counter(connection.execute(sa.select(payouts.c.participation_id)).scalars())
    assert paid == Counter([f"oid:{participation_id}", f"oid:{again}"])


def test_one_whose_ledger_a_newer_version_migrates_ends_by_itself_with_exit_code_2(
    parts: Parts, start: Callable[..., RunningDaemon]
) -> None:
    daemon = start()
    daemon.wait_for("lease_acquired")
    with writing(parts.engine) as connection:
        connection.execute(compatibility.insert().values(oldest_program="9001"))

    said = daemon.wait_for("program_outdated")

    assert "only programs that know 9001 may work with it" in said["reason"]
    assert daemon.process.wait(timeout=PATIENCE_S) == 2
