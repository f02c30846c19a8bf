"""The API over one ledger on SQLite, unless a test wants it otherwise."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pymongo.database import Database
from structlog.testing import LogCapture

from app.parts import Parts, parts_of
from reconciler.config import load
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from tests.support.served import Served, served


@pytest.fixture
def api_parts(
    mongo_uri: str, mongo_database: Database[dict[str, Any]], sqlite_url: str, tmp_path: Path
) -> Iterator[Parts]:
    settings = load(
        None,
        {},
        {
            "mongodb.uri": mongo_uri,
            "mongodb.database": mongo_database.name,
            "ledger.url": sqlite_url,
            "reports.directory": str(tmp_path / "reports"),
            "payout.approval_threshold": "JPY=1000",
        },
    )
    with parts_of(settings) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, settings.mapping)
        yield parts


@pytest.fixture
def api(api_parts: Parts) -> Iterator[Served]:
    with served(api_parts) as one:
        yield one


@pytest.fixture
def said() -> Iterator[LogCapture]:
    capture = LogCapture()
    before, level = structlog.get_config(), logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture
    structlog.configure(**before)
    logging.getLogger().setLevel(level)
