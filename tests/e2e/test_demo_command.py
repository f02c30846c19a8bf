"""`run.py demo`: real servers of its own, everything as it promised, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.command_line import RUN_PY

ENDS_WITHIN_S = 100


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: mongod's socket lies in it, and its name is limited to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


def test_it_ends_well_and_leaves_no_process(folder: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, str(RUN_PY), "demo", "--keep", str(folder)],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    children: set[psutil.Process] = set()
    ended = threading.Event()

    def watch() -> None:
        with suppress(psutil.NoSuchProcess):
            while not ended.wait(0.1):
                children.update(psutil.Process(demo.pid).children(recursive=True))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        output, _ = demo.communicate(timeout=ENDS_WITHIN_S)
    finally:
        ended.set()
        watching.join()
        demo.kill()

    assert demo.returncode == 0, output
    assert "All is well." in output
    assert "UNEXPECTED" not in output
    assert json.loads((folder / "reports" / "latest.json").read_text())["verdict"] == "breaks"
    assert len(children) >= 2  # a mongod and a postgres at least
    _, left = psutil.wait_procs(children, timeout=5)
    assert left == []
    assert not list((folder / "servers").rglob("node*/data"))
