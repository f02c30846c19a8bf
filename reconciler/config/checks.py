"""Checks of single values. Each returns the value, or raises ValueError with the rest of a sentence that begins
with the setting's key: "must be …". None quotes a value: the caller does, where it is no secret."""

from __future__ import annotations

import importlib
import re
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from types import ModuleType
from zoneinfo import ZoneInfo, available_timezones

from pydantic import SecretStr
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from reconciler.domain.money import format_minor, minor_digits, parse_amount_minor
from reconciler.domain.parsing import Unreadable
from reconciler.domain.recording import parse_milestones

_POSTGRESQL = "postgresql+psycopg"
_SQL_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": _POSTGRESQL,
    "postgresql": _POSTGRESQL,
    _POSTGRESQL: _POSTGRESQL,
}

# What these match is right beyond doubt. All else is left to the driver and the scheduler, which take as long to import
# as a command takes to run.
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::(?:[1-5][0-9]{4}|[1-9][0-9]{0,3}))?"
_PLAIN_URI = re.compile(
    rf"mongodb://(?:[\w.~-]+:[\w.~-]+@)?{_HOST}(?:,{_HOST})*"
    r"(?:/(?P<database>[\w-]*)(?:\?(?:replicaSet|authSource)=[\w-]+)?)?",
    re.ASCII,
)
_PLAIN_CRON = re.compile(r"[1-5]?[0-9] (?:1?[0-9]|2[0-3]|\*) \* \* (?:\*|mon|tue|wed|thu|fri|sat|sun)")


def _require_escaped(url: str) -> None:
    """Refuse a password as it was typed, with @ or blanks in it: parsers take its end for a host or a database, and
    then no message could be kept from quoting it."""
    before, at, _ = url.rpartition("@")
    if at and ("@" in before or any(one.isspace() for one in before.strip())):
        raise ValueError("must have its user name and password percent-encoded (@ is %40, a blank is %20)")


def mongodb_uri(value: SecretStr) -> SecretStr:
    """A connection string that the driver accepts; hosts of mongodb+srv are not looked up here."""
    uri = value.get_secret_value()
    _require_escaped(uri)
    if not _PLAIN_URI.fullmatch(uri):
        _drivers().check_mongodb_uri(uri)
    return value


def database_of_uri(uri: object) -> str | None:
    """The database that a connection string names as its path; None where it names none, or cannot be read."""
    if not isinstance(uri, str):
        return None
    plain = _PLAIN_URI.fullmatch(uri)
    return (plain["database"] or None) if plain else _drivers().database_of_uri(uri)


def _drivers() -> ModuleType:
    return importlib.import_module("reconciler.config.driver_checks")


def ledger_url(value: SecretStr) -> SecretStr:
    """A SQLAlchemy URL of SQLite (in a file) or PostgreSQL, with the driver that this program uses spelled out."""
    try:
        url = make_url(value.get_secret_value())
    except (ArgumentError, ValueError):
        url = None
    driver = None if url is None else _SQL_DRIVERS.get(url.drivername)
    if url is None or driver is None:
        raise ValueError("must be a URL such as sqlite:///ledger.db or postgresql://user:password@host/database")
    if driver == "sqlite":
        _check_sqlite_file(url)
    else:
        _require_escaped(value.get_secret_value())
    names = (url.host or "", url.database or "", url.username or "")
    if any(name != name.strip() or not name.isprintable() for name in names):
        raise ValueError("must have no blanks around the names in it, and nothing invisible: it would be part of them")
    return SecretStr(url.set(drivername=driver).render_as_string(hide_password=False))


def _check_sqlite_file(url: URL) -> None:
    if url.host:
        raise ValueError("must have three slashes before a relative path and four before an absolute one")
    if not url.database or ":memory:" in url.database or url.query.get("mode") == "memory":
        raise ValueError("must name a file, since a ledger in memory forgets whom it has paid")


def database_name(value: str) -> str:
    """A name MongoDB takes for a database."""
    if not value or len(value.encode()) > 63 or re.search(r'[/\\. "$*<>:|?\0]', value):
        raise ValueError('must be a MongoDB database name: 1 to 63 bytes without spaces, dots or any of /\\"$*<>:|?')
    return value


def collection_name(value: str) -> str:
    """A name MongoDB takes for a collection; the server's own are refused."""
    if not value or "$" in value or "\0" in value or value.startswith((".", "system.")) or value.endswith("."):
        raise ValueError("must be a collection name: not empty, without $ and NUL, not one of the server's own")
    return value


def field_name(value: str) -> str:
    """The name of a top-level field of a document."""
    if not value:
        raise ValueError("must not be empty")
    if "." in value:
        raise ValueError("must be the name of a top-level field, since nested paths (with dots) are not supported")
    if value.startswith("$") or "\0" in value:
        raise ValueError("must not begin with $ or contain NUL, which MongoDB does not allow in field names")
    return value


def currency(value: str) -> str:
    """An ISO 4217 code of a currency people are paid in."""
    if minor_digits(value) is None:
        hint = f"; did you mean {value.upper()}?" if minor_digits(value.upper()) is not None else ""
        raise ValueError(f"must be a currency code of ISO 4217 such as INR or EUR{hint}")
    return value


def time_zone(value: str) -> str:
    """A name from the IANA time zone database."""
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        near = get_close_matches(value, sorted(available_timezones()), n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"must be an IANA time zone such as Asia/Kolkata{hint}") from None
    return value


def cron(value: str) -> str:
    """Five fields of cron that fire at some time. Weekdays are names, because their numbers are ambiguous."""
    fields = value.split()
    if len(fields) == 5 and re.search(r"\d", fields[4]):
        # APScheduler 3 counts from Monday = 0, cron from Sunday = 0: the check would run on another day than meant.
        raise ValueError("must name weekdays (mon, tue, … sun), since cron and the scheduler number them differently")
    if not _PLAIN_CRON.fullmatch(value):
        _drivers().check_cron(value)
    return value


def off(value: object) -> object:
    """None for the words that switch a limit off where only text can be given."""
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "null") else value


def currency_amounts(value: object) -> dict[str, str]:
    """A map of currencies to amounts in major units; as text ``INR=100000,JPY=5000``. Returns exact decimal text."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.strip("{} ").split(",") if part.strip()]
        value = {name.strip(): amount.strip() for name, _, amount in pairs}
    if not isinstance(value, dict):
        raise ValueError("must map currencies to amounts, as INR: 100000 does")
    amounts: dict[str, str] = {}
    for name, amount in value.items():
        if not isinstance(name, str) or minor_digits(name) is None:
            raise ValueError(f"must name currencies of ISO 4217, and {str(name)[:10]} is none")
        amount_minor = parse_amount_minor(amount, name)
        if isinstance(amount_minor, Unreadable) or amount_minor <= 0:
            raise ValueError(f"must give {name} an amount of whole minor units above zero")
        amounts[name] = format_minor(amount_minor, name)
    return amounts


def milestones(value: str) -> str:
    """Steps of milestones, as :func:`reconciler.domain.recording.parse_milestones` reads them."""
    steps = parse_milestones(value)
    if isinstance(steps, Unreadable):
        raise ValueError(steps.why)
    return value


def networks(value: str) -> str:
    """Addresses and networks of IPv4 or IPv6, with commas between."""
    for part in filter(None, (piece.strip() for piece in value.split(","))):
        try:
            ip_network(part)
        except ValueError:
            raise ValueError("must be addresses or networks such as 10.0.0.0/8, 192.0.2.7") from None
    return value


def is_loopback(host: str) -> bool:
    """Whether a host is this machine and nothing else. A name other than localhost may be anywhere."""
    if is_address(host):
        return ip_address(host).is_loopback
    return host.lower() == "localhost"


def is_address(host: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
