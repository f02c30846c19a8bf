"""Bringing the ledger's tables to the revision that this program was written for."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from reconciler.errors import NotMigrated, Refused, UsageError
from reconciler.ledger.driver_errors import translated
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.ledger_file import no_ledger_at, path_of
from reconciler.ledger.schema import compatibility, leases

_LOCATION = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x7061796F7574


def head_revision() -> str:
    """The revision that this program expects."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


def current_revision(engine: Engine) -> str | None:
    """The revision that the database is at; None for an empty one, and where a SQLite ledger has no file yet."""
    path = path_of(engine)
    if path is not None and path.parent.is_dir() and not path.exists():
        return None
    with translated(engine), engine.connect() as connection, connection.begin():
        return _current(connection)


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Apply what is missing, in one transaction; answers the revisions before and after.

    Two that run at once wait for each other. Raises UsageError on a ledger newer than this program, and Refused by a
    PostgreSQL database that cannot hold every text.
    """
    path = path_of(engine)
    if path is not None and path.parent.is_dir() and not path.exists():
        path.touch()
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            _require_utf8(connection)
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        before = _current(connection)
        _refuse_newer(before)
        command.upgrade(_config(connection), "head")
        after = _current(connection)
        assert after is not None
        _keep_out_older(connection, before, after)
    return before, after


def known_revisions() -> frozenset[str]:
    """The revisions that this program knows."""
    return frozenset(script.revision for script in _scripts().walk_revisions())


def require_compatible(connection: Connection, known: frozenset[str]) -> None:
    """Make sure that a program, by the revisions it knows, may work with the ledger as it is now.

    Raises NotMigrated when a migration has changed what the program relies on.
    """
    unknown = _breaks_in(connection) - known
    if unknown:
        raise NotMigrated(
            f"the ledger was migrated to revision {_current(connection)}, and only programs that know {max(unknown)} "
            "may work with it: start the new version"
        )


def _require_utf8(connection: Connection) -> None:
    found = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if found != "UTF8":
        raise Refused(
            "ledger",
            f"its encoding is {found}, which cannot hold every identity that MongoDB can",
            "Make a database with ENCODING 'UTF8' for it (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0)",
        )


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
    _refuse_newer(found)
    path = path_of(engine)
    if path is not None and found is None and not makes:
        raise NotMigrated(no_ledger_at(path))
    if path is not None:
        upgrade(engine)
        return
    state = "has no tables yet" if found is None else f"is at revision {found}"
    raise NotMigrated(f"the ledger {state}, and this program needs {head_revision()}: run `python run.py migrate`")


def _refuse_newer(found: str | None) -> None:
    if found is not None and found not in known_revisions():
        raise UsageError(f"the ledger is at revision {found}, which is newer than this program: install the newer one")


def _breaks_in(connection: Connection) -> frozenset[str]:
    return frozenset(connection.execute(sa.select(compatibility.c.oldest_program)).scalars())


def _keep_out_older(connection: Connection, before: str | None, after: str) -> None:
    """Record whom these migrations stop, and take the leases from them: what they have under way is not posted."""
    applied = _scripts().iterate_revisions(after, before or "base")
    breaking = [script.revision for script in applied if not getattr(script.module, "IS_ADDITIVE", False)]
    if not breaking:
        return
    # The newest first: who knows it knows the others.
    connection.execute(compatibility.insert().values(oldest_program=breaking[0]))
    connection.execute(leases.update().values(epoch=leases.c.epoch + 1))


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_LOCATION))
    config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_LOCATION))
