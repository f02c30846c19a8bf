"""A check that cannot be done: one sentence, no half report, and the newest report as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from app.parts import Parts, parts_of
from jobs.check.full_check import FullCheck
from jobs.check.options import CheckOptions
from reconciler.config import load
from reconciler.errors import Outage, UsageError
from reconciler.ledger import schema
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from tests.support.ledger import rows_of
from tests.support.platform import Platform

Document = dict[str, Any]

OPTIONS = CheckOptions(trigger="test")


@pytest.fixture
def ledger_url(sqlite_url: str) -> str:
    """What fails here is MongoDB or the folder, and not the ledger."""
    return sqlite_url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "reports"


@pytest.fixture
def open_parts(mongo_uri: str, mongo_database: Database[Document], ledger_url: str, folder: Path) -> Iterator[Parts]:
    overrides = {
        "mongodb.uri": mongo_uri,
        "mongodb.database": mongo_database.name,
        "ledger.url": ledger_url,
        "reports.directory": str(folder),
        "full_check.partition_size": 10,
    }
    with parts_of(load(None, {}, overrides)) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
        yield parts


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def meanwhile(check: FullCheck, act: Callable[[], object]) -> FullCheck:
    """The check, with something that happens in the middle of it."""

    states = check.population.partitions.states

    class Checked:
        def __getattr__(self, name: str) -> Any:
            return getattr(states, name)

        def odd_lines(self, lines: Any) -> Any:
            act()
            return states.odd_lines(lines)

    partitions = replace(check.population.partitions, states=Checked())
    return replace(check, population=replace(check.population, partitions=partitions))


@pytest.mark.parametrize("collection", ["campaignparticipations", "wallets", "transactions", "gkeys", "campaigns"])
@pytest.mark.parametrize("how", ["dropped", "renamed"])
def test_a_collection_that_goes_away(
    open_parts: Parts,
    platform: Platform,
    mongo_database: Database[Document],
    folder: Path,
    collection: str,
    how: str,
) -> None:
    parts, campaign = open_parts, platform.campaign(budget=330_000, targetImpressions=2_000)
    for number in range(30):
        platform.participation(campaign, 2_000 if number % 2 else 5)
    parts.sweep.step("test")
    parts.full_check.step(OPTIONS)
    before, payouts = files(folder), rows_of(parts.engine, schema.payouts)

    gone: list[str] = []

    def go() -> None:
        if not gone:
            gone.append(collection)
            mongo_database[collection].drop() if how == "dropped" else mongo_database[collection].rename("elsewhere")

    with pytest.raises(Outage) as outage:
        meanwhile(parts.full_check, go).step(OPTIONS)

    assert outage.value.database == "mongodb"
    assert files(folder) == before
    assert rows_of(parts.engine, schema.payouts) == payouts
    [failed] = [row for row in rows_of(parts.engine, schema.runs) if row["outcome"] == "failed"]
    assert failed["error"].startswith("MongoDB cannot do it now: ")


def test_a_connection_that_is_dropped(open_parts: Parts, platform: Platform, folder: Path) -> None:
    parts, campaign = open_parts, platform.campaign()
    for _ in range(30):
        platform.participation(campaign, 5)
    parts.full_check.step(OPTIONS)
    before = files(folder)
    with pytest.raises(Outage, match="MongoDB cannot be reached"):
        meanwhile(parts.full_check, parts.connection.client.close).step(OPTIONS)
    assert files(folder) == before


def test_a_folder_that_becomes_unwritable(open_parts: Parts, platform: Platform, folder: Path) -> None:
    parts = open_parts
    platform.participation(platform.campaign(), 5)
    parts.full_check.step(OPTIONS)
    moved = folder.with_name("moved")

    def take_away() -> None:
        if folder.is_dir():
            folder.rename(moved)
            folder.write_text("a file where the folder was")

    with pytest.raises(UsageError, match=r"the report cannot be written to .*reports"):
        meanwhile(parts.full_check, take_away).step(OPTIONS)
    assert (moved / "latest.json").exists()
