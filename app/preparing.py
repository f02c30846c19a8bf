"""Before anything is done: both databases are there and are what this program needs; and what halts it afterwards."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from app.parts import Parts
from reconciler.domain.breaks import Severity
from reconciler.errors import Outage
from reconciler.ledger.migrate import current_revision, require_current
from reconciler.mongo import indexes
from reconciler.mongo.connection import require_primary
from reconciler.ports.scanning import MissingCollection
from reconciler.reports.model import Report

log = structlog.get_logger(__name__)


def wait_for_ledger(parts: Parts) -> None:
    """Wait until the ledger's database answers. Raises Outage after ``ledger.wait_max_s``.

    MongoDB needs no such loop: its driver waits for a server by itself. A SQLite file is there or it is not.
    """
    is_file = parts.engine.dialect.name == "sqlite"
    for attempt in Retrying(
        retry=retry_if_exception_type(Outage),
        stop=stop_after_delay(0 if is_file else parts.settings.ledger.wait_max_s),
        wait=wait_exponential_jitter(multiplier=0.2, max=2),
        reraise=True,
    ):
        with attempt:
            current_revision(parts.engine)


def keep_halt(parts: Parts, report: Report) -> None:
    """Halt paying when a check found the ledger contradicting itself, whether it was to repair anything or not."""
    critical = [one.found for one in report.sightings if one.found.severity is Severity.CRITICAL]
    if critical:
        parts.decisions.halt(critical[0].kind.value, critical[0].detail)


def prepare(parts: Parts, *, makes: bool = False) -> None:
    """Make sure that both databases are there and are what this program needs, within the bounded wait.

    ``makes``: a SQLite ledger that is not there yet is made, since somebody is to be paid.
    """
    wait_for_ledger(parts)
    require_current(parts.engine, makes=makes)
    require_primary(parts.connection)
    missing = parts.full_check.scan.missing_collections()
    say_missing({role: one for role, one in missing.items() if one.is_suspect})
    absent = {one.name for one in missing.values()}
    for index in indexes.missing(parts.connection, parts.settings.mapping):
        if index.collection in absent:
            continue
        log.warning(
            "an index is missing, so queries are slow: run `python run.py migrate`",
            action="index_missing",
            index=str(index),
        )


def say_missing(missing: Mapping[str, MissingCollection]) -> None:
    for role, one in missing.items():
        log.warning(
            "a mapped collection does not exist, and is not made: correct mongodb.database or mapping.collections, "
            "then run `python run.py migrate` for its indexes",
            action="collection_missing",
            collection=one.name,
            wanted_for=role,
            why=one.detail,
        )
