"""Bringing the ledger's tables to the revision that this program was written for."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from reconciler.errors import Refused
from reconciler.ledger.engine import writing
from reconciler.ledger.ledger_file import path_of
from reconciler.ledger.revisions import MIGRATIONS, refuse_newer, revision_in
from reconciler.ledger.schema import compatibility, leases

_ADVISORY_LOCK = 0x7061796F7574


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Apply the migrations that are missing, in one transaction; returns the revisions before and after.

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
        before = revision_in(connection)
        refuse_newer(before)
        command.upgrade(_config(connection), "head")
        after = revision_in(connection)
        assert after is not None
        _keep_out_older(connection, before, after)
    return before, after


def _require_utf8(connection: Connection) -> None:
    found = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if found != "UTF8":
        raise Refused(
            "ledger",
            f"its encoding is {found}, which cannot hold every identity that MongoDB can",
            "Make a database with ENCODING 'UTF8' for it (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0)",
        )


def _keep_out_older(connection: Connection, before: str | None, after: str) -> None:
    """Record which programs these migrations stop, and end their leases: what they have under way is not posted."""
    applied = _scripts().iterate_revisions(after, before or "base")
    breaking = [script.revision for script in applied if not getattr(script.module, "IS_ADDITIVE", False)]
    if not breaking:
        return
    # The newest first: who knows it knows the others.
    connection.execute(compatibility.insert().values(oldest_program=breaking[0]))
    connection.execute(leases.update().values(epoch=leases.c.epoch + 1))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))
