"""A program whose ledger a newer version migrates: it goes on, or it is kept out, as the migration says."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from jobs.process.leading import LeaseKeeper
from reconciler.errors import LeaseLost, NotMigrated, UsageError
from reconciler.ledger import migrate, revisions
from reconciler.ledger.engine import open_engine, writing
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.operations.lease import Lease
from reconciler.ledger.revisions import head_revision, known_revisions, require_compatible, require_current

Newer = Callable[[str, bool], None]

MIGRATION = '''"""Of a version to come."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None

IS_ADDITIVE = {is_additive}


def upgrade() -> None:
    op.create_table("later_{revision}", sa.Column("id", sa.BigInteger(), primary_key=True))
'''


@pytest.fixture
def engine(ledger_url: str) -> Iterator[Engine]:
    engine = open_engine(ledger_url)
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def newer(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Newer:
    """Have a version of one more migration migrate the ledger."""
    location = tmp_path / "migrations"
    shutil.copytree(revisions.MIGRATIONS, location)
    known = [head_revision()]

    def migrate_beyond(revision: str, is_additive: bool) -> None:
        text = MIGRATION.format(revision=revision, before=known[-1], is_additive=is_additive)
        (location / "versions" / f"{revision}_later.py").write_text(text, encoding="utf-8")
        known.append(revision)
        with monkeypatch.context() as program:
            program.setattr(revisions, "MIGRATIONS", location)
            program.setattr(migrate, "MIGRATIONS", location)
            upgrade(engine)

    return migrate_beyond


def lease_of(engine: Engine, holder: str = "a") -> Lease:
    return Lease(engine, name="paying", holder=holder, ttl=timedelta(minutes=10))


def test_what_only_adds_stops_nobody(engine: Engine, newer: Newer) -> None:
    lease = lease_of(engine)
    epoch = lease.acquire()
    newer("9001", True)
    with lease.term(), writing(engine) as connection:
        lease.fence(connection)
    assert lease.acquire() == epoch
    # After a restart too: whoever rolls back need not undo a migration.
    require_current(engine)
    with pytest.raises(UsageError, match="newer than this program"):
        upgrade(engine)


def test_what_breaks_stops_what_is_under_way_and_says_why(engine: Engine, newer: Newer) -> None:
    lease = lease_of(engine)
    lease.acquire()
    newer("9001", True)
    with lease.term():
        newer("9002", False)
        with pytest.raises(LeaseLost), writing(engine) as connection:
            lease.fence(connection)
    newer("9003", True)
    with pytest.raises(NotMigrated, match="only programs that know 9002 may work") as said:
        lease.acquire()
    assert "start the new version" in str(said.value)
    with pytest.raises(UsageError, match="newer than this program"):
        require_current(engine)
    # Nobody of the old version gets it.
    with pytest.raises(NotMigrated):
        lease_of(engine, "b").acquire()


def test_a_daemon_that_is_kept_out_ends(engine: Engine, newer: Newer) -> None:
    stopping = threading.Event()
    keeper = LeaseKeeper(lease_of(engine), ttl_s=15, stopping=stopping)
    assert keeper.step()
    newer("9001", False)
    assert not keeper.step()
    assert (keeper.is_outdated, stopping.is_set()) == (True, True)


def test_a_program_that_does_not_know_the_newest_break_is_kept_out(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(NotMigrated):
        require_compatible(connection, frozenset())
    with engine.connect() as connection:
        require_compatible(connection, known_revisions())
