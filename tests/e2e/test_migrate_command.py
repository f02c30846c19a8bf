"""`run.py migrate`: both databases are made ready, and made ready again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reconciler.ledger.revisions import head_revision
from tests.support.command_line import CommandLine

if TYPE_CHECKING:
    from pymongo.database import Database


PLATFORM = ("campaigns", "campaignparticipations", "wallets", "transactions", "gkeys")


@pytest.fixture
def ledger_url(postgres_url: str) -> str:
    return postgres_url


def test_twice_is_as_good_as_once(mongo_database: Database[dict[str, Any]], run_py: CommandLine) -> None:
    for name in PLATFORM:
        mongo_database.create_collection(name)
    first = run_py.run("migrate", "--json")
    indexed = {
        name for name in mongo_database.list_collection_names() if len(mongo_database[name].index_information()) > 1
    }
    second = run_py.run("--json", "migrate")
    third = run_py.run("migrate")

    assert [first.code, second.code, third.code] == [0, 0, 0]
    assert first.json()["ledger"] == {"before": None, "after": head_revision()}
    assert first.json()["indexes_created"]
    assert "campaignparticipations" in indexed
    assert second.json() == {
        "ledger": {"before": head_revision(), "after": head_revision()},
        "indexes_created": [],
    }
    assert third.stdout == f"Migration\n  ledger: at {head_revision()} already\n"
    checked = run_py.run("--once", "--json")
    assert (checked.code, checked.stderr) == (0, "")  # nothing is missing any more


def test_no_collection_of_the_platform_is_made(mongo_database: Database[dict[str, Any]], run_py: CommandLine) -> None:
    """A mistyped name would look like an empty platform, in which everything is in order."""
    mongo_database.create_collection("campaignparticipation")

    done = run_py.run("migrate", "--json")

    assert done.code == 0
    assert done.json()["collections_missing"] == sorted(PLATFORM)
    assert set(mongo_database.list_collection_names()) <= {"campaignparticipation", "reconciler_recordings"}
    assert "collection_missing" in done.stderr


def is_indexed(database: Database[dict[str, Any]], name: str) -> bool:
    return len(database[name].index_information()) > 1
