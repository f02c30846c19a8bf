"""Connections that stay open and fall silent: nothing is reset, and nothing comes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.drills import Drill
from tests.support.servers import Postgres, ReplicaSet
from tests.support.silent_proxy import SilentProxy


@pytest.fixture
def before_postgres(hurt_postgres: Postgres) -> Iterator[SilentProxy]:
    with SilentProxy(hurt_postgres.port) as proxy:
        yield proxy


@pytest.fixture
def before_mongodb(replica_set: ReplicaSet) -> Iterator[SilentProxy]:
    with SilentProxy(replica_set.nodes[0].port) as proxy:
        yield proxy


def test_open_connections_to_the_ledger(drill: Drill, before_postgres: SilentProxy, database: str) -> None:
    """Open connections to PostgreSQL fall silent (a NAT forgot them); new ones work."""
    drill.start(LEDGER_URL=f"postgresql://ledger@127.0.0.1:{before_postgres.port}/{database}")
    drill.pay_one()
    drill.begin_fault()

    before_postgres.silence()
    drill.over()
    participation_id = drill.due()

    drill.paid_again(participation_id)
    drill.all_live()


def test_every_connection_to_the_ledger(drill: Drill, before_postgres: SilentProxy, database: str) -> None:
    """Every connection to PostgreSQL falls silent, also new ones; later new ones work."""
    drill.start(LEDGER_URL=f"postgresql://ledger@127.0.0.1:{before_postgres.port}/{database}")
    drill.pay_one()
    drill.begin_fault()
    before_postgres.silence(also_new=True)
    participation_id = drill.due()
    drill.wait_until_said("outage")
    drill.last()

    before_postgres.speak()
    drill.over()

    drill.paid_again(participation_id)
    drill.all_live()


def test_open_connections_to_mongodb(drill: Drill, before_mongodb: SilentProxy) -> None:
    """Open connections to MongoDB fall silent; new ones work."""
    drill.start(MONGODB_URI=f"mongodb://127.0.0.1:{before_mongodb.port}/?directConnection=true")
    drill.pay_one()
    drill.begin_fault()

    before_mongodb.silence()
    drill.over()
    participation_id = drill.due()

    drill.paid_again(participation_id)
    drill.all_live()
