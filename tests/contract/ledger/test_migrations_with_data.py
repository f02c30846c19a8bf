"""A ledger that is filled goes on after a later migration: its rows stay, its chain holds, and posting goes on.

The migration is made up. It adds a column to an append-only table, which is what a later version does most likely.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from reconciler.clock import utc_now
from reconciler.domain.plan import BatchPlan
from reconciler.errors import NotMigrated
from reconciler.ledger import migrate, revisions, schema
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.proof.integrity import CheckVerifier
from reconciler.ledger.proof.verify import SqlVerifier
from reconciler.ledger.revisions import current_revision, head_revision, require_current
from tests.support.ledger import everything
from tests.support.tampering import Tamperer
from tests.support.varied_ledger import (
    Writer,
    funding_of,
    participation_of,
    payout_of,
    request_of,
    terms_of,
    write_varied,
)

MIGRATION = '''"""Of a version to come."""

import sqlalchemy as sa
from alembic import op

revision = "9001"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("payouts", sa.Column("later", sa.BigInteger(), nullable=False, server_default=sa.text("7")))
'''

Act = Callable[[], None]


@pytest.fixture
def writer(engine: Engine) -> Writer:
    """Fills the ledger before it is migrated."""
    return write_varied(engine)


@pytest.fixture
def become_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Act:
    """Make this program one that has a migration more."""

    def act() -> None:
        location = tmp_path / "migrations"
        shutil.copytree(revisions.MIGRATIONS, location)
        text = MIGRATION.format(before=head_revision())
        (location / "versions" / "9001_later.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(revisions, "MIGRATIONS", location)
        monkeypatch.setattr(migrate, "MIGRATIONS", location)

    return act


def test_every_row_stays_and_verifies(engine: Engine, writer: Writer, become_newer: Act) -> None:
    before, verified, released = everything(engine), SqlVerifier(engine).verify(), head_revision()
    become_newer()

    assert upgrade(engine) == (released, "9001")

    after = everything(engine)
    assert {name for name in before if before[name] != after[name]} == {"compatibility"}
    with engine.connect() as connection:
        assert set(connection.exec_driver_sql("SELECT later FROM payouts").scalars()) == {7}
    assert SqlVerifier(engine).verify() == verified
    assert verified.faults == ()


def test_it_goes_on_posting(engine: Engine, writer: Writer, become_newer: Act) -> None:
    become_newer()
    upgrade(engine)
    terms = terms_of(0xA0)
    paid = payout_of(request_of(participation_of(0xA1, terms), terms))
    writer.write(BatchPlan(posted=[funding_of(terms), paid]))

    found = SqlVerifier(engine).verify()

    assert (found.faults, found.chain_verified_to) == ((), writer.batches)


def test_a_check_walks_the_whole_chain_and_keeps_the_new_sums(
    engine: Engine, writer: Writer, become_newer: Act
) -> None:
    verifier = CheckVerifier(engine, clock=utc_now, whole_after=timedelta(days=7))
    before = verifier.verify()
    become_newer()
    upgrade(engine)

    found = verifier.verify()

    assert found.faults == ()
    assert found.table_sums != before.table_sums
    assert verifier.verify().table_sums == found.table_sums


def test_an_edit_made_before_the_upgrade_is_found_after_it(engine: Engine, writer: Writer, become_newer: Act) -> None:
    tamperer = Tamperer(engine)
    tamperer.update(schema.payouts, tamperer.rows(schema.payouts)[0], "facts_at", utc_now().replace(microsecond=0))
    become_newer()
    upgrade(engine)

    assert {fault.kind for fault in SqlVerifier(engine).verify().faults} == {"chain_broken"}


def test_an_older_one_is_brought_up_or_refused_with_the_command(
    engine: Engine, writer: Writer, become_newer: Act
) -> None:
    released = head_revision()
    become_newer()
    if engine.dialect.name == "sqlite":
        require_current(engine)
        assert current_revision(engine) == "9001"
    else:
        with pytest.raises(NotMigrated, match=rf"is at revision {released}, and this program needs 9001: .* migrate"):
            require_current(engine)
