"""What people ask, once, for the command line, the API and the pages: each query returns rows or a JSON document.

Charter: a query reads and decides nothing that is kept. It takes only what it uses: an engine, a reader of facts. It
knows neither click nor HTTP. It raises Outage where a database is away, and UnknownName where a text names nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reconciler.clock import spelled

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Document = dict[str, Any]
"""Plain JSON types under the names that ``--json`` and the API show. Times are text in UTC, amounts minor units."""


def fields_document(row: DataclassInstance) -> Document:
    """A row whose fields are its document, in their order."""
    return {name: spelled(value) for name, value in asdict(row).items()}
