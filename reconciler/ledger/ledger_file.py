"""The file of a SQLite ledger: nothing is posted into a file that lost its name, and reading never makes one.

A file that is removed or moved stays open for whoever has it open. What is written into it then is in no ledger: the
next process finds another one, or none, and pays everybody again.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

Identity = tuple[int, int] | None


class FileGone(sqlite3.OperationalError):
    """The ledger's file, or a part of it, is not there any more, or another one has its name."""

    sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    sqlite_errorname = "SQLITE_CANTOPEN"


def path_of(engine: Engine) -> Path | None:
    """Where a SQLite ledger's file is; None for another database."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    name = engine.url.database
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)


def no_ledger_at(path: Path) -> str:
    """The sentence for whoever looks for a ledger that is not there."""
    return (
        f"there is no ledger at {path.absolute()}: set LEDGER_URL (or LEDGER_URL_FILE) to where it is, or run "
        "`python run.py migrate` to make one"
    )


def keep_to_the_file(engine: Engine) -> None:
    """Refuse to open a file that is not there, and to work on one that has lost its name since it was opened.

    Looked at when a transaction has begun, and before it commits: then the file is locked, and SQLite has opened all of
    its parts.
    """

    @sa.event.listens_for(engine, "do_connect")
    def look(*_: object) -> None:
        path = path_of(engine)
        if path is not None and not path.exists():
            raise FileGone(f"unable to open database file: there is no ledger at {path}")

    @sa.event.listens_for(engine, "connect")
    def note(connection: sqlite3.Connection, record: sa.pool.ConnectionPoolEntry) -> None:
        # SQLite's own name of it: absolute, wherever this process goes.
        [(_, _, path), *_] = connection.execute("PRAGMA database_list").fetchall()
        record.info["files"] = {path: _identity(path)}

    @sa.event.listens_for(engine, "commit")
    def compare_before_commit(connection: Connection) -> None:
        compare_files(connection)


def compare_files(connection: Connection) -> None:
    """Raises DBAPIError where the file, its log or its index is not the one that this connection works on."""
    files: dict[str, Identity] = connection.info["files"]
    path = next(iter(files))
    # What was committed last, and who has which lock: both are there as long as anybody has the ledger open.
    for part in (f"{path}-wal", f"{path}-shm"):
        files.setdefault(part, _identity(part))
    gone = [name for name, identity in files.items() if identity is None or _identity(name) != identity]
    if gone:
        error = FileGone(
            f"{gone[0]} was removed, moved or replaced while it was in use; nothing is posted until it is back"
        )
        connection.invalidate(error)
        raise exc.DBAPIError.instance("", None, error, sqlite3.Error, connection_invalidated=True)


def _identity(path: str) -> Identity:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
