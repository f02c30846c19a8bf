"""Checks that need the driver or the scheduler, for values that :mod:`reconciler.config.checks` cannot clear by sight.

Each raises ValueError with the rest of a sentence that begins with the setting's key.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from apscheduler.triggers.cron import CronTrigger
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

_SRV_SCHEME = "mongodb+srv://"

# The driver's own words may quote a piece of a password that was typed unescaped ("Bad database name …"), so they
# are recognised and said again, never passed on.
_URI_FAULTS = (
    ("Invalid URI scheme", "begin with mongodb:// or mongodb+srv://"),
    ("Username and password must be escaped", "have its user name and password percent-encoded"),
    ("Must provide at least one hostname", "name at least one host"),
    ("Port ", "have ports from 1 to 65535"),
    ("Unknown option", "have only options that MongoDB drivers know"),
    ("Duplicate URI option", "name each option once"),
    ("The value of", "have options with valid values"),
    ("Bad database name", "have a valid database name, and its password percent-encoded"),
)

_YEARS_OF_CRON_FROM = datetime(2024, 1, 1, tzinfo=UTC)


def check_mongodb_uri(uri: str) -> None:
    """Refuse a connection string that the driver would not accept."""
    try:
        _parse_uri_without_dns(uri)
    except (PyMongoError, ValueError, UserWarning) as error:
        said = str(error)
    else:
        return
    wanted = next((words for start, words in _URI_FAULTS if said.startswith(start)), "be a valid MongoDB URI")
    raise ValueError(f"must {wanted}, as mongodb://host:27017/?replicaSet=rs0 does")


def database_of_uri(uri: str) -> str | None:
    """The database that a connection string names as its path; None where it names none, or cannot be read."""
    try:
        found = _parse_uri_without_dns(uri)["database"]
    except (PyMongoError, ValueError, UserWarning):
        return None
    return None if found is None else str(found)


def check_cron(value: str) -> None:
    """Refuse what is no cron expression, and one that never fires."""
    try:
        trigger = CronTrigger.from_crontab(value, timezone=UTC)
        fires = trigger.get_next_fire_time(None, _YEARS_OF_CRON_FROM) is not None
    except ValueError:
        raise ValueError("must be five cron fields (minute hour day month weekday) such as 30 3 * * *") from None
    if not fires:
        raise ValueError("must fire at some time, but no date ever matches it")


def _parse_uri_without_dns(uri: str) -> Mapping[str, Any]:
    """What a connection string says. Raises PyMongoError, ValueError, or UserWarning of what the driver passes over."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return _parse_uri(uri)


def _parse_uri(uri: str) -> Mapping[str, Any]:
    if not uri.startswith(_SRV_SCHEME):
        return parse_uri(uri)
    # The driver resolves the name of a +srv URI while it parses it; a check of settings must not wait for DNS.
    address, _, options = uri.removeprefix(_SRV_SCHEME).partition("?")
    plain = "&".join(option for option in options.split("&") if not option.lower().startswith("srv"))
    found = parse_uri(f"mongodb://{address}?{plain}" if plain else f"mongodb://{address}", default_port=None)
    hosts = found["nodelist"]
    if len(hosts) != 1 or hosts[0][1] is not None:
        raise ValueError("mongodb+srv takes one host and no port")
    return found
