"""A check that is asked for where nothing may be paid: it rehearses under the ledger's own lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pymongo.database import Database

from app.parts import parts_of
from app.process import jobs_of
from app.serving import check_requests_of
from jobs.process.halting import Halt
from reconciler.config import load
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from tests.support.platform import Platform


def test_a_check_that_is_asked_for_ends_where_paying_is_switched_off(
    mongo_uri: str, mongo_database: Database[dict[str, Any]], ledger_url: str, tmp_path: Path
) -> None:
    overrides = {
        "mongodb.uri": mongo_uri,
        "mongodb.database": mongo_database.name,
        "ledger.url": ledger_url,
        "reports.directory": str(tmp_path / "reports"),
        "payout.enabled": False,
    }
    with parts_of(load(None, {}, overrides)) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
        platform = Platform(mongo_database)
        platform.participation(platform.campaign())
        requests = check_requests_of(parts)
        asked, _ = requests.request("asha")
        [job] = [one for one in jobs_of(parts, Halt(parts.decisions)) if one.worker.name == "requested_checks"]

        job.worker.step()

        ended = requests.find(asked.report_id)
    assert ended is not None
    assert ended.outcome == "breaks"
    assert ended.done_count == 1
