"""Damage of a ledger's file or of a table: reported as what and where, and never as an outage."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from reconciler.errors import UsageError
from reconciler.ledger import schema
from reconciler.ledger.driver_errors import DAMAGED, Family, verdict_of
from reconciler.ledger.ledger_file import no_ledger_at, path_of
from reconciler.ledger.proof.faults import Faults

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_MESSAGES_MAX = 20
_OPENING = threading.Lock()
_DESCRIPTORS: dict[tuple[int, int], int] = {}
"""(device, inode) → descriptor. One a file: an open one keeps its inode from being given to another."""

_PAGE_SIZE_MAX = 65_536
_RULE_BROKEN = re.compile(r"CHECK constraint failed in |NULL value in ")


def require_file(engine: Engine) -> None:
    """Raises UsageError where a SQLite ledger's file is missing: to open it would make one."""
    path = path_of(engine)
    if path is not None and not path.exists():
        raise UsageError(no_ledger_at(path))


def check_file(engine: Engine, faults: Faults) -> None:
    """Look at a SQLite ledger's file before the database does, which would take an empty one for a new one.

    Raises UsageError where there is none.
    """
    require_file(engine)
    path = path_of(engine)
    if path is None:
        return
    size = path.stat().st_size
    header = os.pread(_kept_open(path), _HEADER_BYTES, 0)
    if size == 0:
        faults.add("chain_broken", f"{path} is empty: 0 bytes are left of the ledger")
    elif len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        shown = header[:16].hex(" ")
        faults.add("chain_broken", f"{path} is no SQLite database: its {size} bytes begin with {shown}")
    else:
        _check_length(path, size, header, faults)


def _kept_open(path: Path) -> int:
    """A descriptor of the file that is never closed: closing it would drop all locks of this process on it (POSIX).

    Another process would then think that nobody else has the file open, and remove the log that we still use.
    """
    with _OPENING:
        file = path.stat()
        identity = (file.st_dev, file.st_ino)
        if identity not in _DESCRIPTORS:
            _DESCRIPTORS[identity] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return _DESCRIPTORS[identity]


def _check_length(path: Path, size: int, header: bytes, faults: Faults) -> None:
    page_size = int.from_bytes(header[16:18], "big")
    page_size = _PAGE_SIZE_MAX if page_size == 1 else page_size
    pages = int.from_bytes(header[28:32], "big")
    log = path.with_name(f"{path.name}-wal")
    # With a log beside it the file may lag behind its own header: the database puts that right when it opens it.
    if size < pages * page_size and not (log.exists() and log.stat().st_size):
        faults.add("chain_broken", f"{path} ends after {size} of {pages * page_size} bytes: it was truncated")


def check_structure(connection: Connection, faults: Faults) -> None:
    """Let SQLite check its own pages and indexes; PostgreSQL checks its pages as it reads them."""
    if connection.dialect.name != "sqlite":
        return
    messages = connection.exec_driver_sql(f"PRAGMA integrity_check({_MESSAGES_MAX})").scalars().all()
    if messages == ["ok"]:
        return
    roots = connection.exec_driver_sql("SELECT rootpage, tbl_name FROM sqlite_master")
    tables: dict[int, str] = {row[0]: row[1] for row in roots}
    for message in messages:
        for line in str(message).splitlines():
            # A row that breaks a rule is no damage: :func:`check_rules` names it, and the walk goes on.
            if line.startswith("***") or _RULE_BROKEN.match(line):
                continue
            tree = re.search(r"[Tt]ree (\d+)", line)
            where = tables.get(int(tree.group(1))) if tree else None
            faults.add("chain_broken", f"the file is damaged{f' in table {where}' if where else ''}: {line}")


def check_rules(connection: Connection, faults: Faults) -> None:
    """Name the rows that a CHECK of their table refuses: somebody wrote them past it."""
    for table in schema.metadata.sorted_tables:
        columns = [*table.primary_key.columns, *(table.c[name] for name in ("batch", "sequence") if name in table.c)]
        for rule in table.constraints:
            if not isinstance(rule, sa.CheckConstraint):
                continue
            query = sa.select(*columns).where(sa.text(f"NOT ({rule.sqltext})")).limit(_MESSAGES_MAX)
            for row in connection.execute(query).mappings():
                key = ", ".join(str(row[column.name]) for column in table.primary_key.columns)
                place = {name: row[name] for name in ("batch", "sequence") if isinstance(row.get(name), int)}
                faults.add("chain_broken", f"the row {key} of {table.name} breaks the rule {rule.name}", **place)


def is_damage(error: exc.DBAPIError) -> bool:
    """Whether an error says that what is stored cannot be read; the reading must be one that a sound ledger allows.

    An outage or a missing right is another matter: it says nothing about what is stored.
    """
    verdict = verdict_of(error.orig)
    return verdict is DAMAGED or verdict.family is Family.OURS
