"""The daemon as a process on a PostgreSQL that takes no writes, or lacks a right or a table: it waits, and pays again.

Nothing of it is evidence that the books are wrong, so nothing stays halted when the cause is gone.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import Engine

from reconciler.devstack.process import wait_until
from reconciler.ledger.engine import open_engine, reading
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.reads.halts import current_halt
from tests.support.command_line import CommandLine, Running
from tests.support.ledger_rows import paid_minor
from tests.support.platform import Platform
from tests.support.servers import Postgres

WITHIN_S = 60.0
TARGET_REACHED = 2000


@dataclass(frozen=True, slots=True)
class Ground:
    """A ledger of an owner, used by another role."""

    owner: Engine
    role: str
    run_py: CommandLine
    platform: Platform

    def sql(self, *statements: str) -> None:
        """Said by the owner."""
        url = self.owner.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.format(role=self.role, database=self.owner.url.database).encode())

    def become_due(self) -> None:
        self.platform.participation(self.platform.campaign(), TARGET_REACHED)

    def is_paid(self, count: int) -> bool:
        return wait_until(lambda: len(paid_minor(self.owner)) == count, timeout_s=WITHIN_S)

    def is_halted(self) -> bool:
        with reading(self.owner) as connection:
            return current_halt(connection) is not None


END_SESSIONS = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '{role}'"


@pytest.fixture
def run_settings(mongo_uri: str, platform: Platform) -> dict[str, str]:
    return {
        "MONGODB_URI": mongo_uri,
        "RECONCILER__MONGODB__DATABASE": platform.database.name,
        "RECONCILER__SWEEP__INTERVAL_S": "1",
        "RECONCILER__SWEEP__LEASE_TTL_S": "3",
        "RECONCILER__WATCH__ENABLED": "false",
        "RECONCILER__LEDGER__WAIT_MAX_S": "2",
    }


@pytest.fixture
def ground(
    postgres_url: str, run_settings: dict[str, str], platform: Platform, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Ground]:
    owner = open_engine(postgres_url)
    role = f"payer_{uuid.uuid4().hex[:8]}"
    url = owner.url.set(username=role, password="x" * 8)
    settings = run_settings | {"LEDGER_URL": url.render_as_string(hide_password=False)}
    ground = Ground(owner, role, CommandLine(folder=tmp_path, settings=settings), platform)
    ground.sql("CREATE ROLE {role} LOGIN PASSWORD 'xxxxxxxx'", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    if getattr(request, "param", "migrated") == "migrated":
        upgrade(owner)
        ground.sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
        ground.sql("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}")
    yield ground
    ground.sql("DROP OWNED BY {role}", "DROP ROLE {role}")
    owner.dispose()


def stops(daemon: Running) -> list[str]:
    """What the daemon said of anything that stops it, a line each."""
    actions = ("outage", "run_refused", "lease_lost", "lease_not_taken")
    return [f"{action} {event}" for action in actions for event in daemon.events(action)]


def test_a_standby_that_answers_for_a_while_is_waited_for(
    platform: Platform, tmp_path: Path, run_settings: dict[str, str]
) -> None:
    """As in a failover behind a name or a proxy: first a standby answers at the address, then it is promoted."""
    with Postgres(tmp_path / "failing_over") as server:
        owner = open_engine(server.create_database("failing_over"))
        upgrade(owner)
        url = owner.url.render_as_string(hide_password=False)
        ground = Ground(owner, "", CommandLine(folder=tmp_path, settings=run_settings | {"LEDGER_URL": url}), platform)
        ground.become_due()
        with ground.run_py.start() as daemon:
            daemon.wait_for("payouts_posted")
            signal = server._data / "standby.signal"
            signal.touch()
            signal.chmod(0o666)
            owner.dispose()
            server.restart()
            ground.become_due()
            assert wait_until(
                lambda: any("ead-only" in line or "during recovery" in line for line in stops(daemon)),
                timeout_s=WITHIN_S,
            ), stops(daemon)
            once = ground.run_py.run("--once")
            with ground.run_py.start() as second:
                second.wait_for("lease_not_taken")
                ground.sql("SELECT pg_promote()")
                assert ground.is_paid(2)
                assert [daemon.process.poll(), second.process.poll()] == [None, None]
                assert [daemon.events("halted"), second.events("halted")] == [[], []]
            said = [(event["worker"], event["database"]) for event in daemon.events("outage")]
            assert len(said) == len(set(said)), "once each"
        assert (once.code, "cannot be reached" in once.stderr) == (3, False), once.stderr
        assert "The ledger's database cannot do it now: " in once.stderr
        assert not ground.is_halted()
        owner.dispose()


REFUSALS = {
    "a lost right": ("REVOKE INSERT, UPDATE ON runs FROM {role}", "GRANT ALL ON runs TO {role}", "ON TABLE runs TO"),
    "a lost right on the lease": (
        "REVOKE INSERT, UPDATE ON leases FROM {role}", "GRANT ALL ON leases TO {role}", "ON TABLE leases TO",
    ),
    "a table that is away": (
        "ALTER TABLE runs RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO runs", "being restored",
    ),
    "a schema that is away": (
        "ALTER SCHEMA public RENAME TO elsewhere", "ALTER SCHEMA elsewhere RENAME TO public", "",
    ),
    "a schema that is closed": (
        "REVOKE USAGE ON SCHEMA public FROM PUBLIC", "GRANT USAGE ON SCHEMA public TO PUBLIC", "",
    ),
    "a role that may not log in": ("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN", "Mend the user"),
    "a column that is away": (
        "ALTER TABLE entries RENAME COLUMN key TO code", "ALTER TABLE entries RENAME COLUMN code TO key", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("cause", REFUSALS)
def test_what_a_person_must_put_back_is_said_and_paying_goes_on_then(ground: Ground, cause: str) -> None:
    take_away, put_back, words = REFUSALS[cause]
    ground.become_due()
    with ground.run_py.start() as daemon:
        daemon.wait_for("payouts_posted")
        ground.sql(take_away, END_SESSIONS)
        ground.become_due()
        assert wait_until(
            lambda: any("refuses this program" in line and words in line for line in stops(daemon)), timeout_s=WITHIN_S
        ), stops(daemon)
        once = ground.run_py.run("--once")
        ground.sql(put_back)
        assert ground.is_paid(2)
        assert daemon.process.poll() is None
        assert daemon.events("halted") == []
        assert len(daemon.events("run_refused")) <= 4, "said once by each worker that met it"
    assert once.code == (0 if "lease" in cause else 2)
    assert not ground.is_halted()


def test_a_daemon_may_start_before_it_may_log_in(ground: Ground) -> None:
    ground.sql("ALTER ROLE {role} NOLOGIN")
    ground.become_due()
    with ground.run_py.start() as daemon:
        assert "not permitted to log in" in daemon.wait_for("run_refused")[0]["reason"]
        ground.sql("ALTER ROLE {role} LOGIN")
        assert ground.is_paid(1)
        assert len(daemon.events("run_refused")) == 1


def test_a_table_that_is_altered_under_the_daemon_stops_nothing_for_long(ground: Ground) -> None:
    """What was prepared before does not fit any more, and the connection knows of it for ever."""
    ground.become_due()
    with ground.run_py.start() as daemon:
        daemon.wait_for("payouts_posted")
        for number in range(3):
            ground.sql(
                *(f"ALTER TABLE {table} ADD COLUMN note_{number} text" for table in ("runs", "leases", "outbox"))
            )
            ground.become_due()
            assert ground.is_paid(2 + number)
        assert daemon.events("halted") == []
    assert not ground.is_halted()


@pytest.mark.parametrize("ground", ["empty"], indirect=True)
def test_migrating_without_the_right_to_create_names_the_grant(ground: Ground) -> None:
    refused = ground.run_py.run("migrate")
    assert refused.code == 2
    assert f"GRANT USAGE, CREATE ON SCHEMA public TO {ground.role}" in refused.sentence
    ground.sql("GRANT USAGE, CREATE ON SCHEMA public TO {role}")
    assert ground.run_py.run("migrate").code == 0
