"""A SQLite ledger that was cut off, overwritten or edited with a hex editor: what and where, and no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli.failing import exit_code_of
from cli.session import Session
from cli.verify_commands import anchor, verify
from reconciler.exit_codes import ExitCode
from reconciler.ledger import schema
from reconciler.ledger.engine import open_engine
from reconciler.ledger.migrate import upgrade
from reconciler.ledger.proof.verify import SqlVerifier
from tests.support.ledger import SIGNED, decisions_of, rows_of
from tests.support.varied_ledger import write_varied


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger in one closed file, without a log beside it."""
    path = tmp_path / "ledger.db"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    write_varied(engine)
    engine.dispose()
    assert not path.with_name("ledger.db-wal").exists()
    return path


def run(command: str, path: Path, *arguments: str) -> int:
    """A command as the command line runs it; answers its exit code."""
    session = Session(config_path=Path("/dev/null"), overrides={"ledger.url": f"sqlite:///{path}"}, as_json=False)
    with exit_code_of() as ending:
        click_command = {"verify": verify, "anchor": anchor}[command]
        ending.code = click_command.main(args=list(arguments), obj=session, standalone_mode=False) or ExitCode.CLEAN
    return int(ending.code)


def faults_of(path: Path) -> list[str]:
    engine = open_engine(f"sqlite:///{path}")
    try:
        return [fault.detail for fault in SqlVerifier(engine).verify().faults]
    finally:
        engine.dispose()


def test_a_whole_ledger_exits_0_and_its_anchor_holds(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("anchor", path) == 0
    line = capsys.readouterr().out

    assert line.count("\n") == 1
    assert run("verify", path, "--anchor", line) == 0
    said = capsys.readouterr()
    assert "The ledger verifies" in said.out
    assert said.err == ""


@pytest.mark.parametrize("text", ["", "ledger=x,batch=1", "latest"])
def test_an_anchor_that_is_none_exits_2(path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", path, "--anchor", text) == 2
    assert "an anchor is one line" in capsys.readouterr().err


def test_no_file_exits_2_and_none_appears(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", tmp_path / "none.db") == 2
    assert "there is no ledger at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_told_with_its_length(path: Path, part: float, capsys: pytest.CaptureFixture[str]) -> None:
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: int(size * part)])

    assert run("verify", path) == 4
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert said.err.count("\n") == 1
    expected = "is empty: 0 bytes are left" if part == 0 else "is no SQLite" if size * part < 100 else "was truncated"
    assert expected in said.err


def test_text_in_place_of_a_ledger_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text("gone\n" * 1000)

    assert run("verify", path) == 4
    assert "is no SQLite database: its 5000 bytes begin with 67 6f 6e 65" in capsys.readouterr().err


def test_every_damaged_page_is_found(path: Path) -> None:
    """Each page in turn is overwritten: whatever it held, a fault names it, and nothing raises."""
    whole = path.read_bytes()
    page_size = int.from_bytes(whole[16:18], "big")
    for page in range(len(whole) // page_size):
        begin = page * page_size + (100 if page == 0 else 0)
        path.write_bytes(
            whole[:begin] + b"\xff" * (page_size - begin % page_size) + whole[begin - begin % page_size + page_size :]
        )
        assert faults_of(path), f"page {page + 1}"
    path.write_bytes(whole)
    assert faults_of(path) == []


def test_an_edited_byte_is_found_with_its_batch_and_entry(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = path.read_bytes()
    at = whole.index(b"a gift")
    path.write_bytes(whole[:at] + b"a sift" + whole[at + 6 :])

    assert run("verify", path) == 4
    assert "the first bad batch is 8: batch 8 was changed after it was written (one of the entries 15 to 16" in (
        capsys.readouterr().err
    )


def test_text_that_is_no_utf8_is_found(path: Path) -> None:
    whole = path.read_bytes()
    at = whole.index(b"a gift")
    path.write_bytes(whole[:at] + b"\xff\xfe\xfdift" + whole[at + 6 :])

    assert faults_of(path)


def test_json_is_one_document(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verified"] is True
    assert (document["entries"], document["payouts"], document["faults"]) == (16, 10, [])


OTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM entries").fetchone()
connection.close()
"""


def test_a_look_at_the_file_leaves_the_log_of_a_ledger_in_use_alone(path: Path) -> None:
    """A daemon checks its ledger, and a command beside it ends: what the daemon posts afterwards must not be lost.

    Whoever closes a file drops all locks of the whole process on it. The command would find nobody else there, and take
    the log away from under the daemon.
    """
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT count(*) FROM entries")).one()
    assert SqlVerifier(engine).verify().faults == ()

    subprocess.run([sys.executable, "-c", OTHER, str(path)], check=True)

    assert path.with_name("ledger.db-wal").exists()
    assert decisions_of(engine).resume(SIGNED) == "resumed"
    reader = open_engine(f"sqlite:///{path}")
    assert "counted twice" in [row["reason"] for row in rows_of(reader, schema.decisions)]
    assert SqlVerifier(reader).verify().faults == ()
    for one in (reader, engine):
        one.dispose()
