"""Before a command or the daemon begins: make sure that both databases are there and fit this program."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from app.ledger import LedgerParts, wait_for_ledger
from reconciler.domain.breaks import Severity
from reconciler.ledger.revisions import require_current
from reconciler.mongo import indexes
from reconciler.mongo.connection import require_primary
from reconciler.ports.scanning import MissingCollection

if TYPE_CHECKING:
    from app.parts import Parts
    from reconciler.reports.model import Report

log = structlog.get_logger(__name__)


def keep_halt(parts: LedgerParts, report: Report) -> None:
    """Halt paying when a check found a critical break, also in a check that repairs nothing."""
    critical = [one.found for one in report.sightings if one.found.severity is Severity.CRITICAL]
    if critical:
        parts.decisions.halt(critical[0].kind.value, critical[0].detail)


def prepare(parts: Parts, *, makes: bool = False) -> None:
    """Make sure that both databases are there and are what this program needs, within the bounded wait.

    ``makes``: a SQLite ledger that is not there yet is made, since somebody is to be paid.
    """
    # What was imported and wired stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    wait_for_ledger(parts)
    require_current(parts.engine, makes=makes)
    require_primary(parts.connection)
    missing = parts.scan.missing_collections()
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
    """Warn of mapped collections that do not exist: role in the mapping → what is known of it."""
    for role, one in missing.items():
        log.warning(
            "a mapped collection does not exist, and is not made: correct mongodb.database or mapping.collections, "
            "then run `python run.py migrate` for its indexes",
            action="collection_missing",
            collection=one.name,
            wanted_for=role,
            why=one.detail,
        )
