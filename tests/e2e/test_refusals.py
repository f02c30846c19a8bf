"""What cannot work is said in one sentence, with the right exit code, and without a secret."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from reconciler.devstack.process import free_port
from tests.support.command_line import CommandLine, Finished

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import Postgres, ReplicaSet

SECRET = "hunter2-of-mongodb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    arguments: tuple[str, ...]
    code: int
    sentence: str
    """A part of the one line on stderr."""


SETTINGS = {
    "unknown key": Case(
        arguments=("--once", "--set", "sweep.intervall_s=5"),
        code=2,
        sentence="sweep.intervall_s is not a setting (from the command line); did you mean sweep.interval_s?",
    ),
    "bad MongoDB URI": Case(
        arguments=("--once", "--set", f"mongodb.uri=http://app:{SECRET}@db"),
        code=2,
        sentence="mongodb.uri must begin with mongodb:// or mongodb+srv://",
    ),
    "bad ledger URL": Case(
        arguments=("--full-check", "--set", f"ledger.url=mysql://app:{SECRET}@db/x"),
        code=2,
        sentence="ledger.url must be a URL such as sqlite:///ledger.db or",
    ),
    "unknown time zone": Case(
        arguments=("--full-check", "--set", "reports.timezone=Asia/Kolkatta"),
        code=2,
        sentence="did you mean Asia/Kolkata?",
    ),
    "negative limit": Case(
        arguments=("--set", "sweep.page_size=-1"), code=2, sentence="sweep.page_size must be at least 1, not '-1'"
    ),
    "no such file": Case(arguments=("--config", "no.yaml", "--once"), code=2, sentence="no.yaml"),
    "two jobs at once": Case(
        arguments=("--once", "--full-check"), code=2, sentence="--once and --full-check exclude each other."
    ),
    "a campaign for a sweep": Case(
        arguments=("--once", "--campaign", "x"), code=2, sentence="--campaign goes with --full-check."
    ),
    "a dry daemon": Case(
        arguments=("--dry-run",), code=2, sentence="--dry-run and --json go with --once or --full-check."
    ),
    "flags of a job before a command": Case(
        arguments=("--dry-run", "migrate"),
        code=2,
        sentence="migrate takes none of --once, --full-check, --dry-run, --campaign.",
    ),
}

DATABASES = {
    "nobody listens for MongoDB": Case(
        arguments=("--once", "--set", "mongodb.uri=mongodb://app:hunter2-of-mongodb@127.0.0.1:{free}/?replicaSet=x"),
        code=3,
        sentence="MongoDB cannot be reached: ",
    ),
    "nobody listens for PostgreSQL": Case(
        arguments=("--full-check", "--set", "ledger.url=postgresql://app:hunter2-of-mongodb@127.0.0.1:{free}/x"),
        code=3,
        sentence="The ledger's database cannot be reached: ",
    ),
    "a SQLite file that cannot be": Case(
        arguments=("--once", "--set", "ledger.url=sqlite:////nowhere/at/all/ledger.db"),
        code=3,
        sentence="The ledger's database cannot be reached: unable to open database file",
    ),
    "MongoDB does not know this user": Case(
        arguments=("--once", "--set", "mongodb.uri=mongodb://app:hunter2-of-mongodb@{mongodb}"),
        code=2,
        sentence="MongoDB refuses this program something: ",
    ),
    "PostgreSQL has no such database": Case(
        arguments=("--once", "--set", "ledger.url={postgres}_of_nobody"),
        code=2,
        sentence="The ledger's database refuses this program something: ",
    ),
}

CASES = SETTINGS | DATABASES


@pytest.fixture(scope="module")
def endings(
    replica_set: ReplicaSet, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Finished]:
    """How each case ended. Side by side, since nearly all of their time is Python's start."""
    folder: Path = tmp_path_factory.mktemp("refusals")
    run_py = CommandLine(
        folder=folder,
        settings={
            "MONGODB_URI": replica_set.uri,
            # Said, or the log would tell where it is.
            "LEDGER_URL": "sqlite:///ledger.db",
            "RECONCILER__MONGODB__WAIT_MAX_S": "1",
            "RECONCILER__LEDGER__WAIT_MAX_S": "1",
        },
    )
    places = {
        "free": str(free_port()),
        "mongodb": replica_set.uri.removeprefix("mongodb://"),
        "postgres": postgres_server.url,
    }

    def end(case: Case) -> Finished:
        return run_py.run(*(_filled(argument, places) for argument in case.arguments))

    with ThreadPoolExecutor(max_workers=3) as processes:
        return dict(zip(CASES, processes.map(end, CASES.values()), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_an_exit_code(endings: dict[str, Finished], name: str) -> None:
    done, case = endings[name], CASES[name]
    assert (done.code, done.stdout) == (case.code, "")
    assert case.sentence in done.sentence
    assert SECRET not in done.stderr


@pytest.mark.parametrize("name", DATABASES)
def test_the_wait_is_bounded(endings: dict[str, Finished], name: str) -> None:
    """Told to wait for one second: hardly longer than a refusal that waits for nothing, on this machine as it is."""
    waits_for_nothing_s = max(endings[one].seconds for one in SETTINGS)
    assert endings[name].seconds < waits_for_nothing_s + 10


def test_the_effective_settings_are_shown_without_credentials(
    run_py: CommandLine, mongo_uri: str, ledger_url: str
) -> None:
    secret_uri = mongo_uri.replace("mongodb://", f"mongodb://app:{SECRET}@")
    as_json = run_py.run("config", "check", "--json", MONGODB_URI=secret_uri)
    as_yaml = run_py.run("config", "check", MONGODB_URI=secret_uri)

    assert (as_json.code, as_yaml.code) == (0, 0)
    assert as_json.json()["mongodb"]["uri"] == mongo_uri.replace("mongodb://", "mongodb://***@")
    assert mongo_uri.removeprefix("mongodb://") in as_yaml.stdout
    assert SECRET not in as_json.stdout + as_yaml.stdout


def test_help_tells_the_exit_codes(run_py: CommandLine) -> None:
    done = run_py.run("--help")
    assert (done.code, done.stderr) == (0, "")
    assert "Exit codes: 0 clean or all repaired;" in done.stdout


def _filled(argument: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        argument = argument.replace(f"{{{name}}}", place)
    return argument
