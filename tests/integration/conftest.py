"""What the tests of whole flows share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from reconciler.mongo.connection import Connection
from reconciler.mongo.indexes import create_missing
from tests.support.product import Product

if TYPE_CHECKING:
    from pymongo.database import Database


@pytest.fixture
def product(
    mongo_uri: str,
    mongo_database: Database[dict[str, Any]],
    mongo_connection: Connection,
    ledger_url: str,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Product]:
    """Migrated, on SQLite and on PostgreSQL."""
    servers = {"mongodb.uri": mongo_uri, "mongodb.database": mongo_database.name, "ledger.url": ledger_url}
    product = Product(servers=servers, capsys=capsys)
    product.migrate()
    with product.open() as parts:
        create_missing(mongo_connection, parts.settings.mapping)
    yield product
    # Commands set logging up on a stderr that is gone after the test.
    structlog.reset_defaults()
