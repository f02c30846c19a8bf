"""Who is due and could not be paid is on the status board and in the metrics until it is paid, held or explained."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from pymongo.database import Database
from sqlalchemy.engine import Connection

from app.parts import parts_of
from reconciler.clock import utc_now
from reconciler.config import load
from reconciler.domain.ids import DocumentId
from reconciler.errors import Outage
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from reconciler.ports.hints import Key, KeyKind
from tests.support.ledger import ToldClock
from tests.support.platform import Platform

METRIC = "payout_overdue_oldest_age_seconds"


@dataclass
class Door:
    """The ledger's fence: closed, nothing can be posted."""

    is_closed: bool = False
    ahead: timedelta = timedelta()

    def fence(self, _connection: Connection) -> None:
        if self.is_closed:
            raise Outage("ledger", "closed by the test", is_answer=True)

    def clock(self) -> Any:
        return utc_now() + self.ahead


def test_the_age_of_who_cannot_be_paid(
    mongo_uri: str, mongo_database: Database[dict[str, Any]], sqlite_url: str, platform: Platform
) -> None:
    door = Door()
    settings = load(
        None, {}, {"mongodb.uri": mongo_uri, "mongodb.database": mongo_database.name, "ledger.url": sqlite_url}
    )
    with parts_of(settings, clock=door.clock, ledger_clock=ToldClock(door.clock), fence=door.fence) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, settings.mapping)
        held = platform.campaign()
        for _ in range(2):
            platform.participation(held)
        platform.participation(platform.campaign(), 10)

        def shown() -> tuple[Any, bool]:
            board = parts.status.snapshot()["sweep"]
            age_s = parts.metrics.registry.get_sample_value(METRIC)
            assert age_s is not None
            assert age_s == pytest.approx(board["overdue_oldest_age_s"], abs=60)
            return board["overdue_count"], age_s >= 3_600

        assert shown() == (0, False)
        door.is_closed = True
        with pytest.raises(Outage):
            parts.sweep.step("test")
        assert shown() == (2, False)
        door.ahead = timedelta(hours=1)
        assert shown() == (2, True)
        # The watch comes upon another one: it counts too, and does not make the oldest younger.
        hinted = platform.participation(platform.campaign())
        parts.live.queue.add(Key(KeyKind.PARTICIPATION, DocumentId.from_tagged(f"oid:{hinted}")))
        parts.live.settler.step()
        assert shown() == (3, True)
        assert parts.sweep.step("test", dry_run=True).settled.paid == 2
        assert shown() == (3, True)
        door.is_closed = False
        result = parts.sweep.step("test").settled
        assert (result.paid, result.held) == (2, 1)
        assert shown() == (0, False)
