"""The migrated database is exactly the schema that the code reads, on both databases, however often it is migrated."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import Engine

from reconciler.errors import NotMigrated, UsageError
from reconciler.ledger import schema
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.revisions import current_revision, head_revision, require_current
from tests.support.ledger import everything, rows_of
from tests.support.servers import Postgres


def described(engine: Engine) -> dict[str, Any]:
    """Columns, keys, constraints and indexes of every table, as the database tells them."""
    inspector = sa.inspect(engine)
    return {
        name: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"], column["default"])
                for column in inspector.get_columns(name)
            },
            "primary key": _plain(inspector.get_pk_constraint(name)),
            "unique": _plain(inspector.get_unique_constraints(name)),
            "foreign keys": _plain(inspector.get_foreign_keys(name)),
            "checks": _plain(inspector.get_check_constraints(name)),
            "indexes": _plain(inspector.get_indexes(name)),
        }
        for name in inspector.get_table_names()
        if name != "alembic_version"
    }


def _plain(found: Any) -> Any:
    """As text and in order: the inspector's answers hold SQL expressions, which do not compare."""
    if isinstance(found, dict):
        return {key: _plain(value) for key, value in found.items()}
    if isinstance(found, list) and found and isinstance(found[0], dict):
        return sorted(str(_plain(value)) for value in found)
    return str(found)


@pytest.fixture
def created_from_metadata(engine: Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Engine:
    """A second database, made by `create_all` instead of the migrations."""
    file = tmp_path / "created.db"
    # To open a file that is not there would make a ledger by looking.
    file.touch()
    url = f"sqlite:///{file}"
    if engine.dialect.name == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        name = f"created_{uuid4().hex}"
        url = server.create_database(name)
        request.addfinalizer(lambda: server.drop_database(name))
    other = open_engine(url)
    request.addfinalizer(other.dispose)
    schema.metadata.create_all(other)
    return other


def test_alembic_finds_no_difference(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_migrations_make_what_the_metadata_says(engine: Engine, created_from_metadata: Engine) -> None:
    migrated, created = described(engine), described(created_from_metadata)

    assert set(migrated) == {table.name for table in schema.metadata.sorted_tables}
    for table, parts in created.items():
        assert migrated[table] == parts, table
    # The inspector sees them: otherwise the comparison above compares nothing with nothing.
    assert any("escrow_not_negative" in check for check in migrated["accounts"]["checks"])
    assert len(migrated["payouts"]["unique"]) == 2


def test_sqlite_tables_have_no_hidden_key(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    upgrade(engine)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").all()
    engine.dispose()
    assert {name for name, sql in rows if "WITHOUT ROWID" not in sql} == {"alembic_version"}


def test_a_new_ledger_has_an_identity_of_its_own(engine: Engine) -> None:
    [ledger] = rows_of(engine, schema.ledger_identity)
    [head] = rows_of(engine, schema.chain_head)
    assert len(ledger["ledger_id"]) == 36
    assert (head["batch"], head["sequence"], len(head["hash"])) == (0, 0, 64)


def test_upgrading_twice_changes_nothing(engine: Engine) -> None:
    before = everything(engine)

    assert upgrade(engine) == (head_revision(), head_revision())
    require_current(engine)

    assert everything(engine) == before


def test_require_current_migrates_sqlite(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    assert current_revision(engine) is None

    require_current(engine)

    assert current_revision(engine) == head_revision()
    engine.dispose()


def test_require_current_leaves_postgresql_to_a_person(postgres_url: str) -> None:
    engine = open_engine(postgres_url)

    with pytest.raises(NotMigrated, match=r"has no tables yet.* run `python run\.py migrate`"):
        require_current(engine)

    assert sa.inspect(engine).get_table_names() == []
    upgrade(engine)
    require_current(engine)
    engine.dispose()


@pytest.mark.parametrize("act", [require_current, upgrade])
def test_a_newer_ledger_is_refused(engine: Engine, act: Callable[[Engine], object]) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        # Recorded by a migration that does not only add.
        connection.exec_driver_sql("INSERT INTO compatibility (oldest_program) VALUES ('9999')")
    before = everything(engine)

    with pytest.raises(UsageError, match="9999, which is newer than this program") as refused:
        act(engine)

    assert not isinstance(refused.value, NotMigrated)
    assert everything(engine) == before


def test_upgrades_at_once_wait_for_each_other(ledger_url: str) -> None:
    barrier = Barrier(4)

    def migrate() -> tuple[str | None, str]:
        engine = open_engine(ledger_url)
        try:
            barrier.wait()
            return upgrade(engine)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        results = [future.result() for future in [pool.submit(migrate) for _ in range(4)]]

    head = head_revision()
    assert sorted(results, key=str) == [(head, head)] * 3 + [(None, head)]
    engine = open_engine(ledger_url)
    assert len(rows_of(engine, schema.ledger_identity)) == 1
    engine.dispose()
