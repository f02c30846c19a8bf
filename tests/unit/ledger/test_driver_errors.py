"""What every error of the ledger's databases is, by the manuals: of the moment, refused, or ours. None halts."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest

from reconciler.errors import Defect, InvariantBroken, Outage, Refused
from reconciler.ledger.driver_errors import SQLSTATES, failure_of, verdict_of

CLASSES: dict[str, type] = {
    # Class: what its codes are, unless CODES says otherwise. The order and the names are those of appendix A.
    "00": Defect,  # successful completion: nothing that an error may say
    "01": Defect,  # warning
    "02": Defect,  # no data
    "03": Defect,  # statement not yet complete
    "08": Outage,  # connection exception
    "09": Defect,  # triggered action exception
    "0A": Outage,  # feature not supported: by a standby, or by a plan of before an ALTER TABLE
    "0B": Defect,  # invalid transaction initiation
    "0F": Defect,  # locator exception
    "0L": Defect,  # invalid grantor
    "0P": Refused,  # invalid role specification
    "0Z": Defect,  # diagnostics exception
    "10": Defect,  # XQuery error
    "20": Defect,  # case not found
    "21": Defect,  # cardinality violation
    "22": Defect,  # data exception
    "23": Defect,  # integrity constraint violation
    "24": Defect,  # invalid cursor state
    "25": Defect,  # invalid transaction state
    "26": Outage,  # invalid SQL statement name: prepared on another server session
    "27": Defect,  # triggered data change violation
    "28": Refused,  # invalid authorization specification
    "2B": Defect,  # dependent privilege descriptors still exist
    "2D": Defect,  # invalid transaction termination
    "2F": Defect,  # SQL routine exception
    "34": Defect,  # invalid cursor name
    "38": Defect,  # external routine exception
    "39": Defect,  # external routine invocation exception
    "3B": Defect,  # savepoint exception
    "3D": Refused,  # invalid catalog name
    "3F": Refused,  # invalid schema name
    "40": Outage,  # transaction rollback
    "42": Defect,  # syntax error or access rule violation
    "44": Defect,  # WITH CHECK OPTION violation
    "53": Outage,  # insufficient resources
    "54": Defect,  # program limit exceeded
    "55": Outage,  # object not in prerequisite state
    "57": Outage,  # operator intervention
    "58": Outage,  # system error
    "72": Outage,  # snapshot failure
    "F0": Outage,  # configuration file error
    "HV": Outage,  # foreign data wrapper error
    "P0": Defect,  # PL/pgSQL error
    "XX": Outage,  # internal error
}
CODES: dict[str, type] = {
    "22021": Refused,  # character not in repertoire
    "22023": Refused,  # invalid parameter value: an option of the URL
    "22P05": Refused,  # untranslatable character
    "25006": Outage,  # read-only SQL transaction: a standby
    "25P03": Outage,  # idle in transaction for too long
    "25P04": Outage,  # transaction timeout
    "40002": Defect,  # transaction integrity constraint violation
    "42501": Refused,  # insufficient privilege
    "42701": Refused,  # duplicate column
    "42703": Refused,  # undefined column
    "42704": Refused,  # undefined object
    "42710": Refused,  # duplicate object
    "42723": Refused,  # duplicate function
    "42809": Refused,  # wrong object type
    "42883": Refused,  # undefined function
    "42P01": Refused,  # undefined table, or sequence
    "42P04": Refused,  # duplicate database
    "42P05": Outage,  # duplicate prepared statement
    "42P06": Refused,  # duplicate schema
    "42P07": Refused,  # duplicate table
    "42P10": Refused,  # invalid column reference: a unique index is missing
    "57P04": Refused,  # database dropped
    "XX001": Refused,  # data corrupted
    "XX002": Refused,  # index corrupted
}
LEAD_ASTRAY = {"25006", "0A000", "26000", "42P05", "08006", "57P01", "57P03", "25P03", "28P01", "3D000"}
STAY = {"40001", "40P01", "53100", "53300", "55P03", "57014", "42501", "42P01", "23505", "22003", "P0001"}


class OfServer(psycopg.Error):
    """An error of the server with a SQLSTATE; its words may be in any language."""


def of_server(sqlstate: str, words: str = "das darf nicht sein") -> psycopg.Error:
    error = OfServer(words)
    error.sqlstate = sqlstate
    return error


def known_codes() -> set[str]:
    classes = [one for one in vars(psycopg.errors).values() if isinstance(one, type) and issubclass(one, psycopg.Error)]
    return {one.sqlstate for one in classes if one.sqlstate}


def test_every_class_of_the_manual_stands_in_the_table() -> None:
    codes = known_codes()
    assert len(codes) > 200
    assert {code[:2] for code in codes} | {"00", "01", "10"} == set(CLASSES), "the driver knows all but three"
    assert {code for code in SQLSTATES if len(code) == 2} == set(CLASSES)


@pytest.mark.parametrize("sqlstate", sorted(known_codes() | set(CODES) | {f"{one}000" for one in CLASSES}))
def test_each_code_is_what_the_manual_says(sqlstate: str) -> None:
    failure = failure_of(of_server(sqlstate))
    assert type(failure) is CODES.get(sqlstate, CLASSES[sqlstate[:2]])
    assert not isinstance(failure, InvariantBroken)
    assert "das darf nicht sein" in str(failure)


@pytest.mark.parametrize("sqlstate", sorted(LEAD_ASTRAY))
def test_connections_that_lead_astray_are_dropped(sqlstate: str) -> None:
    assert verdict_of(of_server(sqlstate)).drops


@pytest.mark.parametrize("sqlstate", sorted(STAY))
def test_connections_that_are_sound_stay(sqlstate: str) -> None:
    assert not verdict_of(of_server(sqlstate)).drops


def test_a_code_of_nobodys_manual_is_tried_again() -> None:
    assert isinstance(failure_of(of_server("CR000")), Outage)


@pytest.mark.parametrize(
    ("words", "family"),
    [
        ('FATAL:  password authentication failed for user "payer"', Refused),
        ("fe_sendauth: no password supplied", Refused),
        ('FATAL:  no pg_hba.conf entry for host "::1", user "payer", database "x", SSL off', Refused),
        ('FATAL:  role "payer" is not permitted to log in', Refused),
        ('FATAL:  role "payer" does not exist', Refused),
        ('FATAL:  database "x" does not exist', Refused),
        ('FATAL:  permission denied for database "x"', Refused),
        ('FATAL:  unrecognized configuration parameter "serch_path"', Refused),
        ('invalid connection option "sslmod"', Refused),
        ("FATAL:  sorry, too many clients already", Outage),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", Outage),
        ("FATAL:  the database system is starting up", Outage),
        ('FATAL:  database "x" is not currently accepting connections', Outage),
        ("FATAL:  le mot de passe est faux", Outage),
        ("connection refused", Outage),
    ],
)
def test_a_connection_that_is_not_made_is_known_by_its_words(words: str, family: type) -> None:
    """The driver gives no SQLSTATE there. What is not known is tried again, and its words are told."""
    failure = failure_of(psycopg.OperationalError(f'connection to server at "h", port 5432 failed: {words}'))
    assert type(failure) is family
    assert words.rsplit(maxsplit=1)[-1] in str(failure)


@pytest.mark.parametrize("error", [psycopg.DataError("NUL"), psycopg.ProgrammingError("cannot adapt"), ValueError("x")])
def test_what_never_reached_a_server_is_ours(error: Exception) -> None:
    assert isinstance(failure_of(error), Defect)


def of_sqlite(code: int, words: str = "no") -> sqlite3.Error:
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("SQLITE_ABORT_ROLLBACK", Outage),
        ("SQLITE_BUSY", Outage),
        ("SQLITE_BUSY_SNAPSHOT", Outage),
        ("SQLITE_BUSY_RECOVERY", Outage),
        ("SQLITE_LOCKED", Outage),
        ("SQLITE_LOCKED_SHAREDCACHE", Outage),
        ("SQLITE_NOMEM", Outage),
        ("SQLITE_INTERRUPT", Outage),
        ("SQLITE_IOERR", Outage),
        ("SQLITE_IOERR_WRITE", Outage),
        ("SQLITE_IOERR_FSYNC", Outage),
        ("SQLITE_FULL", Outage),
        ("SQLITE_CANTOPEN", Outage),
        ("SQLITE_CANTOPEN_ISDIR", Outage),
        ("SQLITE_PROTOCOL", Outage),
        ("SQLITE_SCHEMA", Outage),
        ("SQLITE_ERROR_RETRY", Outage),
        ("SQLITE_ERROR_SNAPSHOT", Outage),
        ("SQLITE_READONLY", Refused),
        ("SQLITE_READONLY_DBMOVED", Refused),
        ("SQLITE_READONLY_DIRECTORY", Refused),
        ("SQLITE_PERM", Refused),
        ("SQLITE_AUTH", Refused),
        ("SQLITE_CORRUPT", Refused),
        ("SQLITE_CORRUPT_INDEX", Refused),
        ("SQLITE_NOTADB", Refused),
        ("SQLITE_ERROR", Defect),
        ("SQLITE_CONSTRAINT_UNIQUE", Defect),
        ("SQLITE_CONSTRAINT_TRIGGER", Defect),
        ("SQLITE_CONSTRAINT_CHECK", Defect),
        ("SQLITE_MISMATCH", Defect),
        ("SQLITE_TOOBIG", Defect),
        ("SQLITE_RANGE", Defect),
        ("SQLITE_MISUSE", Defect),
        ("SQLITE_INTERNAL", Defect),
    ],
)
def test_each_code_of_sqlite_is_what_its_manual_says(name: str, family: type) -> None:
    assert type(failure_of(of_sqlite(getattr(sqlite3, name)))) is family


@pytest.mark.parametrize("what", ["table: leases", "column: trigger", "function: unixepoch"])
def test_what_a_sqlite_file_lacks_has_to_be_put_back(what: str) -> None:
    assert isinstance(failure_of(of_sqlite(sqlite3.SQLITE_ERROR, f"no such {what}")), Refused)


@pytest.mark.parametrize(
    ("words", "grant"),
    [
        ("permission denied for schema public", "GRANT USAGE, CREATE ON SCHEMA public TO payer"),
        ("permission denied for table leases", "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE leases TO payer"),
        ("permission denied for sequence s_id_seq", "GRANT USAGE, SELECT ON SEQUENCE s_id_seq TO payer"),
        ('permission denied for database "x"', "GRANT CONNECT ON DATABASE x TO payer"),
        ("Zugriff verweigert", "GRANT what is missing TO payer"),
    ],
)
def test_a_missing_right_is_named_with_the_statement_that_gives_it(words: str, grant: str) -> None:
    assert grant in str(failure_of(of_server("42501", words), "payer"))


def test_an_outage_says_whether_the_server_answered() -> None:
    said = {code: str(failure_of(of_server(code))) for code in ("25006", "53100", "40P01", "08006", "57P01")}
    assert {code: "cannot be reached" in text for code, text in said.items()} == {
        "25006": False, "53100": False, "40P01": False, "08006": True, "57P01": True,
    }  # fmt: skip
    assert "cannot be reached" in str(failure_of(of_sqlite(sqlite3.SQLITE_CANTOPEN)))
    assert "cannot do it now" in str(failure_of(of_sqlite(sqlite3.SQLITE_BUSY)))
