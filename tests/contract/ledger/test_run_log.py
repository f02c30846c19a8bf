"""The record of sweeps and checks: also of those that failed or never ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.engine import Engine

from reconciler.errors import InvariantBroken
from reconciler.ledger import schema
from reconciler.ledger.runs import RunLog, ledger_position
from reconciler.ports import RunRecord
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


def test_a_run_id_is_used_once(engine: Engine) -> None:
    log = RunLog(engine)
    log.start(a_run("r1"))
    with pytest.raises(InvariantBroken) as broken:
        log.start(a_run("r1", hours=1))
    assert broken.value.invariant == "ledger_refused_write"


def test_the_ledger_says_who_it_is(engine: Engine) -> None:
    [row] = rows_of(engine, schema.ledger_identity)
    assert ledger_position(engine).ledger_id == row["ledger_id"]
