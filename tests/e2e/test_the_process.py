"""run.py as a process: signals from its first moment, and an output that takes nothing."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from app.parts import parts_of
from reconciler.config import load
from reconciler.devstack.process import wait_until
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing
from tests.support.command_line import RUN_PY, CommandLine
from tests.support.platform import Platform

WITHIN_S = 60.0


@pytest.fixture
def run_py(mongo_uri: str, mongo_database: Database[dict[str, Any]], sqlite_url: str, tmp_path: Path) -> CommandLine:
    """On SQLite, migrated."""
    settings = {
        "MONGODB_URI": mongo_uri,
        "RECONCILER__MONGODB__DATABASE": mongo_database.name,
        "LEDGER_URL": sqlite_url,
    }
    with parts_of(load(None, settings, {})) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
    return CommandLine(folder=tmp_path, settings=settings)


def start(run_py: CommandLine, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    settings: Mapping[str, str] = more.pop("settings", {})
    return subprocess.Popen(
        [sys.executable, str(RUN_PY), *arguments],
        cwd=run_py.folder,
        env={**os.environ, **run_py.settings, **settings},
        stdin=subprocess.DEVNULL,
        stdout=more.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def catches(process: subprocess.Popen[str], number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    with suppress(OSError):
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(mask, 16) >> (number - 1) & 1)
    return False


@pytest.mark.parametrize("arguments", [(), ("--full-check",), ("status",)])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_in_the_first_moment_is_obeyed(
    run_py: CommandLine, tmp_path: Path, arguments: tuple[str, ...], number: int, code: int
) -> None:
    # Its imports take as long as on the slowest machine: this stands where a library would be.
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "click.py").write_text("import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(600)\n")
    with start(run_py, *arguments, settings={"PYTHONPATH": str(slow)}) as process:
        assert wait_until((tmp_path / "importing").exists, timeout_s=WITHIN_S)
        # As process 1 it would be deaf to a signal without a handler of its own.
        assert catches(process, number)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, "Traceback" in stderr) == (code, False), stderr


def test_who_was_started_with_hangups_ignored_goes_on_ignoring_them(run_py: CommandLine) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with start(run_py, "--once", preexec_fn=ignore) as process:
        until_s = time.monotonic() + WITHIN_S
        while not catches(process, signal.SIGTERM):
            assert time.monotonic() < until_s
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0


@pytest.mark.parametrize("arguments", [("--full-check",), ("--once",), ("migrate",), ("status",)])
def test_a_signal_while_a_driver_waits_ends_a_command(run_py: CommandLine, arguments: tuple[str, ...]) -> None:
    # A server that takes a connection, and never says anything.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(WITHIN_S)
        uri = f"mongodb://127.0.0.1:{silent.getsockname()[1]}/"
        settings = {"MONGODB_URI": uri, "RECONCILER__MONGODB__WAIT_MAX_S": "600"}
        with start(run_py, *arguments, settings=settings) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGTERM)
            _, stderr = process.communicate(timeout=WITHIN_S)
            connection.close()
    assert process.returncode == 143, stderr
    assert "Told to end before it was through" in stderr


def test_a_daemon_passes_over_a_hangup_and_ends_by_sigterm(run_py: CommandLine) -> None:
    with run_py.start() as daemon:
        daemon.wait_for("daemon_started")
        os.kill(daemon.process.pid, signal.SIGHUP)
        daemon.wait_for("hangup_passed_over")
        daemon.send(signal.SIGTERM)
        assert daemon.ended() == 0


def _broken_pipe() -> Any:
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def _full_disk() -> Any:
    return Path("/dev/full").open("w", encoding="utf-8")


OUTPUTS: dict[str, Callable[[], Any]] = {"a reader that has gone": _broken_pipe, "a full disk": _full_disk}


@pytest.mark.parametrize(
    ("output", "arguments"),
    [
        ("a full disk", ("--once", "--json")),
        ("a full disk", ("payouts", "list")),
        ("a reader that has gone", ("--once",)),
        ("a reader that has gone", ("status", "--json")),
    ],
)
def test_an_output_that_takes_nothing_changes_no_exit_code(
    run_py: CommandLine, platform: Platform, output: str, arguments: tuple[str, ...]
) -> None:
    platform.participation(platform.campaign(), 2000)
    with OUTPUTS[output]() as file, start(run_py, *arguments, stdout=file) as process:
        _, stderr = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, stderr
    assert stderr.count("The result could not be written to standard output") == 1
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    if "--once" in arguments:
        [row] = json.loads(run_py.run("payouts", "list", "--format", "json").stdout)["payouts"]
        assert row["status"] == "paid"


@pytest.mark.parametrize("redirection", [">&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_closed_streams_change_no_exit_code_and_no_connection_gets_their_number(
    run_py: CommandLine, platform: Platform, redirection: str
) -> None:
    platform.participation(platform.campaign(), 2000)
    command = f'exec "{sys.executable}" "{RUN_PY}" --once {redirection}'
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=run_py.folder,
        env={**os.environ, **run_py.settings},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    if redirection == ">&-":
        assert "Bad file descriptor" in done.stderr
    [row] = json.loads(run_py.run("payouts", "list", "--format", "json").stdout)["payouts"]
    assert row["status"] == "paid"


ODD = "naïve ümlaut \x1b[31mred\x1b[0m \x9b2J \u202egnp.exe 日本"


@pytest.mark.parametrize(
    "environ", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}]
)
def test_an_encoding_that_is_not_utf_8_stops_no_command(
    run_py: CommandLine, platform: Platform, environ: dict[str, str]
) -> None:
    platform.participation(platform.campaign(), 2000, streamerId="ümlaut", _id=ODD)
    assert run_py.run("--once", **environ).code == 0
    assert run_py.run("payouts", "list", **environ).code == 0
    listed = run_py.run("payouts", "list", "--format", "json", **environ)
    assert listed.stdout.isascii()
    [row] = listed.json()["payouts"]
    assert row["participation_id"] == ODD
    shown = run_py.run("payouts", "show", row["payout_key"], "--json", **environ)
    assert (shown.code, shown.json()["payouts"][0]["payout_key"]) == (0, row["payout_key"])
    assert run_py.run("explain", ODD, "--json", **environ).json()["participation_id"] == ODD


def on_a_terminal(run_py: CommandLine, *arguments: str) -> str:
    """What a person sees."""
    ours, theirs = pty.openpty()
    with start(run_py, *arguments, stdout=theirs, settings={"TERM": "dumb", "NO_COLOR": "1"}) as process:
        os.close(theirs)
        seen, began = b"", time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < WITHIN_S and (piece := os.read(ours, 65_536)):
                seen += piece
        os.close(ours)
        process.communicate(timeout=WITHIN_S)
    return seen.decode()


def test_nothing_that_a_document_is_named_by_is_obeyed_by_a_terminal(run_py: CommandLine, platform: Platform) -> None:
    platform.participation(platform.campaign(), 2000, _id=ODD)
    swept = run_py.run("--once", RECONCILER__LOG__LEVEL="debug")
    assert not set("\x1b\x9b\u202e") & set(swept.stderr)
    for arguments in (
        ("payouts", "list"),
        ("payouts", "list", "--format", "csv"),
        ("payouts", "show", ODD),
        ("explain", ODD),
        ("ledger", "journal", "--format", "csv"),
    ):
        seen = on_a_terminal(run_py, *arguments)
        assert "red" in seen, arguments
        assert not set("\x1b\x9b\u202e") & set(seen), (arguments, seen)


def test_files_are_made_as_the_umask_says(run_py: CommandLine) -> None:
    with start(run_py, "--full-check", umask=0o077) as process:
        process.communicate(timeout=WITHIN_S)
    reports = list((run_py.folder / "reports").iterdir())
    assert len(reports) > 3
    assert {path.stat().st_mode & 0o777 for path in reports if path.is_file()} == {0o600}
