"""The file of a SQLite ledger: nobody works on one that has lost its name, and nobody makes one by looking."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.domain.batch import Outcome
from reconciler.errors import NotMigrated, Outage
from reconciler.ledger.engine import open_engine, reading, rehearsing, writing
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.revisions import current_revision, require_current
from tests.support.ledger import STAMP, asking, journal_of, ledger_is_sound, request


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "books" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Engine:
    """A ledger in use, with one payout."""
    path.parent.mkdir()
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    journal_of(engine).post(asking([request("p1")]), STAMP)
    return engine


def replaced(path: Path) -> None:
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    copy.replace(path)


LOSSES: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "moved": lambda path: path.rename(path.with_name("elsewhere.db")),
    "replaced by a copy": replaced,
    "its folder moved": lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
    "its folder removed": lambda path: shutil.rmtree(path.parent),
    "its log removed": lambda path: path.with_name("ledger.db-wal").unlink(),
    # Who opens the ledger next makes a new one, and sees none of our locks.
    "its index removed": lambda path: path.with_name("ledger.db-shm").unlink(),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_is_posted_into_a_file_that_has_lost_its_name(ledger: Engine, path: Path, loss: str) -> None:
    LOSSES[loss](path)

    with pytest.raises(Outage, match=r"ledger\.db") as outage:
        journal_of(ledger).post(asking([request("p2", campaign="c2")]), STAMP)

    assert "was removed, moved or replaced while it was in use" in str(outage.value)


@pytest.mark.parametrize("loss", ["removed", "its log removed"])
def test_what_was_begun_before_is_not_committed_after(ledger: Engine, path: Path, loss: str) -> None:
    with pytest.raises(Outage, match="was removed"), writing(ledger) as connection:
        connection.execute(sa.text("UPDATE accounts SET version = version"))
        LOSSES[loss](path)


def test_nothing_is_foreseen_in_a_file_that_has_lost_its_name(ledger: Engine, path: Path) -> None:
    """A dry run commits nothing, and would tell people what becomes of them by a ledger that is theirs no more."""
    path.unlink()
    with pytest.raises(Outage, match="was removed"), rehearsing(ledger):
        pass


def test_paying_goes_on_when_the_file_is_back(ledger: Engine, path: Path) -> None:
    away = path.parent.with_name("away")
    path.parent.rename(away)
    journal = journal_of(ledger)
    for _ in range(2):
        with pytest.raises(Outage):
            journal.post(asking([request("p2", campaign="c2")]), STAMP)

    away.rename(path.parent)

    found = journal.post(asking([request("p1"), request("p2", campaign="c2")]), STAMP).outcomes
    assert list(found.values()) == [Outcome.EXISTS, Outcome.NEW]
    ledger_is_sound(ledger)


def test_another_file_in_its_place_is_opened_anew(ledger: Engine, path: Path) -> None:
    """Whether it is the right one is for the guard to say, which compares it with what MongoDB was told."""
    ledger.dispose()
    ledger = open_engine(f"sqlite:///{path}")
    with reading(ledger) as connection:
        connection.execute(sa.text("SELECT 1"))
    replaced(path)
    with pytest.raises(Outage):
        journal_of(ledger).post(asking([request("p1")]), STAMP)

    assert list(journal_of(ledger).post(asking([request("p1")]), STAMP).outcomes.values()) == [Outcome.EXISTS]


def test_looking_makes_no_ledger(path: Path) -> None:
    path.parent.mkdir()
    engine = open_engine(f"sqlite:///{path}")

    assert current_revision(engine) is None
    with pytest.raises(NotMigrated, match=r"there is no ledger at /.*ledger\.db: set LEDGER_URL"):
        require_current(engine, makes=False)
    with pytest.raises(Outage, match="there is no ledger at"), reading(engine):
        pass
    assert list(path.parent.iterdir()) == []

    require_current(engine)
    require_current(engine, makes=False)
