"""Waiting for PostgreSQL has an end: for an answer that never comes, and for a lock that nobody gives back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url
from structlog.testing import capture_logs

from reconciler.domain.batch import Outcome
from reconciler.errors import Outage
from reconciler.ledger.engine import open_engine, reading, reading_once, writing
from reconciler.ledger.limits import Limits
from reconciler.ledger.migrate import upgrade
from tests.support.ledger import STAMP, journal_of, ledger_is_sound, request
from tests.support.ledger import asking as batch_of
from tests.support.silent_proxy import SilentProxy

QUICK = Limits(answer_s=0.5, lock_s=1.5, hold_s=1.5, statement_s=30)
WITHIN_S = 20.0
"""Far more than the limits say and far less than for ever: the machine may be busy."""


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[Engine]:
    """A ledger as others use it, past the proxy."""
    engine = open_engine(postgres_url)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[SilentProxy]:
    port = make_url(postgres_url).port
    assert port is not None
    with SilentProxy(port) as proxy:
        yield proxy


@pytest.fixture
def through(postgres_url: str, proxy: SilentProxy, ledger: Engine) -> Iterator[Engine]:
    """The same ledger, behind the proxy."""
    url = make_url(postgres_url).set(port=proxy.port)
    engine = open_engine(url.render_as_string(hide_password=False), QUICK)
    yield engine
    engine.dispose()


@contextmanager
def soon() -> Iterator[None]:
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < WITHIN_S


def test_connections_that_fell_silent_while_they_lay_idle_are_replaced(through: Engine, proxy: SilentProxy) -> None:
    journal = journal_of(through)
    journal.post(batch_of([request("p1")]), STAMP)

    proxy.silence()

    time.sleep(0.1)  # So long that a connection counts as idle.
    with soon():
        outcomes = journal.post(batch_of([request("p2", campaign="c2")]), STAMP).outcomes
    assert list(outcomes.values()) == [Outcome.NEW]


@pytest.mark.parametrize("word", [b"FOR UPDATE", b"INSERT INTO entries", b"COMMIT"])
def test_a_connection_that_falls_silent_in_a_batch_is_an_outage_and_the_next_try_pays(
    through: Engine, proxy: SilentProxy, word: bytes
) -> None:
    journal = journal_of(through)
    journal.is_halted()
    proxy.silence_at(word)

    with soon(), pytest.raises(Outage, match="fell silent"):
        journal.post(batch_of([request("p1")]), STAMP)

    with soon():
        journal.post(batch_of([request("p1")]), STAMP)
    ledger_is_sound(through)


@pytest.mark.parametrize("transaction", [reading, writing, reading_once])
def test_no_way_to_ask_waits_for_a_silent_server(through: Engine, proxy: SilentProxy, transaction: type) -> None:
    with reading(through) as connection:
        connection.execute(sa.text("SELECT 1"))
    proxy.silence(also_new=True)

    with soon(), pytest.raises(Outage), transaction(through) as connection:
        connection.execute(sa.text("SELECT 1"))

    proxy.speak()
    with soon(), transaction(through) as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_a_statement_that_the_server_works_on_may_take_long(through: Engine) -> None:
    with reading(through) as connection:
        assert connection.execute(sa.text("SELECT 'done' FROM pg_sleep(2)")).scalar_one() == "done"


def test_rows_that_are_read_slowly_are_read_to_the_end(through: Engine) -> None:
    rows = sa.text("SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
    with reading(through) as connection:
        found = connection.execution_options(stream_results=True).execute(rows)
        next(found)
        time.sleep(1.5)
        assert sum(1 for _ in found) == 19_999


def test_a_statement_that_takes_too_long_is_an_outage(postgres_url: str) -> None:
    engine = open_engine(postgres_url, Limits(statement_s=0.3))
    with soon(), pytest.raises(Outage, match="statement timeout"), reading(engine) as connection:
        connection.execute(sa.text("SELECT pg_sleep(60)"))
    engine.dispose()


def test_who_waits_for_a_lock_says_who_holds_it_and_since_when(ledger: Engine, postgres_url: str) -> None:
    engine = open_engine(postgres_url, QUICK)
    url = make_url(postgres_url)
    with psycopg.connect(
        host=url.host, port=url.port, user=url.username, dbname=url.database, application_name="somebody's console"
    ) as console:
        console.execute("SELECT * FROM chain_head FOR UPDATE")
        holder = console.info.backend_pid
        with soon(), capture_logs() as logs, pytest.raises(Outage) as outage:
            journal_of(engine).post(batch_of([request("p1")]), STAMP)

        assert f"session {holder} (somebody's console, role ledger, from 127.0.0.1, idle in transaction" in str(
            outage.value
        )
        assert "in a transaction since 20" in str(outage.value)
        assert [line["action"] for line in logs] == ["lock_waited_for"]
        # It is not ours to end: a person works there.
        console.execute("SELECT 1")
    with soon():
        journal_of(engine).post(batch_of([request("p1")]), STAMP)
    engine.dispose()


FROZEN = """
import sys, time
from reconciler.ledger.engine import open_engine, writing
from reconciler.ledger.journal.writing import lock_head
import sqlalchemy as sa
with writing(open_engine(sys.argv[1])) as connection:
    lock_head(connection)
    connection.execute(sa.text("SELECT 1 FROM leases FOR SHARE"))
    if sys.argv[2] == "pipeline":
        driver = connection.connection.driver_connection
        with driver.pipeline():
            driver.execute("SELECT 2")
            driver.pgconn.flush()
            print("ready", flush=True)
            time.sleep(600)
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("moment", ["between statements", "pipeline"])
def test_a_frozen_process_of_ours_loses_its_lock_to_whoever_waits(
    ledger: Engine, postgres_url: str, moment: str
) -> None:
    """In the middle of a pipeline the server counts it as active, so that no limit on idle transactions ends it."""
    engine = open_engine(postgres_url, QUICK)
    with subprocess.Popen(
        [sys.executable, "-c", FROZEN, postgres_url, moment], stdout=subprocess.PIPE, text=True
    ) as frozen:
        try:
            assert frozen.stdout is not None
            assert frozen.stdout.readline() == "ready\n"
            os.kill(frozen.pid, signal.SIGSTOP)
            with soon(), capture_logs() as logs:
                while True:
                    try:
                        journal_of(engine).post(batch_of([request("p1")]), STAMP)
                        break
                    except Outage as outage:
                        assert "payout-reconciler" in str(outage)
        finally:
            frozen.kill()
    assert "lock_holder_ended" in {line["action"] for line in logs}
    ledger_is_sound(engine)
    engine.dispose()


def test_a_process_of_ours_that_works_keeps_its_lock(ledger: Engine, postgres_url: str) -> None:
    engine = open_engine(postgres_url, QUICK)
    with writing(ledger) as busy:
        busy.execute(sa.text("SELECT * FROM chain_head FOR UPDATE"))
        working = threading.Thread(target=busy.execute, args=[sa.text("SELECT pg_sleep(4)")])
        working.start()
        with soon(), capture_logs() as logs, pytest.raises(Outage, match="payout-reconciler"):
            journal_of(engine).post(batch_of([request("p1")]), STAMP)
        working.join()
        assert "lock_holder_ended" not in {line["action"] for line in logs}
        busy.execute(sa.text("SELECT 1"))
    engine.dispose()
