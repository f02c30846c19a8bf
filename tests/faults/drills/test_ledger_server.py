"""The ledger's PostgreSQL is restarted, refuses writes, loses a right or a table, or is replaced by another one."""

from __future__ import annotations

from tests.support.drills import Drill, in_postgres
from tests.support.servers import Postgres

OTHER_SESSIONS_END = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def test_the_server_is_killed(drill: Drill, hurt_postgres: Postgres) -> None:
    """PostgreSQL is killed, and started again."""
    drill.start()
    drill.pay_one()
    drill.begin_fault()
    hurt_postgres.kill()
    participation_id = drill.due()
    drill.wait_until_said("outage")
    drill.last()

    hurt_postgres.restart()
    drill.over()

    drill.paid_again(participation_id)
    drill.all_live()


def test_it_takes_no_writes(drill: Drill, hurt_postgres: Postgres, database: str) -> None:
    """PostgreSQL takes no writes (a managed disk is full, a standby answers), then takes them again."""
    drill.start()
    drill.pay_one()
    drill.begin_fault()
    in_postgres(
        hurt_postgres, database, f"ALTER DATABASE {database} SET default_transaction_read_only = on", OTHER_SESSIONS_END
    )
    participation_id = drill.due()
    drill.start()
    drill.wait_until_said("outage")
    drill.last()

    in_postgres(
        hurt_postgres,
        database,
        "SET default_transaction_read_only = off",
        f"ALTER DATABASE {database} SET default_transaction_read_only = off",
        OTHER_SESSIONS_END,
    )
    drill.over()

    drill.paid_again(participation_id)
    drill.all_live()


def test_a_right_is_lost(drill: Drill, hurt_postgres: Postgres, database: str) -> None:
    """The program's role loses its rights on the lease, and gets them back."""
    in_postgres(
        hurt_postgres,
        database,
        "DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO app",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app",
    )
    drill.start(LEDGER_URL=f"postgresql://app:x@127.0.0.1:{hurt_postgres.port}/{database}")
    drill.pay_one()
    drill.begin_fault()
    in_postgres(hurt_postgres, database, "REVOKE ALL ON leases, chain_head FROM app")
    participation_id = drill.due()
    drill.wait_until_said("permission denied")
    drill.last()

    in_postgres(hurt_postgres, database, "GRANT ALL ON leases, chain_head TO app")
    drill.over()

    drill.paid_again(participation_id)
    drill.all_live()


def test_a_table_is_away(drill: Drill, hurt_postgres: Postgres, database: str) -> None:
    """A table of the ledger is away while it is restored."""
    drill.start()
    drill.pay_one()
    drill.begin_fault()
    in_postgres(hurt_postgres, database, "ALTER TABLE entries RENAME TO entries_away")
    participation_id = drill.due()
    drill.wait_until_said("entries")
    drill.last()

    in_postgres(hurt_postgres, database, "ALTER TABLE entries_away RENAME TO entries")
    drill.over()

    drill.paid_again(participation_id)
    drill.all_live()


def test_no_connection_is_free(drill: Drill, hurt_postgres: Postgres, database: str) -> None:
    """The program's role may open no further connection."""
    in_postgres(
        hurt_postgres,
        database,
        "DO $$ BEGIN CREATE ROLE few LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO few",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO few",
        "ALTER ROLE few CONNECTION LIMIT -1",
    )
    drill.start(LEDGER_URL=f"postgresql://few:x@127.0.0.1:{hurt_postgres.port}/{database}")
    drill.pay_one()
    drill.begin_fault()
    in_postgres(hurt_postgres, database, "ALTER ROLE few CONNECTION LIMIT 0", OTHER_SESSIONS_END)
    participation_id = drill.due()
    drill.wait_until_said("too many connections")
    drill.last()

    in_postgres(hurt_postgres, database, "ALTER ROLE few CONNECTION LIMIT -1")
    drill.over()

    drill.paid_again(participation_id)
    drill.all_live()
