"""Processes that are killed, and many at once: `run.py` itself, on real servers."""

from __future__ import annotations

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.parts import Parts
from reconciler.config import Settings
from reconciler.devstack.process import wait_until
from tests.support.command_line import CommandLine, Finished
from tests.support.invariants import ledger_violations, opening, violations
from tests.support.ledger_rows import paid_minor
from tests.support.many_due import PAID_MINOR, many_due
from tests.support.platform import Platform

ROUNDS = 5
"""For each of the two ledgers."""

DUE_A_ROUND = 200
PAGES_A_ROUND = 5
SECONDS_A_PAGE = 0.05


@pytest.fixture
def run_py(settings: Settings, tmp_path: Path) -> CommandLine:
    return CommandLine(
        folder=tmp_path,
        settings={
            "MONGODB_URI": settings.mongodb.uri.get_secret_value(),
            "LEDGER_URL": settings.ledger.url.get_secret_value(),
            "RECONCILER__MONGODB__DATABASE": settings.mongodb.database,
            "RECONCILER__SWEEP__PAGE_SIZE": str(DUE_A_ROUND // PAGES_A_ROUND),
        },
    )


def test_kill_at_random_moments(platform: Platform, parts: Parts, run_py: CommandLine) -> None:
    chance = random.Random(20260301)
    paid: dict[str, int] = {}
    killed_while_paying = 0
    for number in range(ROUNDS):
        paid |= many_due(platform, DUE_A_ROUND)
        before = opening(parts.engine, platform.database)
        pages, delay_s = chance.randrange(1, PAGES_A_ROUND), chance.uniform(0, SECONDS_A_PAGE)
        place = f"round {number}, killed {delay_s:.3f} s after page {pages}"

        with run_py.start("--once") as sweep:
            sweep.wait_for("payouts_posted", times=pages)
            time.sleep(delay_s)  # not a wait for something: the moment of death is what is drawn
            sweep.kill()

        assert ledger_violations(parts.engine, before) == [], place
        killed_while_paying += len(paid_minor(parts.engine)) < len(paid)
        parts.sweep.step("test")
        assert paid_minor(parts.engine) == paid, place
        assert violations(parts.engine, platform.database, before) == [], place
    # Else this test has become one of processes that had ended already.
    assert killed_while_paying >= ROUNDS // 2


def test_the_reference_case_is_paid_once_by_many(platform: Platform, parts: Parts, run_py: CommandLine) -> None:
    """Five sweeps, four processes at once and a restart; and a crowd, so that the four are at work at the same time."""
    due = [platform.participation(platform.campaign(), impressions) for impressions in (2000, 2001, 2500)]
    below = platform.participation(platform.campaign(), 1999)
    paid = {str(participation_id): 330_000 for participation_id in due} | many_due(platform, DUE_A_ROUND)
    before = opening(parts.engine, platform.database)

    def once(_: int) -> Finished:
        return run_py.run("--once", "--json")

    with ThreadPoolExecutor(max_workers=4) as processes:
        results = list(processes.map(once, range(4)))
    results += [once(0)]
    sweeps = [parts.sweep.step("test") for _ in range(5)]

    assert [result.code for result in results] == [0] * 5
    assert sum(result.json()["paid"] for result in results) == len(paid)
    assert [sweep.settled.paid for sweep in sweeps] == [0] * 5
    assert paid_minor(parts.engine) == paid
    assert violations(parts.engine, platform.database, before) == []
    assert platform.wallet_of(below)["balance"] == 150.25


def test_two_daemons_while_viewers_watch(platform: Platform, parts: Parts, run_py: CommandLine) -> None:
    """Participations cross the target one after the other, and go on counting while two daemons race for them."""
    expected = many_due(platform, 40, impressions=1_000)
    before = opening(parts.engine, platform.database)
    participations = platform.database["campaignparticipations"]
    watched = [document["_id"] for document in participations.find({}, {"_id": 1})]
    chance = random.Random(7)

    def all_are_paid() -> bool:
        for participation_id in chance.sample(watched, 10):
            participations.update_one({"_id": participation_id}, {"$inc": {"impressions": chance.randint(100, 400)}})
        return participations.count_documents({"finalEarningsTransferred": True}) == len(watched)

    interval = {"RECONCILER__SWEEP__INTERVAL_S": "0.2", "RECONCILER__HOUSEKEEPING__INTERVAL_S": "0.3"}
    with run_py.start(**interval) as first, run_py.start(**interval) as second:
        first.wait_for("daemon_started")
        second.wait_for("daemon_started")
        assert wait_until(all_are_paid, timeout_s=60)
        for daemon in (first, second):
            daemon.send(signal.SIGTERM)
        assert [first.ended(within_s=10), second.ended(within_s=10)] == [0, 0]
        assert first.events("payouts_posted") + second.events("payouts_posted")
        assert not first.events("halted") + second.events("halted")

    parts.sweep.step("test")
    assert paid_minor(parts.engine) == expected
    assert set(expected.values()) == {PAID_MINOR}
    assert violations(parts.engine, platform.database, before) == []
