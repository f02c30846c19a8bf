"""`run.py --full-check` on a full disk: one sentence, exit code 2, and the newest report as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import RUN_PY, CommandLine
from tests.support.platform import Platform

FILE_SIZE_MAX_BLOCKS = 16
"""Of 512 bytes: what the kernel lets a file of the command grow to, as a full disk would."""


@pytest.fixture
def ledger_url(postgres_url: str) -> str:
    """The ledger is on another disk."""
    return postgres_url


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_full_disk(platform: Platform, run_py: CommandLine) -> None:
    assert run_py.run("migrate").code == 0
    campaign = platform.campaign()
    platform.participation(campaign, 5)
    assert run_py.run("--full-check").code == 0
    reports = run_py.folder / "reports"
    before = files(reports)
    for _ in range(200):
        platform.participation(campaign, float("nan"))

    full = subprocess.run(
        [
            "sh",
            "-c",
            f'ulimit -f {FILE_SIZE_MAX_BLOCKS} && exec "$@"',
            "sh",
            sys.executable,
            "-B",
            str(RUN_PY),
            "--full-check",
        ],
        cwd=run_py.folder,
        env={**os.environ, **run_py.settings},
        capture_output=True,
        text=True,
    )

    assert (full.returncode, full.stdout) == (2, "")
    assert full.stderr.splitlines()[-1].startswith("the report cannot be written to reports: ")
    after = files(reports)
    assert {name: after[name] for name in before} == before
    assert not [name for name in after.keys() - before.keys() if name.startswith((".", "latest"))]
