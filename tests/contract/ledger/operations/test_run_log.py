"""The record of sweeps and checks: also of those that failed or never ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.errors import Defect
from reconciler.ledger import schema
from reconciler.ledger.database_clock import before
from reconciler.ledger.operations.runs import SILENT_FOR, RunLog, ledger_position
from reconciler.ports.runs import RunRecord
from tests.support.ledger import NOW, rows_of

HOUR = timedelta(hours=1)


def a_run(run_id: str, kind: str = "sweep", *, hours: int = 0) -> RunRecord:
    return RunRecord(run_id=run_id, kind=kind, trigger="schedule", started_at=NOW + hours * HOUR)


def ended(run: RunRecord, outcome: str = "clean") -> RunRecord:
    return replace(
        run, finished_at=run.started_at + timedelta(minutes=5), outcome=outcome, counts={"paid": 3, "skipped": {"é": 1}}
    )


def run_ids(engine: Engine) -> set[str]:
    return {row["run_id"] for row in rows_of(engine, schema.runs)}


def test_a_run_is_read_back_as_it_ended(engine: Engine) -> None:
    log, run = RunLog(engine), a_run("r1")
    log.start(run)
    assert log.latest("sweep") is None  # it has not ended
    log.finish(ended(run))
    assert log.latest("sweep") == ended(run)
    assert log.latest("full_check") is None


def test_a_failed_run_keeps_its_error(engine: Engine) -> None:
    log, run = RunLog(engine), a_run("r1")
    log.start(run)
    failed = replace(ended(run, "failed"), counts={}, error="MongoDB cannot be reached: it is gone")
    log.finish(failed)
    assert log.latest("sweep") == failed


def test_latest_is_the_one_that_began_last(engine: Engine) -> None:
    log = RunLog(engine)
    for run in (a_run("new", hours=2), a_run("old", hours=1), a_run("check", "full_check", hours=3)):
        log.start(run)
        log.finish(ended(run))
    log.start(a_run("unfinished", hours=4))
    newest = log.latest("sweep")
    assert newest is not None
    assert newest.run_id == "new"


def test_finishing_one_leaves_the_others(engine: Engine) -> None:
    log = RunLog(engine)
    log.start(a_run("r1"))
    log.start(a_run("r2"))
    log.finish(ended(a_run("r2")))
    assert {row["run_id"]: row["outcome"] for row in rows_of(engine, schema.runs)} == {"r1": None, "r2": "clean"}


def test_prune_forgets_old_sweeps_only(engine: Engine) -> None:
    log = RunLog(engine)
    for run in (a_run("old"), a_run("edge", hours=1), a_run("new", hours=2), a_run("old check", "full_check")):
        log.start(run)
        log.finish(ended(run))
    log.start(a_run("interrupted"))

    assert log.prune(NOW + HOUR + timedelta(minutes=5)) == 1

    assert run_ids(engine) == {"edge", "new", "old check", "interrupted"}
    assert log.prune(NOW + HOUR) == 0


def silence(engine: Engine, run_id: str, by: timedelta) -> None:
    """As if its process had given its last sign of life so long ago, on the database's clock."""
    with engine.begin() as connection:
        moment = before(connection, by)
        connection.execute(sa.update(schema.runs).where(schema.runs.c.run_id == run_id).values(alive_at=moment))


def test_a_run_that_fell_silent_was_interrupted(engine: Engine) -> None:
    log = RunLog(engine)
    for run in (a_run("dead", "full_check"), a_run("alive", "full_check", hours=1), a_run("done", hours=2)):
        log.start(run)
    log.finish(ended(a_run("done", hours=2)))
    silence(engine, "dead", SILENT_FOR + timedelta(seconds=1))
    silence(engine, "alive", SILENT_FOR - timedelta(minutes=1))
    silence(engine, "done", 9 * HOUR)
    shown = {one.run_id: (one.outcome, one.finished_at is None) for one in log.newest(("full_check",), 10)}
    assert shown == {"dead": ("interrupted", True), "alive": (None, True)}, "before anybody marked it"

    [lost] = log.end_silent()

    assert (lost.run_id, lost.outcome, lost.counts) == ("dead", "interrupted", {})
    assert lost.error == "its process ended, or its machine, before the run did; nothing it had committed is lost"
    row = {row["run_id"]: row for row in rows_of(engine, schema.runs)}
    assert row["dead"]["finished_at"] == row["dead"]["alive_at"], "when it was last known to live"
    assert (row["alive"]["finished_at"], row["alive"]["outcome"]) == (None, None)
    assert row["done"]["outcome"] == "clean"
    assert log.end_silent() == []


def test_a_sign_of_life_keeps_a_run(engine: Engine) -> None:
    log = RunLog(engine)
    log.start(a_run("slow"))
    silence(engine, "slow", HOUR)

    log.beat("slow")

    assert log.end_silent() == []


def test_one_that_was_only_silent_says_itself_how_it_ended(engine: Engine) -> None:
    log = RunLog(engine)
    log.start(a_run("slept"))
    silence(engine, "slept", HOUR)
    assert [one.run_id for one in log.end_silent()] == ["slept"]

    log.finish(ended(a_run("slept")))

    [row] = rows_of(engine, schema.runs)
    assert (row["outcome"], row["error"]) == ("clean", None)


def test_newest_are_the_last_of_their_kinds(engine: Engine) -> None:
    log = RunLog(engine)
    for hours, (run_id, kind) in enumerate([("c1", "full_check"), ("s1", "sweep"), ("c2", "campaign_check")]):
        log.start(a_run(run_id, kind, hours=hours))
    assert [one.run_id for one in log.newest(("full_check", "campaign_check"), 10)] == ["c2", "c1"]
    assert [one.run_id for one in log.newest(("full_check", "sweep", "campaign_check"), 2)] == ["c2", "s1"]


def test_a_run_id_is_used_once(engine: Engine) -> None:
    log = RunLog(engine)
    log.start(a_run("r1"))
    with pytest.raises(Defect, match="runs"):
        log.start(a_run("r1", hours=1))


def test_the_ledger_says_who_it_is(engine: Engine) -> None:
    [row] = rows_of(engine, schema.ledger_identity)
    assert ledger_position(engine).ledger_id == row["ledger_id"]
