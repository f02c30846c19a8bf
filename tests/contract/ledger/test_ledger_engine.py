"""No driver's exception leaves the ledger: what it was is told in one sentence and without a password."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.devstack.postgres import PASSWORD
from reconciler.devstack.process import free_port
from reconciler.domain.batch import Outcome
from reconciler.errors import Defect, Outage, ReconcilerError, Refused
from reconciler.ledger import engine as engine_module
from reconciler.ledger import schema
from reconciler.ledger.engine import masked_url, open_engine, reading, writing
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from reconciler.ledger.revisions import require_current
from tests.support.ledger import STAMP, asking, everything, journal_of, ledger_is_sound, request, rows_of
from tests.support.servers import Postgres


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server that the tests of this file may hurt; each leaves it running."""
    with Postgres(tmp_path_factory.mktemp("own_postgres")) as postgres:
        yield postgres


@pytest.fixture
def own_ledger(own_postgres: Postgres) -> Iterator[Engine]:
    own_postgres.drop_database("own")
    engine = open_engine(own_postgres.create_database("own"))
    upgrade(engine)
    yield engine
    engine.dispose()


def is_for_people(error: ReconcilerError) -> None:
    for text in (str(error), repr(error)):
        assert PASSWORD not in text
        assert "[SQL" not in text
        assert "\n" not in text
    assert len(str(error)) > 30


def test_a_killed_postgresql_is_an_outage_until_it_is_back(own_postgres: Postgres, own_ledger: Engine) -> None:
    journal, reader = journal_of(own_ledger), SqlLedgerReads(own_ledger)
    journal.post(asking([request("p1")]), STAMP)

    own_postgres.kill()
    try:
        for act in (
            lambda: journal.post(asking([request("p2")]), STAMP),
            reader.open_holds,
            lambda: upgrade(own_ledger),
            lambda: require_current(own_ledger),
        ):
            with pytest.raises(Outage) as outage:
                act()
            is_for_people(outage.value)
            assert str(outage.value).startswith("The ledger's database cannot be reached: ")
    finally:
        own_postgres.restart()

    # The same engine goes on, and has not forgotten who was paid.
    found = journal.post(asking([request("p1"), request("p2", campaign="c2")]), STAMP).outcomes
    assert list(found.values()) == [Outcome.EXISTS, Outcome.NEW]
    ledger_is_sound(own_ledger)


def test_a_postgresql_that_dies_in_the_middle_of_a_batch_posts_nothing(
    own_postgres: Postgres, own_ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(own_ledger)

    def kill(**_: Any) -> str:
        own_postgres.kill()
        return "0" * 64

    try:
        with monkeypatch.context() as patch, pytest.raises(Outage) as outage:
            patch.setattr("reconciler.ledger.journal.writing.batch_hash", kill)
            journal_of(own_ledger).post(asking([request("p1")]), STAMP)
    finally:
        own_postgres.restart()

    is_for_people(outage.value)
    assert everything(own_ledger) == before


def test_nobody_at_the_address_is_an_outage() -> None:
    engine = open_engine(f"postgresql://ledger:{PASSWORD}@127.0.0.1:{free_port()}/ledger")
    with pytest.raises(Outage) as outage:
        require_current(engine)
    is_for_people(outage.value)


def test_a_database_that_is_not_there_is_refused(own_postgres: Postgres) -> None:
    engine = open_engine(own_postgres.database_url("nowhere"))
    with pytest.raises(Refused, match=r'"nowhere" does not exist. Create the database') as refused:
        require_current(engine)
    is_for_people(refused.value)


def test_a_locked_sqlite_file_is_an_outage(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_MS", 50)
    engine = open_engine(sqlite_url)
    upgrade(engine)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(Outage, match="database is locked") as outage:
        journal_of(engine).post(asking([request()]), STAMP)
    assert SqlLedgerReads(engine).totals() == []  # who reads does not wait

    other.execute("ROLLBACK")
    other.close()
    is_for_people(outage.value)
    assert list(journal_of(engine).post(asking([request()]), STAMP).outcomes.values()) == [Outcome.NEW]
    engine.dispose()


def test_a_new_file_that_another_one_is_writing_to_is_waited_for(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two daemons that start on a new file: SQLite refuses the second's switch to WAL at once, without waiting."""
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waits = []

    def until_the_other_is_done(seconds: float) -> None:
        waits.append(seconds)
        other.execute("ROLLBACK")

    monkeypatch.setattr("reconciler.ledger.engine.time.sleep", until_the_other_is_done)
    engine = open_engine(sqlite_url)
    upgrade(engine)

    other.close()
    engine.dispose()
    assert waits == [engine_module.WAL_RETRY_S]


def test_a_file_that_is_no_database_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("this is no database, and must stay what it is\n" * 100)
    before = path.read_bytes()

    with pytest.raises(Refused, match=r"file is not a database. .*`python run.py ledger verify`") as told:
        require_current(open_engine(f"sqlite:///{path}"))

    is_for_people(told.value)
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(Outage, match="unable to open database file"):
        require_current(open_engine(f"sqlite:///{tmp_path / 'absent' / 'ledger.db'}"))


def test_what_a_trigger_refuses_is_a_defect_and_changes_nothing(engine: Engine) -> None:
    journal_of(engine).post(asking([request()]), STAMP)
    with pytest.raises(Defect, match="the journal is append-only") as defect, writing(engine) as connection:
        connection.execute(sa.update(schema.payouts).values(trigger="rewritten"))
    is_for_people(defect.value)
    ledger_is_sound(engine)


def test_what_raises_is_rolled_back(engine: Engine) -> None:
    before = everything(engine)
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        connection.execute(sa.update(schema.chain_head).values(batch=7))
        raise ZeroDivisionError
    assert everything(engine) == before


def test_a_read_sees_one_moment(engine: Engine) -> None:
    count = sa.select(sa.func.count()).select_from(schema.payouts)
    with reading(engine) as connection:
        assert connection.execute(count).scalar_one() == 0
        journal_of(engine).post(asking([request()]), STAMP)
        assert connection.execute(count).scalar_one() == 0
    assert len(rows_of(engine, schema.payouts)) == 1


def test_sqlite_is_set_to_survive_a_power_cut(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    upgrade(engine)
    with reading(engine) as connection:
        found = {
            pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 15_000}


def test_postgresql_commits_durably_and_tells_times_in_utc(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with reading(engine) as connection:
        found = [
            connection.exec_driver_sql(f"SHOW {setting}").scalar_one()
            for setting in ("synchronous_commit", "timezone", "transaction_isolation", "transaction_read_only")
        ]
    with writing(engine) as connection:
        found.append(connection.exec_driver_sql("SHOW transaction_isolation").scalar_one())
    engine.dispose()
    assert found == ["on", "UTC", "repeatable read", "on", "read committed"]


def test_the_url_is_shown_without_its_password(ledger_url: str) -> None:
    assert PASSWORD not in masked_url(open_engine(ledger_url))


def test_connections_that_died_while_they_lay_idle_are_replaced_unseen(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.ledger.postgres.IDLE_S", 0)
    engine, other = open_engine(postgres_url), open_engine(postgres_url)
    mine = sa.text("SELECT pg_backend_pid()")
    with reading(engine) as first, reading(engine) as second:
        dead = {first.execute(mine).scalar_one(), second.execute(mine).scalar_one()}
    with writing(other) as connection:
        for process_id in dead:
            connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": process_id})
    with reading(engine) as first, reading(engine) as second:
        alive = {first.execute(mine).scalar_one(), second.execute(mine).scalar_one()}
    assert alive.isdisjoint(dead)
    engine.dispose()
    other.dispose()


def test_a_server_that_takes_no_writes_loses_all_connections_to_it(postgres_url: str) -> None:
    """They lead to what was the primary; the address may lead to the new one already."""
    engine = open_engine(postgres_url)
    upgrade(engine)
    mine = sa.text("SELECT pg_backend_pid()")
    with reading(engine) as first, reading(engine) as second:
        misled = {first.execute(mine).scalar_one(), second.execute(mine).scalar_one()}

    with pytest.raises(Outage, match="read-only"), writing(engine) as connection:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.execute(sa.update(schema.chain_head).values(batch=7))

    with reading(engine) as first, reading(engine) as second:
        found = {first.execute(mine).scalar_one(), second.execute(mine).scalar_one()}
    assert found.isdisjoint(misled)
    engine.dispose()


def test_a_full_disk_is_an_outage_and_leaves_nothing(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    upgrade(engine)
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    limit = sa.event.listens_for(engine, "begin")
    limit(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}"))

    with pytest.raises(Outage, match="cannot do it now: database or disk is full"):
        for number in range(200):
            journal_of(engine).post(asking([request(f"p{number}", campaign=f"c{number}")]), STAMP)
    ledger_is_sound(engine)
    engine.dispose()


def test_a_plan_of_before_an_altered_table_is_let_go_with_its_connection(own_ledger: Engine) -> None:
    query = sa.text("SELECT * FROM runs")
    with writing(own_ledger) as connection:
        for _ in range(8):  # the driver prepares what it is asked often
            connection.execute(query).all()
    other = open_engine(own_ledger.url.render_as_string(hide_password=False))
    with writing(other) as altering:
        altering.exec_driver_sql("ALTER TABLE runs ADD COLUMN note text")
    other.dispose()

    with pytest.raises(Outage, match="cached plan"), writing(own_ledger) as connection:
        connection.execute(query).all()
    with writing(own_ledger) as connection:
        assert connection.execute(query).all() == []


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_of_another_encoding_is_refused_when_it_is_migrated(own_postgres: Postgres, encoding: str) -> None:
    name = f"as_{encoding.lower()}"
    maker = open_engine(own_postgres.url)
    with maker.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        locale = "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING '{encoding}' {locale}")
    engine = open_engine(own_postgres.database_url(name))
    with pytest.raises(Refused, match=f"its encoding is {encoding}, .* ENCODING 'UTF8'"):
        upgrade(engine)
    with reading(engine) as connection:
        assert not sa.inspect(connection).get_table_names()
    engine.dispose()
    maker.dispose()


def test_the_options_of_the_url_are_kept_beside_ours(postgres_url: str) -> None:
    options = "-csearch_path%3Dpayouts%20-c%20lock_timeout%3D7s%20-c%20timezone%3DAsia/Kolkata%20-c%20datestyle%3DSQL"
    query = f"?options={options}&application_name=payouts-eu&connect_timeout=3&target_session_attrs=read-write"
    engine = open_engine(f"{postgres_url}{query}")
    with reading(engine) as connection:
        shown = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("search_path", "lock_timeout", "application_name", "timezone", "datestyle", "client_encoding")
        }
        driver: Any = connection.connection.driver_connection
        assert driver.info.get_parameters()["connect_timeout"] == "3"
    assert shown == {
        "search_path": "payouts",
        "lock_timeout": "7s",
        "application_name": "payouts-eu",
        # What the ledger rests on is ours.
        "timezone": "UTC",
        "datestyle": "ISO, MDY",
        "client_encoding": "UTF8",
    }
    engine.dispose()


def test_what_the_environment_tells_every_client_of_postgresql_is_kept_too(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search_path, say: without it another schema would hold another ledger, and everybody would be paid again."""
    monkeypatch.setenv("PGOPTIONS", "-c search_path=payouts -c lock_timeout=7s")
    monkeypatch.setenv("PGAPPNAME", "payouts-eu")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "3")
    for query, found in (("", "payouts, 7s"), ("?options=-csearch_path%3Delsewhere", "elsewhere, 15s")):
        engine = open_engine(f"{postgres_url}{query}")
        with reading(engine) as connection:
            shown = [
                connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in ("search_path", "lock_timeout")
            ]
            driver: Any = connection.connection.driver_connection
            said = driver.info.get_parameters()
        engine.dispose()
        assert ", ".join(shown) == found
        assert (said["application_name"], said["connect_timeout"]) == ("payouts-eu", "3")


@pytest.mark.parametrize("encoding", ["latin1", "sql_ascii"])
def test_an_encoding_that_the_url_asks_for_keeps_nobody_from_being_paid(own_ledger: Engine, encoding: str) -> None:
    engine = open_engine(f"{own_ledger.url.render_as_string(hide_password=False)}?client_encoding={encoding}")
    outcomes = journal_of(engine).post(asking([request("p-é-अ")]), STAMP).outcomes
    assert list(outcomes.values()) == [Outcome.NEW]
    ledger_is_sound(engine)
    engine.dispose()


def test_the_order_of_days_and_months_in_a_database_does_not_matter(own_postgres: Postgres, own_ledger: Engine) -> None:
    with writing(own_ledger) as connection:
        connection.exec_driver_sql("ALTER DATABASE own SET datestyle = 'SQL, DMY'")
    engine = open_engine(own_postgres.database_url("own"))
    journal_of(engine).post(asking([request()]), STAMP)
    ledger_is_sound(engine)
    engine.dispose()
