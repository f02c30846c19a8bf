"""Everything at once, by chance: whoever becomes due is paid exactly once, whatever happens to servers and daemon.

Seconds by default. `SOAK_S=600 SOAK_SEED=7 make test ARGS="tests/faults/test_soak.py -s"` for a long one; the largest
delay from due to paid is printed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from bson.objectid import ObjectId
from pymongo import MongoClient
from pymongo.write_concern import WriteConcern

from app.parts import parts_of
from reconciler.config import load
from reconciler.devstack.mongod import MongodOptions
from reconciler.devstack.process import wait_until
from reconciler.ledger import schema
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from tests.support.command_line import CommandLine
from tests.support.invariants import opening, violations
from tests.support.ledger import rows_of
from tests.support.ledger_rows import paid_minor
from tests.support.many_due import PAID_MINOR, many_due
from tests.support.platform import Platform
from tests.support.servers import ReplicaSet
from tests.support.soak import PAUSE_S, TARGET, Chaos, Writer

SOAK_S = float(os.environ.get("SOAK_S", "15"))
SEED = int(os.environ.get("SOAK_SEED", "20260301"))
SETTLED_WITHIN_S = 90.0
"""After the last fault: an election, a lease that has to expire, a retry of the stream and a sweep."""

SWEEP_INTERVAL_S = 2


@pytest.mark.slow
@pytest.mark.timeout(SOAK_S + 240)
def test_everybody_is_paid_once_whatever_is_stepped_down_or_killed(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        ReplicaSet(tmp_path / "mongodb", MongodOptions(nodes=3)) as replica_set,
        MongoClient[dict[str, Any]](
            replica_set.uri, tz_aware=True, serverSelectionTimeoutMS=10_000, socketTimeoutMS=10_000
        ) as client,
    ):
        database = client.get_database("soak", write_concern=WriteConcern("majority"))
        count = int((SOAK_S + 60) / PAUSE_S[0])
        waiting = [ObjectId(one) for one in many_due(Platform(database), count, impressions=TARGET // 2)]
        run_py = CommandLine(
            folder=tmp_path,
            settings={
                "MONGODB_URI": replica_set.uri,
                "LEDGER_URL": postgres_url,
                "RECONCILER__MONGODB__DATABASE": database.name,
                "RECONCILER__MONGODB__WAIT_MAX_S": "2",
                "RECONCILER__LEDGER__WAIT_MAX_S": "2",
                "RECONCILER__SWEEP__INTERVAL_S": str(SWEEP_INTERVAL_S),
            },
        )
        overrides = {"mongodb.uri": replica_set.uri, "mongodb.database": database.name, "ledger.url": postgres_url}
        with parts_of(load(None, {}, overrides)) as parts:
            upgrade(parts.engine)
            create_missing(parts.connection, parts.settings.mapping)
            before = opening(parts.engine, database)
            writer = Writer(database["campaignparticipations"], waiting, random.Random(SEED))
            chaos = Chaos(replica_set, run_py, random.Random(SEED), run_py.start())
            try:
                chaos.daemon.wait_for("daemon_started")
                writer.start()
                chaos.for_seconds(SOAK_S)
                writer.stop()
                replica_set.wait_for_primary()
                expected = {str(one): PAID_MINOR for one in writer.due_at}
                all_paid = wait_until(lambda: paid_minor(parts.engine) == expected, timeout_s=SETTLED_WITHIN_S)
                assert all_paid, chaos.faults
                chaos.daemon.send(signal.SIGTERM)
                assert chaos.daemon.ended(within_s=10) == 0
            finally:
                chaos.daemon.kill()

            parts.sweep.step("test")
            assert paid_minor(parts.engine) == expected
            assert violations(parts.engine, database, before) == []
            assert set(chaos.faults) == {"step_down", "kill_a_node", "kill_the_daemon"}
            paid_at = {row["participation_id"]: row["created_at"] for row in rows_of(parts.engine, schema.payouts)}
    delay_max_s = max((paid_at[f"oid:{one}"] - at).total_seconds() for one, at in writer.due_at.items())
    with capsys.disabled():
        sys.stdout.write(
            f"\nseed {SEED}: {len(paid_at)} paid through {len(chaos.faults)} faults; "
            f"the largest delay from due to paid was {delay_max_s:.1f} s\n"
        )
