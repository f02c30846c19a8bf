"""What a command imports: only what it uses, since a second of imports is a second that a person waits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.uri_parser import parse_uri

from cli.app import app
from cli.lazy import LazyCommand
from reconciler.config import checks, driver_checks
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade

ROOT = Path(__file__).parents[2]
LOOK = "import sys; from cli.starting import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
COMPARING = {"pandas", "numpy", "jinja2", "reconciler.comparison", "jobs.check.full_check"}
DRIVERS = {"pymongo", "psycopg", "alembic", "apscheduler"}
DAEMON = {"app.parts", "app.process", "jobs", "prometheus_client", "fastapi", "httpx"}
DATABASES = {"sqlalchemy", "reconciler.ledger", "reconciler.mongo"}


def imported_by(*words: str, ledger: str = "sqlite:///absent.db", cwd: Path = ROOT) -> set[str]:
    """The modules that a command line leaves imported, and the packages that they belong to."""
    environ = {"PYTHONPATH": str(ROOT), "LEDGER_URL": ledger, "MONGODB_URI": "mongodb://127.0.0.1:1/?replicaSet=rs0"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *words], capture_output=True, text=True, cwd=cwd, env=environ, check=True
    )
    assert done.stdout, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
    return url


def test_help_imports_no_database_and_no_configuration() -> None:
    heavy = COMPARING | DRIVERS | DAEMON | DATABASES | {"pydantic", "yaml", "rich", "structlog", "reconciler.config"}
    assert imported_by("--help") & heavy == set()


@pytest.mark.parametrize(
    "words", [("payouts", "list"), ("ledger", "balances"), ("report", "list"), ("breaks", "list"), ("webhooks", "list")]
)
def test_commands_that_read_the_ledger_import_it_and_nothing_else(words: tuple[str, str], ledger: str) -> None:
    assert imported_by(*words, ledger=ledger) & (COMPARING | DRIVERS | DAEMON | {"reconciler.mongo"}) == set()


def test_a_command_that_looks_at_mongodb_compares_nothing(ledger: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mongodb:\n  wait_max_s: 1\n")
    found = imported_by("status", ledger=ledger, cwd=tmp_path)
    assert found & (COMPARING - {"numpy"} | {"psycopg", "alembic"} | DAEMON) == set()
    assert "pymongo" in found


def lazy_commands(group: click.Group) -> Iterator[LazyCommand]:
    for command in group.commands.values():
        if isinstance(command, LazyCommand):
            yield command
        elif isinstance(command, click.Group):
            yield from lazy_commands(command)


def test_help_says_of_each_command_what_the_command_says_of_itself() -> None:
    for listed in lazy_commands(app):
        for limit in (30, 60, 200):
            assert listed.get_short_help_str(limit) == listed.load().get_short_help_str(limit)


PLAIN_URIS = (
    "mongodb://localhost",
    "mongodb://127.0.0.1:27017/?replicaSet=rs0",
    "mongodb://a.example.com:27017,b.example.com:27018/shop?replicaSet=rs-0",
    "mongodb://writer:s3cr3t-9@db/sponsorship?authSource=admin",
)
LEFT_TO_THE_DRIVER = ("mongodb://h:0/", "mongodb://h:70000/", "mongodb+srv://h.example.com/", "mongodb://h/?w=1&w=2")


@pytest.mark.parametrize("uri", PLAIN_URIS)
def test_a_plain_connection_string_needs_no_driver(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = driver_checks.database_of_uri(uri)
    monkeypatch.delattr(driver_checks, "database_of_uri")
    assert checks.database_of_uri(uri) == expected


@pytest.mark.parametrize("uri", LEFT_TO_THE_DRIVER)
def test_any_other_connection_string_is_left_to_the_driver(uri: str) -> None:
    assert checks._PLAIN_URI.fullmatch(uri) is None


@given(st.from_regex(checks._PLAIN_URI, fullmatch=True))
def test_what_is_cleared_by_sight_the_driver_accepts(uri: str) -> None:
    assert parse_uri(uri)["database"] == checks.database_of_uri(uri)


@given(st.from_regex(checks._PLAIN_CRON, fullmatch=True))
def test_what_is_cleared_by_sight_fires_at_some_time(cron: str) -> None:
    driver_checks.check_cron(cron)
