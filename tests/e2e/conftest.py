"""run.py against the test servers, in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command_line import CommandLine

if TYPE_CHECKING:
    from pymongo.database import Database


@pytest.fixture
def run_py(mongo_uri: str, mongo_database: Database[dict[str, Any]], ledger_url: str, tmp_path: Path) -> CommandLine:
    """On SQLite and on PostgreSQL, neither of them migrated; reports go to ``reports`` in the folder."""
    return CommandLine(
        folder=tmp_path,
        settings={
            "MONGODB_URI": mongo_uri,
            "LEDGER_URL": ledger_url,
            "RECONCILER__MONGODB__DATABASE": mongo_database.name,
        },
    )
