"""Real servers for the tests: one of each a session, one fresh database a test.

Nothing here skips. A server that cannot start is a failed suite: half of what is promised can only be seen on a
real one. Tests that hurt a server start their own (`ReplicaSet`, `Postgres`), and leave these alone.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from app.parts import Parts, parts_of
from reconciler.config import Settings, load
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.connection import Connection, connect
from reconciler.mongo.indexes import create_missing
from tests.support.leaks import nothing_left_open
from tests.support.platform import Platform
from tests.support.servers import Postgres, ReplicaSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database
    from sqlalchemy.engine import Engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, an equal share of it in each worker, so that none works alone at the end."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if "faults" in item.path.parts]
    rest = [item for item in items if "faults" not in item.path.parts]
    # Tests of one file stay together, since they may share servers; deaths share nothing, and take longest.
    deaths = [item for item in slow if item.path.stem == "test_crash_points"]
    files = sorted({item.path for item in slow} - {item.path for item in deaths})
    shares = [
        [*deaths[worker::workers], *(item for item in slow if item.path in files[worker::workers])]
        for worker in range(workers)
    ]
    cuts = [len(rest) * worker // workers for worker in range(workers + 1)]
    items[:] = [item for worker in range(workers) for item in (*shares[worker], *rest[cuts[worker] : cuts[worker + 1]])]


@pytest.fixture(autouse=True)
def _no_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set up first and torn down last, so that what other fixtures close is closed."""
    with nothing_left_open(monkeypatch):
        yield


@pytest.fixture(scope="session")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """A replica set of one node."""
    with ReplicaSet(tmp_path_factory.mktemp("mongodb")) as replica_set:
        yield replica_set


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as postgres:
        yield postgres


@pytest.fixture
def mongo_uri(replica_set: ReplicaSet) -> str:
    """The replica set's URI, without a database."""
    return replica_set.uri


@pytest.fixture
def mongo_database(mongo_uri: str) -> Iterator[Database[dict[str, Any]]]:
    """An empty database; dates are read as aware UTC."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_uri, tz_aware=True, serverSelectionTimeoutMS=10_000)
    with client:
        database = client[f"test_{uuid4().hex}"]
        yield database
        client.drop_database(database.name)


@pytest.fixture
def mongo_connection(mongo_uri: str, mongo_database: Database[dict[str, Any]]) -> Iterator[Connection]:
    """The product's own connection to the test's database."""
    connection = connect(mongo_uri, mongo_database.name, wait_max_s=10)
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: Postgres) -> str:
    """The name of a database with a ledger's tables, to be copied: that takes half as long as making them anew."""
    name = f"migrated_{uuid4().hex}"
    engine = open_engine(postgres_server.create_database(name))
    upgrade(engine)
    engine.dispose()
    return name


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a ledger's tables, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "ledger.db"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def with_tables() -> None:
    """Whoever takes it finds the tables of a ledger where ``ledger_url`` points; it is empty otherwise."""


@pytest.fixture
def postgres_url(postgres_server: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """A PostgreSQL database's URL; whoever is still connected at the end is thrown out."""
    name = f"test_{uuid4().hex}"
    copied = "with_tables" in request.fixturenames
    yield postgres_server.create_database(name, request.getfixturevalue("migrated_postgres") if copied else None)
    postgres_server.drop_database(name)


@pytest.fixture
def sqlite_url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A SQLite file's URL; without :func:`with_tables` the file does not exist yet."""
    path = tmp_path / "ledger.db"
    if "with_tables" in request.fixturenames:
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """Each test that takes it runs on both; PostgreSQL starts only when the first such test does."""
    url = request.getfixturevalue(f"{request.param}_url")
    assert isinstance(url, str)
    return url


@pytest.fixture
def engine(with_tables: None, ledger_url: str) -> Iterator[Engine]:
    """An empty ledger with its tables in place."""
    engine = open_engine(ledger_url)
    yield engine
    engine.dispose()


@pytest.fixture
def platform(mongo_database: Database[dict[str, Any]]) -> Platform:
    return Platform(mongo_database)


@pytest.fixture
def settings(mongo_uri: str, mongo_database: Database[dict[str, Any]], ledger_url: str) -> Settings:
    """Settings for both test databases; a test that takes them runs on SQLite and on PostgreSQL."""
    overrides = {"mongodb.uri": mongo_uri, "mongodb.database": mongo_database.name, "ledger.url": ledger_url}
    return load(None, {}, overrides)


@pytest.fixture
def parts(with_tables: None, settings: Settings) -> Iterator[Parts]:
    """The product, wired to the test servers, with its tables and indexes in place."""
    with parts_of(settings) as parts:
        create_missing(parts.connection, settings.mapping)
        yield parts
