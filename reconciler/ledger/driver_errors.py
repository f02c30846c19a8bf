"""What an error of the ledger's database is: of the moment, refused, or ours. One table, for both databases.

A driver's class says little: a failover, a lost grant and a mistake of ours may share one. The SQLSTATE and SQLite's
extended code say what happened. None of them says that the ledger is wrong: only our own checks of what was read do.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeGuard

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Engine, ExceptionContext

from reconciler.errors import DatabaseFailure, Defect, Outage, Refused

if TYPE_CHECKING:
    import psycopg

SENTENCE_CHARACTERS_MAX = 500


class Family(Enum):
    """What an error needs."""

    OF_THE_MOMENT = auto()
    """Trying again may help, with nobody's doing."""
    REFUSED = auto()
    """Trying again helps once a person has done something in the database."""
    OURS = auto()
    """This program asked for what it must not ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFamily:
    """What kind of error it is, with the ``remedy`` for a person.

    ``drops``: this connection, and every one as old, leads to the wrong server or holds stale state. ``is_answer``: the
    database refuses this very statement; another one may succeed.
    """

    family: Family
    remedy: str = ""
    drops: bool = False
    is_answer: bool = False


def _refused(remedy: str, *, drops: bool = False, is_answer: bool = False) -> ErrorFamily:
    return ErrorFamily(family=Family.REFUSED, remedy=remedy, drops=drops, is_answer=is_answer)


MOMENT = ErrorFamily(family=Family.OF_THE_MOMENT)
AFRESH = ErrorFamily(family=Family.OF_THE_MOMENT, drops=True)
OURS = ErrorFamily(family=Family.OURS, is_answer=True)
LOGIN = _refused("Mend the user and the password in ledger.url, or have the server let them in", drops=True)
RIGHT = _refused("Run as its owner, or as a superuser: {grant}")
MISSING = _refused(
    "A part of the ledger is not where this role's search_path looks: put back what was dropped, renamed or is being "
    "restored; `python run.py migrate` makes the tables of a new ledger"
)
NO_DATABASE = _refused("Create the database, or mend its name in ledger.url", drops=True)
SETTING = _refused("Mend the options in ledger.url")
ENCODING = _refused("The ledger's database has to be made anew with ENCODING 'UTF8'", is_answer=True)
EXISTS = _refused("It is there, though the ledger's revision does not say so: was a backup restored by halves?")
DAMAGED = _refused("What is stored is damaged: run `python run.py ledger verify`, and restore a backup")
NOT_WRITABLE = _refused("Let this process write the ledger's file and its folder", drops=True)

SQLSTATES: Mapping[str, ErrorFamily] = {
    # The classes of PostgreSQL's manual, appendix A; then the codes that are not what the rest of their class is.
    **dict.fromkeys(("08", "26"), AFRESH),  # connections and prepared statements that are gone
    # A statement prepared before an ALTER TABLE; a transaction that is to write, on a standby.
    "0A": AFRESH,
    **dict.fromkeys(("40", "53", "55", "57", "58", "72", "F0", "HV"), MOMENT),
    **dict.fromkeys(("00", "01", "02", "03", "09", "0B", "0F", "0L", "0Z", "10", "20", "21", "22", "23"), OURS),
    **dict.fromkeys(("24", "25", "27", "2B", "2D", "2F", "34", "38", "39", "3B", "42", "44", "54", "P0"), OURS),
    **dict.fromkeys(("0P", "28"), LOGIN),
    "3D": NO_DATABASE,
    "3F": MISSING,
    "XX": MOMENT,  # a cache that lags behind a change, or what a pooler has to say
    "22021": ENCODING,
    "22P05": ENCODING,
    "22023": SETTING,
    # A server that takes no writes: a standby that answers where the primary was, or a primary that became one.
    "25006": AFRESH,
    "25P03": AFRESH,  # idle_in_transaction_session_timeout
    "25P04": AFRESH,  # transaction_timeout
    "40002": OURS,
    "42501": RIGHT,
    **dict.fromkeys(("42P01", "42703", "42704", "42809", "42883", "42P10"), MISSING),
    **dict.fromkeys(("42701", "42710", "42723", "42P04", "42P06", "42P07"), EXISTS),
    "42P05": AFRESH,  # a prepared statement of another client, behind a pooler
    **dict.fromkeys(("57P01", "57P02", "57P03", "57P05"), AFRESH),
    "57P04": NO_DATABASE,
    "XX001": DAMAGED,
    "XX002": DAMAGED,
}

SQLITE: Mapping[int, ErrorFamily] = {
    **dict.fromkeys(
        (
            sqlite3.SQLITE_ABORT,
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
            sqlite3.SQLITE_NOMEM,
            sqlite3.SQLITE_INTERRUPT,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_PROTOCOL,
            sqlite3.SQLITE_SCHEMA,
            sqlite3.SQLITE_ERROR_RETRY,
            sqlite3.SQLITE_ERROR_SNAPSHOT,
        ),
        MOMENT,
    ),
    sqlite3.SQLITE_CANTOPEN: AFRESH,
    # Opened while it could not be written, a connection stays so when it can be.
    **dict.fromkeys((sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH), NOT_WRITABLE),
    **dict.fromkeys((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB), DAMAGED),
}
"""By extended code, then by primary code. What stands here with none is ours."""

_GOODBYES = frozenset({"57P01", "57P02", "57P05"})

_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(words), sqlstate)
    for words, sqlstate in (
        (r"authentication failed|no password supplied|no pg_hba\.conf entry", "28000"),
        (r'role ".*" (does not exist|is not permitted to log in)', "28000"),
        (r'database ".*" does not exist', "3D000"),
        (r"permission denied for database", "42501"),
        (r"unrecognized configuration parameter|invalid value for parameter|invalid (connection option|URI)", "22023"),
        (r"too many (clients|connections)|connection slots are reserved", "53300"),
        (r"the database system is |is not currently accepting connections", "57P03"),
    )
)
"""libpq says in words alone why it could not connect. Words of another language count as an outage."""

_MISSING_IN_SQLITE = re.compile(r"^no such (table|column|index|trigger|function)")


NAMELESS = "the role of ledger.url"
_GRANTS = {
    "database": "CONNECT",
    "schema": "USAGE, CREATE",
    "table": "SELECT, INSERT, UPDATE, DELETE",
    "sequence": "USAGE, SELECT",
    "function": "EXECUTE",
}
_DENIED = re.compile(rf'permission denied for ({"|".join(_GRANTS)}) "?([\w.$-]+)')


def verdict_of(error: BaseException | None) -> ErrorFamily:
    """What a driver's error is."""
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error)
    if not _is_of_postgres(error):
        return OURS
    sqlstate = sqlstate_of(error)
    if sqlstate is not None:
        # A code of nobody's manual: another server, or what stands before it. Trying again is never wrong, only slow.
        return SQLSTATES.get(sqlstate) or SQLSTATES.get(sqlstate[:2], MOMENT)
    driver = sys.modules["psycopg"]
    return AFRESH if isinstance(error, (driver.OperationalError, driver.InterfaceError)) else OURS


def _is_of_postgres(error: BaseException | None) -> TypeGuard[psycopg.Error]:
    # The driver is imported with the first engine for PostgreSQL; before that, nothing can be its error.
    driver = sys.modules.get("psycopg")
    return driver is not None and isinstance(error, driver.Error)


def sqlstate_of(error: psycopg.Error) -> str | None:
    """The SQLSTATE; of a failed connection it is derived from libpq's words, where they are known."""
    if error.sqlstate is not None:
        return error.sqlstate
    return next((sqlstate for words, sqlstate in _WORDS if words.search(str(error))), None)


def _of_sqlite(error: sqlite3.Error) -> ErrorFamily:
    # Without a code it is the driver's own: a value that it does not take, or text that is no UTF-8.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    if code == sqlite3.SQLITE_ERROR and _MISSING_IN_SQLITE.match(str(error)):
        return MISSING
    return SQLITE.get(code) or SQLITE.get(code & 0xFF, OURS)


def sentence_of(error: BaseException | None) -> str:
    """The driver's own words in one line: SQLAlchemy adds the statement and its parameters, which are not for logs."""
    primary = error.diag.message_primary if _is_of_postgres(error) else None
    text = " ".join((primary or str(error)).split())
    return text[:SENTENCE_CHARACTERS_MAX] or type(error).__name__


def failure_of(error: BaseException | None, role: str = NAMELESS) -> DatabaseFailure:
    """A driver's error, as one of our families. ``role`` is the one that a missing right is granted to."""
    verdict, reason = verdict_of(error), sentence_of(error)
    match verdict.family:
        case Family.OF_THE_MOMENT:
            return Outage("ledger", reason, has_answered=_has_answered(error))
        case Family.REFUSED:
            return Refused(
                "ledger", reason, verdict.remedy.format(grant=_grant(reason, role)), is_answer=verdict.is_answer
            )
        case Family.OURS:
            return Defect("ledger", reason, is_answer=verdict.is_answer)


def _grant(reason: str, role: str) -> str:
    """The statement that gives the right that a server's message says is missing."""
    found = _DENIED.search(reason)
    if found is None:
        return f"GRANT what is missing TO {role} (docs/operations.md lists what is needed)"
    kind, name = found.groups()
    return f"GRANT {_GRANTS[kind]} ON {kind.upper()} {name} TO {role}"


def _has_answered(error: BaseException | None) -> bool:
    """Whether the database replied that it cannot do this now, as opposed to going away or not replying."""
    if _is_of_postgres(error):
        sqlstate = sqlstate_of(error)
        return sqlstate is not None and not sqlstate.startswith("08") and sqlstate not in _GOODBYES
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN) & 0xFF != sqlite3.SQLITE_CANTOPEN


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Turn the driver's errors into a :class:`DatabaseFailure`."""
    try:
        yield
    except exc.TimeoutError as error:
        raise Outage("ledger", "no connection became free in time") from error
    except exc.StatementError as error:
        # A DBAPIError as a rule; else a value that its column's type refused, before the driver saw it.
        raise failure_of(error.orig, engine.url.username or NAMELESS) from error
    except (OverflowError, UnicodeError) as error:
        # A number or a text that the driver cannot hand over.
        raise Defect("ledger", sentence_of(error), is_answer=True) from error


def drop_stale_connections(engine: Engine) -> None:
    """Close the whole pool when an error shows that its connections are stale or lead to the wrong server."""

    @sa.event.listens_for(engine, "handle_error")
    def look(context: ExceptionContext) -> None:
        if verdict_of(context.original_exception).drops:
            context.is_disconnect = True
