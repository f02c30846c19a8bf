"""A check that cannot write its report: what is said, and that everything is left as it was."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import RUN_PY, CommandLine
from tests.support.platform import Platform

BLOCKS = 16
"""Of 512 or 1,024 bytes, as the shell counts: less than the report of a hundred breaks takes."""


@pytest.fixture
def ledger_url(postgres_url: str) -> str:
    """A server: a SQLite ledger is a file too, and no file may grow here."""
    return postgres_url


def test_a_full_disk_leaves_the_old_report_and_a_record(platform: Platform, run_py: CommandLine) -> None:
    assert run_py.run("migrate").code == 0
    platform.participation(platform.campaign(), 5)
    assert run_py.run("--full-check").code == 0
    reports = run_py.folder / "reports"
    before = {path.name: path.read_bytes() for path in reports.iterdir()}
    campaign_id = platform.campaign()
    for _ in range(100):
        platform.participation(campaign_id, "many")

    done = subprocess.run(
        ["sh", "-c", f"ulimit -f {BLOCKS}; exec {shlex.join([sys.executable, str(RUN_PY), '--full-check'])}"],
        cwd=run_py.folder,
        env={"PATH": os.environ["PATH"], **run_py.settings},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "the report cannot be written to reports: File too large."
    assert {path.name: path.read_bytes() for path in reports.iterdir()} == before
    listed = run_py.run("report", "list", "--json").json()["reports"]
    assert [one["verdict"] for one in listed] == ["failed", "clean"]
    assert listed[0]["note"] == "the report cannot be written to reports: File too large"
    assert run_py.run("breaks", "list", "--json").json()["breaks"] == [], "what nobody could read of is not known"


def test_an_unreadable_directory_is_a_sentence(run_py: CommandLine) -> None:
    assert run_py.run("migrate").code == 0
    Path(run_py.folder / "reports").write_text("a file where the folder would be")
    for command in (["report", "list"], ["report", "show"], ["report", "diff", "latest"]):
        done = run_py.run(*command)
        assert (done.code, done.stdout) == (2, "")
        assert "reports" in done.sentence
