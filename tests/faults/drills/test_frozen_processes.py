"""A process is frozen while others need what it holds."""

from __future__ import annotations

import signal
from contextlib import closing

from reconciler.devstack.process import wait_until
from tests.support.command_line import Running
from tests.support.drills import Drill, postgres_session
from tests.support.servers import Postgres

WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def freeze_with_the_posting_lock(daemon: Running, drill: Drill, server: Postgres, database: str) -> None:
    """SIGSTOP, in the middle of a payment: the transaction is held where it writes, until the process is frozen."""
    with closing(postgres_session(server, database)) as session:
        session.execute("BEGIN")
        session.execute("LOCK TABLE postings IN ACCESS EXCLUSIVE MODE")
        drill.due()
        with closing(postgres_session(server, database)) as observer:

            def somebody_waits() -> bool:
                [count] = observer.execute(WAITS.encode()).fetchone() or [0]
                return bool(count)

            assert wait_until(somebody_waits, timeout_s=60)
        daemon.send(signal.SIGSTOP)
        session.execute("ROLLBACK")


def test_a_frozen_daemon_holds_the_posting_lock(drill: Drill, hurt_postgres: Postgres, database: str) -> None:
    """A daemon is frozen in the middle of a payment and holds the ledger's lock; a second one stands by."""
    frozen = drill.start()
    drill.pay_one()
    drill.start().wait_for("standing_by")
    drill.begin_fault()

    freeze_with_the_posting_lock(frozen, drill, hurt_postgres, database)
    drill.over()
    participation_id = drill.due()

    drill.paid_again(participation_id)
    frozen.send(signal.SIGCONT)
    later = drill.due()
    assert wait_until(lambda: drill.ledger.is_paid(later), timeout_s=60)
    drill.all_live()


def test_a_session_holds_the_posting_lock(drill: Drill, hurt_postgres: Postgres, database: str) -> None:
    """Somebody's open session holds the ledger's lock and does nothing."""
    drill.start()
    drill.pay_one()
    drill.begin_fault()

    with closing(postgres_session(hurt_postgres, database)) as session:
        session.execute("SET application_name = 'psql'")
        session.execute("BEGIN")
        session.execute("SELECT * FROM chain_head FOR UPDATE")
        participation_id = drill.due()
        drill.wait_until_said("psql")
        session.execute("ROLLBACK")
        drill.over()

    drill.paid_again(participation_id)
    drill.all_live()
