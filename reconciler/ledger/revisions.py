"""Which revision the ledger's tables are at, and whether this program may work with them. Without Alembic."""

from __future__ import annotations

import importlib
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.errors import NotMigrated, UsageError
from reconciler.ledger.driver_errors import translated
from reconciler.ledger.engine import reading
from reconciler.ledger.ledger_file import no_ledger_at, path_of
from reconciler.ledger.schema import compatibility

MIGRATIONS = Path(__file__).parent / "migrations"

_WRITTEN_DOWN = sa.table("alembic_version", sa.column("version_num", sa.Text))


def head_revision() -> str:
    """The revision that this program expects."""
    return max(known_revisions())


def known_revisions() -> frozenset[str]:
    """The revisions that this program knows: each migration's file begins with its own."""
    return frozenset(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def current_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None for an empty one, and where a SQLite ledger has no file yet."""
    path = path_of(engine)
    if path is not None and path.parent.is_dir() and not path.exists():
        return None
    with translated(engine), engine.connect() as connection, connection.begin():
        return revision_in(connection)


def revision_in(connection: Connection) -> str | None:
    """The revision that Alembic has written down; None in an empty database."""
    if not sa.inspect(connection).has_table(_WRITTEN_DOWN.name):
        return None
    return connection.execute(sa.select(_WRITTEN_DOWN.c.version_num)).scalar_one_or_none()


def require_current(engine: Engine, *, makes: bool = True) -> None:
    """Make sure that the ledger is at this program's revision. ``makes``: where there is none, a SQLite file is made.

    An embedded SQLite ledger is brought there at once; PostgreSQL waits for `run.py migrate`, since others use it too.
    Raises NotMigrated, or UsageError on a ledger newer than this program.
    """
    found = current_revision(engine)
    if found == head_revision():
        return
    known = known_revisions()
    if found is not None and found not in known:
        with reading(engine) as connection:
            breaks = _breaks_in(connection)
        if breaks and breaks <= known:
            # A newer version migrated it, and only added: this one goes on, also after a restart.
            return
    refuse_newer(found)
    path = path_of(engine)
    if path is not None and found is None and not makes:
        raise NotMigrated(no_ledger_at(path))
    if path is not None:
        # Alembic takes longer to import than most commands to run, and is needed once a release.
        importlib.import_module("reconciler.ledger.migrate").upgrade(engine)
        return
    state = "has no tables yet" if found is None else f"is at revision {found}"
    raise NotMigrated(f"the ledger {state}, and this program needs {head_revision()}: run `python run.py migrate`")


def require_compatible(connection: Connection, known: frozenset[str]) -> None:
    """Make sure that a program, by the revisions it knows, may work with the ledger as it is now.

    Raises NotMigrated when a migration has changed what the program relies on.
    """
    unknown = _breaks_in(connection) - known
    if unknown:
        raise NotMigrated(
            f"the ledger was migrated to revision {revision_in(connection)}, and only programs that know "
            f"{max(unknown)} may work with it: start the new version"
        )


def refuse_newer(found: str | None) -> None:
    """Raises UsageError on a revision that this program does not know."""
    if found is not None and found not in known_revisions():
        raise UsageError(f"the ledger is at revision {found}, which is newer than this program: install the newer one")


def _breaks_in(connection: Connection) -> frozenset[str]:
    return frozenset(connection.execute(sa.select(compatibility.c.oldest_program)).scalars())
