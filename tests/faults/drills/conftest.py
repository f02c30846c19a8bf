"""Servers that drills may hurt, a daemon's settings, and the table at the end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.support.command_line import CommandLine
from tests.support.drills import PROPERTY, Drill, postgres_ledger
from tests.support.platform import Platform
from tests.support.servers import Postgres

if TYPE_CHECKING:
    from pymongo.database import Database

LEASE_TTL_S = "6"
"""A stand-by takes over within it; the default is longer, and is drilled by nobody who waits for a suite."""


@pytest.fixture(scope="session")
def hurt_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("hurt_postgres")) as postgres:
        yield postgres


@pytest.fixture
def database(hurt_postgres: Postgres) -> Iterator[str]:
    """The name of an empty database on it."""
    name = f"drill_{uuid4().hex[:12]}"
    hurt_postgres.create_database(name)
    yield name
    hurt_postgres.drop_database(name)


@pytest.fixture
def run_py(
    mongo_uri: str, mongo_database: Database[dict[str, Any]], hurt_postgres: Postgres, database: str, tmp_path: Path
) -> CommandLine:
    """Quick sweeps and a short lease; waits are the defaults, since they are what is drilled."""
    run_py = CommandLine(
        folder=tmp_path,
        settings={
            "MONGODB_URI": mongo_uri,
            "LEDGER_URL": hurt_postgres.database_url(database),
            "RECONCILER__MONGODB__DATABASE": mongo_database.name,
            "RECONCILER__SWEEP__INTERVAL_S": "2",
            "RECONCILER__SWEEP__LEASE_TTL_S": LEASE_TTL_S,
        },
    )
    assert run_py.run("migrate").code == 0
    return run_py


@pytest.fixture
def drill(
    run_py: CommandLine,
    mongo_database: Database[dict[str, Any]],
    hurt_postgres: Postgres,
    database: str,
    record_property: Any,
    request: pytest.FixtureRequest,
) -> Iterator[Drill]:
    """Named by the first line of the test's docstring."""
    drill = Drill(
        run_py=run_py,
        platform=Platform(mongo_database),
        ledger=postgres_ledger(hurt_postgres, database),
        record=record_property,
        fault=re.sub(r"\s+", " ", (request.function.__doc__ or "").strip().split("\n")[0]).rstrip("."),
    )
    yield drill
    drill.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of the drills that held, as the documentation shows it."""
    reports = terminalreporter.stats.get("passed", [])
    rows = [value for report in reports for name, value in report.user_properties if name == PROPERTY]
    if not rows:
        return
    terminalreporter.section("faults", sep="-")
    terminalreporter.write_line("| fault | what the operator saw | seconds until paid again |")
    terminalreporter.write_line("| --- | --- | --- |")
    for fault, saw, outcome in rows:
        terminalreporter.write_line(f"| {fault} | {saw} | {outcome} |")
