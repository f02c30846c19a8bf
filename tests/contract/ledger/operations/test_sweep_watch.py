"""Whether whoever is due should have been paid by now: only a sweep that began after the fact was read can tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.engine import Engine

from reconciler.clock import utc_now
from reconciler.ledger.operations.lease import PAYING, Lease
from reconciler.ledger.operations.runs import RunLog
from reconciler.ledger.operations.sweep_watch import SqlSweepWatch
from reconciler.ports.runs import RunRecord
from tests.support.ledger import decisions_of

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
READ_AT = utc_now() - HOUR


@pytest.fixture
def watch(engine: Engine) -> SqlSweepWatch:
    """A daemon is there to sweep."""
    assert Lease(engine, name=PAYING, holder="daemon", ttl=HOUR).acquire() == 1
    return SqlSweepWatch(engine, pays=True)


def swept(engine: Engine, *, began: timedelta, ended: timedelta | None, outcome: str = "complete") -> None:
    """A sweep, beside when the fact was read."""
    log, run = RunLog(engine), RunRecord(run_id="r", kind="sweep", trigger="schedule", started_at=READ_AT + began)
    log.start(run)
    if ended is not None:
        log.finish(replace(run, finished_at=READ_AT + ended, outcome=outcome))


def test_before_any_sweep_it_is_on_its_way(watch: SqlSweepWatch) -> None:
    assert not watch.must_be_paid(READ_AT)


def test_a_sweep_that_began_before_the_fact_was_read_has_not_passed_by_it(engine: Engine, watch: SqlSweepWatch) -> None:
    """It may have looked at the participation before it was due: a false break of severity error, and exit code 1."""
    swept(engine, began=-SECOND, ended=10 * SECOND)
    assert not watch.must_be_paid(READ_AT)


def test_a_sweep_that_began_after_it_and_ended_has(engine: Engine, watch: SqlSweepWatch) -> None:
    swept(engine, began=timedelta(), ended=10 * SECOND)
    assert watch.must_be_paid(READ_AT)


@pytest.mark.parametrize("outcome", ["failed", "stopped", "interrupted"])
def test_a_sweep_that_did_not_get_through_has_not(engine: Engine, watch: SqlSweepWatch, outcome: str) -> None:
    swept(engine, began=SECOND, ended=10 * SECOND, outcome=outcome)
    assert not watch.must_be_paid(READ_AT)


def test_a_sweep_that_goes_on_has_not(engine: Engine, watch: SqlSweepWatch) -> None:
    swept(engine, began=SECOND, ended=None)
    assert not watch.must_be_paid(READ_AT)


def test_where_nobody_sweeps_nothing_is_on_its_way(engine: Engine, watch: SqlSweepWatch) -> None:
    assert SqlSweepWatch(engine, pays=False).must_be_paid(READ_AT)
    decisions_of(engine).halt("chain_broken", "a test")
    assert watch.must_be_paid(READ_AT)
