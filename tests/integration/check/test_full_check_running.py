"""Checks beside a live load, checks that are interrupted, and two checks at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pymongo import UpdateOne
from pymongo.database import Database

from app.parts import Parts, parts_of
from jobs.check.full_check import FullCheck
from jobs.check.lock import CheckRunning
from jobs.check.options import CheckOptions, Stopped
from reconciler.config import load
from reconciler.errors import Outage
from reconciler.ledger import schema
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.operations.lease import CHECKING, PAYING, Lease
from reconciler.mongo.indexes import create_missing
from reconciler.ports.watch import Position
from reconciler.reports.model import Report
from tests.support.ledger import rows_of
from tests.support.platform import Platform

Document = dict[str, Any]

OPTIONS = CheckOptions(trigger="test")
TARGET = 2_000


@pytest.fixture
def open_parts(mongo_uri: str, mongo_database: Database[Document], ledger_url: str, tmp_path: Path) -> Iterator[Parts]:
    overrides = {
        "mongodb.uri": mongo_uri,
        "mongodb.database": mongo_database.name,
        "ledger.url": ledger_url,
        "reports.directory": str(tmp_path / "reports"),
        "full_check.partition_size": 40,
    }
    with parts_of(load(None, {}, overrides)) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
        yield parts


def lease_of(parts: Parts, name: str, holder: str = "another:1") -> Lease:
    return Lease(parts.engine, name=name, holder=holder, ttl=timedelta(seconds=60))


def kinds(report: Report) -> dict[str, int]:
    return report.breaks_by_kind()


def last_run(parts: Parts) -> dict[str, Any]:
    runs = [row for row in rows_of(parts.engine, schema.runs) if row["kind"] == "full_check"]
    return max(runs, key=lambda row: row["started_at"])


def _with_scan(check: FullCheck, scan: Any) -> FullCheck:
    return replace(check, population=replace(check.population, scan=scan))


class _Dying:
    """A reader that gives out some partitions and then fails as told."""

    def __init__(self, check: FullCheck, partitions: int, how: Any) -> None:
        self._scan, self._partitions, self._how = check.population.scan, partitions, how

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scan, name)

    def partitions(self, size: int, **options: Any) -> Any:
        given = self._scan.partitions(size, **options)
        limit, how = self._partitions, self._how

        class Context:
            def __enter__(self) -> Iterator[Any]:
                inner = given.__enter__()

                def some() -> Iterator[Any]:
                    for number, partition in enumerate(inner):
                        if number == limit:
                            raise how
                        yield partition

                return some()

            def __exit__(self, *error: Any) -> Any:
                return given.__exit__(*error)

        return Context()


def test_a_check_beside_a_live_load_reports_no_false_break(
    open_parts: Parts, mongo_database: Database[Document], platform: Platform
) -> None:
    """500 updates a second and sweeps that pay; whole checks one after the other, with a daemon's lease held."""
    parts = open_parts
    campaigns = [platform.campaign(budget=3_300_000, targetImpressions=TARGET) for _ in range(5)]
    ids = [platform.participation(campaigns[number % 5], TARGET - number) for number in range(300)]
    assert lease_of(parts, PAYING).acquire() is not None
    ended, failures, updates = threading.Event(), list[BaseException](), count()

    def view() -> None:
        step = 0
        while not ended.is_set():
            some = [ids[(step * 25 + one) % len(ids)] for one in range(25)]
            step += 1
            mongo_database["campaignparticipations"].bulk_write(
                [UpdateOne({"_id": one}, {"$inc": {"impressions": 15, "clicks": 1}}) for one in some]
            )
            for _ in some:
                next(updates)
            ended.wait(0.05)

    def sweep() -> None:
        try:
            with parts_of(parts.settings) as own:
                while not ended.is_set():
                    own.sweep.step("live")
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=view), threading.Thread(target=sweep)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    reports: list[Report] = []
    try:
        # Until half of them are paid, so that the checks met unpaid, paid and just being paid.
        while len(reports) < 4 or reports[-1].completeness.matched < 150:
            reports.append(parts.full_check.step(OPTIONS)[0])
            assert time.monotonic() - began < 100
    finally:
        ended.set()
        for thread in threads:
            thread.join()

    assert failures == []
    assert [kinds(report) for report in reports] == [{}] * len(reports)
    assert [[one.unexplained_minor for one in report.totals] for report in reports if report.totals] == [
        [0] for report in reports if report.totals
    ]
    assert next(updates) > 100
    assert any(0 < report.completeness.matched < 300 for report in reports)


def test_who_is_due_while_a_daemon_sweeps_is_on_the_way_until_a_sweep_has_passed_by(
    open_parts: Parts, platform: Platform
) -> None:
    parts = open_parts
    due = platform.participation(platform.campaign())
    lease = lease_of(parts, PAYING)
    lease.acquire()

    on_the_way, _ = parts.full_check.step(OPTIONS)

    assert (kinds(on_the_way), on_the_way.completeness.in_flight) == ({}, 1)
    [totals] = on_the_way.totals
    assert (totals.expected_minor, totals.explained_by, totals.unexplained_minor) == (
        330_000,
        {"in_flight": 330_000},
        0,
    )
    assert rows_of(parts.engine, schema.payouts) == []
    # A sweep that passes by and does not see it: its campaign is paused meanwhile.
    platform.database["campaigns"].update_many({}, {"$set": {"status": "paused"}})
    parts.sweep.step("test")
    platform.database["campaigns"].update_many({}, {"$set": {"status": "active"}})

    passed_by, _ = parts.full_check.step(OPTIONS)

    [found] = [one.found for one in passed_by.sightings]
    assert (found.kind, found.participation_id, found.repaired) == ("due_but_unpaid", str(due), True)
    assert len(rows_of(parts.engine, schema.payouts)) == 1


def test_without_a_daemon_nobody_is_waited_for(open_parts: Parts, platform: Platform) -> None:
    platform.participation(platform.campaign())
    lease = lease_of(open_parts, PAYING)
    lease.acquire()
    lease.resign()
    report, _ = open_parts.full_check.step(OPTIONS)
    assert (kinds(report), report.repairs["paid"]) == ({"due_but_unpaid": 1}, 1)


def test_an_interrupted_check_is_continued(open_parts: Parts, platform: Platform) -> None:
    parts, campaign = open_parts, platform.campaign(budget=330_000, targetImpressions=TARGET)
    for number in range(100):
        platform.participation(campaign, TARGET if number % 10 == 0 else number)
    dying = _with_scan(parts.full_check, _Dying(parts.full_check, 1, Outage("mongodb", "gone")))
    with pytest.raises(Outage):
        dying.step(OPTIONS)
    assert (last_run(parts)["outcome"], last_run(parts)["error"]) == (
        "failed", "MongoDB cannot be reached: gone",
    )  # fmt: skip
    assert len(rows_of(parts.engine, schema.check_partitions)) == 1
    seen: list[int] = []

    report, _ = parts.full_check.step(OPTIONS, lambda done, _all: seen.append(done))

    assert seen == [80, 100]  # the first forty were not read again
    assert report.completeness.as_json() | {"participations": 100, "matched": 10, "not_due": 90} == (
        report.completeness.as_json()
    )
    assert (kinds(report), report.repairs["paid"]) == ({"due_but_unpaid": 10}, 10)
    assert [one.unexplained_minor for one in report.totals] == [0]
    assert rows_of(parts.engine, schema.check_partitions) == []


@pytest.mark.parametrize("why", ["another question", "too long ago"])
def test_another_check_or_an_old_one_begins_anew(open_parts: Parts, platform: Platform, why: str) -> None:
    parts, campaign = open_parts, platform.campaign()
    for number in range(100):
        platform.participation(campaign, number)
    with pytest.raises(Stopped):
        _with_scan(parts.full_check, _Dying(parts.full_check, 1, Stopped())).step(OPTIONS)
    options, check = OPTIONS, parts.full_check
    if why == "another question":
        options = replace(OPTIONS, campaign_id=str(campaign))
    else:
        check = replace(check, population=replace(check.population, resume_within=timedelta(0)))
    seen: list[int] = []

    report, _ = check.step(options, lambda done, _all: seen.append(done))

    assert seen == [40, 80, 100]
    assert report.completeness.participations == 100


def test_a_check_that_died_without_a_word_is_written_down(open_parts: Parts, platform: Platform) -> None:
    parts = open_parts
    platform.participation(platform.campaign(), 1)
    yesterday = parts.clock() - timedelta(days=1)
    dead_run = {"run_id": "dead", "kind": "full_check", "trigger": "test", "started_at": yesterday}
    with parts.engine.begin() as connection:
        connection.execute(schema.runs.insert().values(dead_run | {"alive_at": yesterday}))
    parts.full_check.step(OPTIONS)
    [dead] = [row for row in rows_of(parts.engine, schema.runs) if row["run_id"] == "dead"]
    assert (dead["outcome"], dead["error"]) == ("interrupted", "the process ended before the check was through")
    assert dead["finished_at"] is not None


def test_a_second_check_is_refused_with_the_name_of_the_first(open_parts: Parts, platform: Platform) -> None:
    parts = open_parts
    platform.participation(platform.campaign(), 1)
    lease = lease_of(parts, CHECKING, "host-a:4711:abc")
    lease.acquire()

    with pytest.raises(CheckRunning, match=r"a full check is running already \(host-a:4711:abc\)"):
        parts.full_check.step(OPTIONS)

    assert [row for row in rows_of(parts.engine, schema.runs) if row["kind"] == "full_check"] == []
    lease.resign()
    parts.full_check.step(OPTIONS)
    parts.full_check.step(OPTIONS)  # the first one gave it back


def test_a_check_is_on_the_status_board_from_beginning_to_end(open_parts: Parts, platform: Platform) -> None:
    parts = open_parts
    platform.participation(platform.campaign(), 1)
    during: list[dict[str, Any]] = []

    report, _ = parts.full_check.step(
        replace(OPTIONS, report_id="announced"), lambda *_: during.append(parts.status.snapshot()["full_check"])
    )

    after = parts.status.snapshot()["full_check"]
    assert report.report_id == during[0]["report_id"] == after["report_id"] == "announced"
    assert (during[0]["running"], during[0]["finished_at"], during[0]["verdict"]) == (True, None, None)
    assert (after["running"], after["done"], after["expected"], after["verdict"]) == (False, 1, 1, "clean")
    assert (after["started_at"], after["finished_at"]) != (None, None)
    with pytest.raises(Outage):
        _with_scan(parts.full_check, _Dying(parts.full_check, 0, Outage("mongodb", "gone"))).step(OPTIONS)
    failed = parts.status.snapshot()["full_check"]
    assert (failed["running"], failed["verdict"]) == (False, "failed")


def test_a_report_tells_how_far_the_kept_position_lies_back(open_parts: Parts, platform: Platform) -> None:
    parts = open_parts
    platform.participation(platform.campaign())

    def told() -> Any:
        report, _ = parts.full_check.step(OPTIONS)
        return report.as_json(10)["positions"]["resume_token_age_s"]

    assert told() is None
    kept = Position(token="8265", reached_at=parts.clock() - timedelta(hours=1))
    generation = parts.positions.load().generation
    assert parts.positions.save(kept, "fingerprint", generation)
    assert 3_600 <= told() < 7_200
    # A server whose clock is ahead of ours; the schema knows no negative age.
    assert parts.positions.save(replace(kept, reached_at=parts.clock() + timedelta(hours=1)), "fingerprint", generation)
    assert told() == 0
    assert parts.positions.save(replace(kept, reached_at=None), "fingerprint", generation)
    assert told() is None
    parts.positions.drop("history_lost")
    assert told() is None
