"""`run.py --once`: exit codes, what goes to stdout and what to stderr, and that a dry run changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.command_line import CommandLine
from tests.support.invariants import opening, violations
from tests.support.ledger_rows import paid_minor
from tests.support.platform import Platform
from tests.support.projecting import all_documents, all_rows

if TYPE_CHECKING:
    from pymongo.database import Database
    from sqlalchemy.engine import Engine

PROMISED = {"due", "paid", "paid_minor", "held", "skipped", "projected", "dry_run"}


def test_a_dry_run_says_what_it_would_pay_and_changes_nothing(
    platform: Platform, engine: Engine, mongo_database: Database[dict[str, Any]], run_py: CommandLine
) -> None:
    platform.participation(platform.campaign(), 2500)
    documents, rows = all_documents(mongo_database), all_rows(engine)

    done = run_py.run("--once", "--dry-run", "--json")

    assert (done.code, done.json()["dry_run"], done.json()["paid"]) == (0, True, 1)
    assert done.json()["paid_minor"] == {"INR": 330_000}
    assert all_documents(mongo_database) == documents
    assert all_rows(engine) == rows


def test_a_sweep_as_json_and_another_for_people(platform: Platform, engine: Engine, run_py: CommandLine) -> None:
    campaign_id = platform.campaign()
    first = platform.participation(campaign_id, 2500)
    platform.participation(campaign_id, 2500)
    platform.participation(campaign_id, float("nan"))
    before = opening(engine, platform.database)

    done = run_py.run("--json", "--once")

    assert done.code == 0  # a sweep that holds some, too
    result = done.json()
    assert result.keys() >= PROMISED
    assert {key: result[key] for key in PROMISED - {"skipped"}} == {
        "due": 2,
        "paid": 1,
        "paid_minor": {"INR": 330_000},
        "held": 1,
        "projected": 1,
        "dry_run": False,
    }
    assert result["skipped"] == {"malformed": 1}
    assert "action=payouts_posted" in done.stderr
    assert "action=index_missing" in done.stderr  # nobody ran migrate
    assert paid_minor(engine) == {str(first): 330_000}
    assert violations(engine, platform.database, before) == []

    again = run_py.run("--once")

    assert again.code == 0
    assert again.stdout.startswith("Sweep\n")
    assert "  paid: 0\n" in again.stdout
    assert "  held (over budget): 1\n" in again.stdout
    assert "action=" not in again.stdout
    assert paid_minor(engine) == {str(first): 330_000}


def test_the_first_start_needs_no_preparation_on_sqlite(
    platform: Platform, mongo_uri: str, sqlite_url: str, run_py: CommandLine
) -> None:
    """Exactly one of the two ledgers is migrated by the first command, and the other says what to do."""
    platform.participation(platform.campaign(), 2000)

    done = run_py.run("--once", "--json")

    if "sqlite" in run_py.settings["LEDGER_URL"]:
        assert (done.code, done.json()["paid"]) == (0, 1)
    else:
        assert (done.code, done.stdout) == (2, "")
        assert "has no tables yet" in done.sentence
        assert done.sentence.endswith("run `python run.py migrate`.")
