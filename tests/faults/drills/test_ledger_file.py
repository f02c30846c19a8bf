"""An embedded ledger: its file is moved away, and its disk is full."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command_line import CommandLine, Running
from tests.support.drills import Drill, sqlite_ledger

if TYPE_CHECKING:
    from pymongo.database import Database


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "ledger.db"


@pytest.fixture
def run_py(mongo_uri: str, mongo_database: Database[dict[str, Any]], ledger_file: Path, tmp_path: Path) -> CommandLine:
    ledger_file.parent.mkdir()
    run_py = CommandLine(
        folder=tmp_path,
        settings={
            "MONGODB_URI": mongo_uri,
            "LEDGER_URL": f"sqlite:///{ledger_file}",
            "RECONCILER__MONGODB__DATABASE": mongo_database.name,
            "RECONCILER__SWEEP__INTERVAL_S": "2",
        },
    )
    assert run_py.run("migrate").code == 0
    return run_py


@pytest.fixture
def drill(drill: Drill, ledger_file: Path) -> Drill:
    drill.ledger = sqlite_ledger(str(ledger_file))
    return drill


def may_write(daemon: Running, bytes_max: int) -> None:
    """Let a file of the daemon grow to so many bytes, as a disk that is full would, or one that was made larger."""
    _, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (bytes_max, hard))


def test_the_file_is_moved(drill: Drill, ledger_file: Path) -> None:
    """The SQLite ledger is moved away under the daemon, and put back."""
    daemon = drill.start()
    drill.pay_one()
    drill.begin_fault()
    elsewhere = ledger_file.parent.rename(ledger_file.parent.with_name("elsewhere"))
    participation_id = drill.due()
    drill.wait_until_said("ledger")
    drill.last(4.0)
    assert not drill.platform.read("campaignparticipations", participation_id).get("finalEarningsTransferred")

    elsewhere.rename(ledger_file.parent)
    drill.over()

    drill.paid_again(participation_id)
    assert daemon.process.poll() is None


def test_the_disk_is_full(drill: Drill) -> None:
    """The disk of the SQLite ledger is full, and has room again."""
    daemon = drill.start()
    drill.pay_one()
    drill.begin_fault()
    may_write(daemon, 1)
    participation_id = drill.due()
    drill.wait_until_said("outage")
    drill.last()

    may_write(daemon, resource.RLIM_INFINITY)
    drill.over()

    drill.paid_again(participation_id)
    drill.all_live()
