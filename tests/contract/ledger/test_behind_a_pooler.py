"""The ledger behind PgBouncer in transaction mode, where each transaction may meet another session of the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url
from structlog.testing import capture_logs

from reconciler.devstack.postgres import USER
from reconciler.domain.batch import Outcome
from reconciler.errors import Outage
from reconciler.ledger.engine import open_engine, reading, reading_once, rehearsing, writing
from reconciler.ledger.limits import Limits
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.operations.lease import Lease
from reconciler.ledger.proof.verify import SqlVerifier
from reconciler.ledger.revisions import require_current
from tests.support.ledger import STAMP, journal_of, ledger_is_sound, request, requests
from tests.support.ledger import asking as batch_of
from tests.support.pgbouncer import PgBouncer

WANTED = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "synchronous_commit": "on",
    "jit": "off",
    "client_encoding": "UTF8",
    "lock_timeout": "15s",
    "statement_timeout": "15min",
    "idle_in_transaction_session_timeout": "5min",
}


@pytest.fixture(params=["refuses options", "drops options", "a pool of whole sessions"])
def bouncer(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[PgBouncer]:
    settings = {
        "refuses options": {},
        "drops options": {"ignore_startup_parameters": "options,extra_float_digits"},
        "a pool of whole sessions": {"pool_mode": "session", "default_pool_size": "30"},
    }[request.param]
    port = make_url(postgres_url).port
    assert port is not None
    with PgBouncer(port, **settings) as bouncer:
        yield bouncer


@pytest.fixture
def pooled_url(bouncer: PgBouncer, postgres_url: str) -> str:
    return bouncer.url(make_url(postgres_url).database)


@pytest.fixture
def pooled(pooled_url: str) -> Iterator[Engine]:
    engine = open_engine(pooled_url)
    upgrade(engine)
    yield engine
    engine.dispose()


def settings_in(connection: sa.Connection) -> dict[str, str]:
    names = ", ".join(f"current_setting('{name}') AS \"{name}\"" for name in WANTED)
    return dict(connection.execute(sa.text(f"SELECT {names}")).mappings().one())


def test_many_who_post_at_once_pay_everybody_once(pooled: Engine, pooled_url: str) -> None:
    """More often each than it takes for a driver to prepare its statements in the server."""
    require_current(pooled)
    due = [[request(f"p{round_}", campaign=f"c{round_}")] for round_ in range(12)]
    outcomes: list[Outcome] = []

    def pay() -> None:
        engine = open_engine(pooled_url)
        for batch in due:
            outcomes.extend(journal_of(engine).post(batch_of(batch), STAMP).outcomes.values())
        engine.dispose()

    threads = [threading.Thread(target=pay) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == sorted([Outcome.NEW] * 12 + [Outcome.EXISTS] * 36)
    ledger_is_sound(pooled)
    assert not SqlVerifier(pooled).verify().faults


def test_every_transaction_has_the_settings_that_the_ledger_rests_on(pooled: Engine, bouncer: PgBouncer) -> None:
    with psycopg.connect(
        host="127.0.0.1", port=bouncer.port, user=USER, dbname=pooled.url.database, autocommit=True
    ) as other:
        # What another client leaves behind in the sessions that all share.
        for setting in ("timezone = 'Asia/Kolkata'", "datestyle = 'SQL, DMY'", "synchronous_commit = off", "jit = on"):
            other.execute(f"SET {setting}")
        for transaction in (reading, writing, reading_once, rehearsing):
            for _ in range(3):
                with transaction(pooled) as connection:
                    assert settings_in(connection) == WANTED


def test_nothing_of_ours_is_left_to_the_next_client(pooled: Engine, bouncer: PgBouncer) -> None:
    database = pooled.url.database
    for transaction in (reading, writing, reading_once):
        for _ in range(3):
            with transaction(pooled) as connection:
                connection.execute(sa.text("SELECT 1"))
    for _ in range(3):
        with psycopg.connect(host="127.0.0.1", port=bouncer.port, user=USER, dbname=database) as other:
            [found] = other.execute(
                "SELECT (current_setting('transaction_read_only'), current_setting('transaction_isolation'),"
                " current_setting('lock_timeout'), current_setting('statement_timeout'))::text"
            ).fetchone() or [None]
            assert found == '(off,"read committed",0,0)'
            assert other.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_the_options_of_the_url_hold_too(bouncer: PgBouncer, postgres_url: str) -> None:
    direct = open_engine(postgres_url)
    with writing(direct) as connection:
        connection.execute(sa.text("CREATE SCHEMA payouts"))
    engine = open_engine(bouncer.url(direct.url.database, "?options=-csearch_path%3Dpayouts%20-c%20lock_timeout%3D7s"))
    upgrade(engine)

    with reading(direct) as connection:
        assert sa.inspect(connection).get_table_names(schema="public") == []
        assert "payouts" in sa.inspect(connection).get_table_names(schema="payouts")
    with writing(engine) as connection:
        assert settings_in(connection) == {**WANTED, "lock_timeout": "7s"}
    direct.dispose()
    engine.dispose()


def test_the_lease_changes_hands(pooled: Engine) -> None:
    a, b = (Lease(pooled, name="paying", holder=holder, ttl=timedelta(minutes=1)) for holder in "ab")
    assert (a.acquire(), b.acquire(), a.acquire()) == (1, None, 1)
    a.resign()
    assert b.acquire() == 2


def test_a_thousand_payouts_are_read_back_from_one_snapshot(pooled: Engine) -> None:
    journal_of(pooled).post(batch_of(requests(1000, budget=3_300_000)), STAMP)
    with reading(pooled) as connection:
        rows = sa.text("SELECT sequence FROM entries")
        found = connection.execution_options(stream_results=True, max_row_buffer=100).execute(rows)
        assert len(found.all()) == 1001
    assert not SqlVerifier(pooled).verify().faults


def test_a_long_statement_goes_on_and_a_lock_is_named(pooled: Engine, pooled_url: str) -> None:
    """The session that a statement runs in is asked after by the server's own number, not by the pooler's."""
    engine = open_engine(pooled_url, Limits(answer_s=0.5, lock_s=2, hold_s=30))
    with writing(engine) as connection:
        assert connection.execute(sa.text("SELECT 'done' FROM pg_sleep(1.5)")).scalar_one() == "done"
    with writing(pooled) as holding, capture_logs() as logs, pytest.raises(Outage, match="idle in transaction"):
        holding.execute(sa.text("SELECT * FROM chain_head FOR UPDATE"))
        journal_of(engine).post(batch_of([request("p1")]), STAMP)
    assert "lock_waited_for" in {line["action"] for line in logs}
    engine.dispose()
