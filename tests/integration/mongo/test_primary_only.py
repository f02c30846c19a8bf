"""Whatever the connection string asks for: decisions rest on the primary and on what a majority has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from cli.app import main
from reconciler.devstack.mongod import MongodOptions
from reconciler.errors import Outage
from reconciler.mongo.connection import connect, require_primary
from tests.support.servers import ReplicaSet

WEAK = (
    "readPreference=secondary&readPreferenceTags=dc:a&maxStalenessSeconds=120&readConcernLevel=local&w=0&journal=false"
)


def test_no_option_of_the_connection_string_weakens_reads_or_writes() -> None:
    connection = connect(f"mongodb://127.0.0.1:1/?{WEAK}", "sponsorship", wait_max_s=0.1)
    try:
        for what in (connection.client, connection.database):
            assert what.read_preference == ReadPreference.PRIMARY
            assert what.read_concern == ReadConcern("majority")
            assert what.write_concern.document["w"] == "majority"
            assert what.write_concern.document.get("j") is not False
        assert connection.client.write_concern == WriteConcern("majority", j=True)
    finally:
        connection.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("pair"), MongodOptions(nodes=3)) as replica_set:
        yield replica_set


def addresses(pair: ReplicaSet) -> dict[bool, str]:
    """The address of a member by whether it is the primary."""
    found: dict[bool, str] = {}
    for node in pair.nodes:
        connection = connect(f"mongodb://{node.address}/?directConnection=true", "x", wait_max_s=30)
        try:
            found[bool(connection.client.admin.command("hello")["isWritablePrimary"])] = node.address
        finally:
            connection.close()
    return found


def test_a_direct_connection_to_a_secondary_decides_nothing(
    pair: ReplicaSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = addresses(pair)
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/ledger.db")
    for options in ("directConnection=true", f"directConnection=true&{WEAK}"):
        secondary = f"mongodb://{found[False]}/?{options}"
        connection = connect(secondary, "x", wait_max_s=30)
        try:
            with pytest.raises(Outage, match="not the primary"):
                require_primary(connection)
        finally:
            connection.close()
        monkeypatch.setenv("MONGODB_URI", secondary)
        for arguments in (["--once", "--dry-run"], ["--full-check", "--dry-run"]):
            assert main(arguments) == 3
            said = capsys.readouterr()
            assert "would pay" not in said.out
            assert "take directConnection out of mongodb.uri" in said.err


def test_the_primary_is_found_by_any_member_and_may_be_named_directly(pair: ReplicaSet) -> None:
    found = addresses(pair)
    for uri in (f"mongodb://{found[True]}/?directConnection=true", f"mongodb://{found[False]}/?{WEAK}"):
        connection = connect(uri, "x", wait_max_s=30)
        try:
            require_primary(connection)
            connection.database["written"].insert_one({})
        finally:
            connection.close()
