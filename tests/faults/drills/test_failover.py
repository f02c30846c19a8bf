"""What stands between the daemon and the ledger's server changes: a standby takes over, a pooler dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from reconciler.devstack.process import wait_until
from tests.support.command_line import CommandLine
from tests.support.drills import Drill, postgres_ledger, postgres_session
from tests.support.pgbouncer import PgBouncer
from tests.support.servers import Postgres
from tests.support.silent_proxy import SilentProxy
from tests.support.standby import Standby


@pytest.fixture
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("primary")) as postgres:
        yield postgres


@pytest.fixture
def hurt_postgres(primary: Postgres) -> Postgres:
    return primary


def test_a_standby_is_promoted(
    drill: Drill, run_py: CommandLine, primary: Postgres, database: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The ledger fails over: its standby answers on the same address, refuses writes, and is promoted later."""
    with (
        Standby(tmp_path_factory.mktemp("standby"), primary) as standby,
        SilentProxy(primary.port) as address,
    ):
        url = f"postgresql://ledger@127.0.0.1:{address.port}/{database}"
        drill.start(LEDGER_URL=url)
        drill.pay_one()
        assert wait_until(standby.has_caught_up, timeout_s=30)
        drill.begin_fault()
        drill.ledger = postgres_ledger(standby, database)
        address.redirect(standby.port)
        primary.kill()
        participation_id = drill.due()
        drill.start(LEDGER_URL=url)
        assert run_py.run("--once", LEDGER_URL=url, RECONCILER__LEDGER__WAIT_MAX_S="2").code == 3
        drill.last()

        standby.promote()
        drill.over()

        drill.paid_again(participation_id)
        drill.all_live()
        with closing(postgres_session(standby, database)) as session:
            assert session.execute("SELECT count(*) FROM decisions WHERE kind = 'halt'").fetchone() == (0,)
        primary.restart()


def test_the_pooler_is_killed(drill: Drill, hurt_postgres: Postgres, database: str) -> None:
    """PgBouncer (transaction mode) before the ledger is killed, and started again."""
    with PgBouncer(hurt_postgres.port) as bouncer:
        drill.start(LEDGER_URL=bouncer.url(database))
        drill.pay_one()
        drill.begin_fault()
        bouncer.kill()
        participation_id = drill.due()
        drill.wait_until_said("outage")
        drill.last()

        bouncer.start()
        drill.over()

        drill.paid_again(participation_id)
        drill.all_live()
