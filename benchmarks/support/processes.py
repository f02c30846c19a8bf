"""Work in a process of its own, so that its memory is its own too."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command printed, and what the kernel says it took."""

    printed: dict[str, Any]
    peak_rss_mb: float
    cpu_s: float


def run_product(arguments: list[str], environment: Mapping[str, str]) -> Ran:
    """Run `run.py` with arguments that make it print one JSON document; its log is shown only when it fails.

    The kernel carries the starting process's peak over into the new one: keep the caller small.
    """
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as log:
        command = [sys.executable, str(ROOT / "run.py"), *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=printed, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        log.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}: {log.read()[-2_000:].decode()}")
        return Ran(
            printed=json.loads(printed.read()),
            peak_rss_mb=usage.ru_maxrss / 1024,  # kilobytes on Linux
            cpu_s=usage.ru_utime + usage.ru_stime,
        )


def in_child(work: Callable[..., Result], *arguments: object) -> Result:
    """Call a module's function in a fresh process, and answer what it answers."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as child:
        return child.submit(work, *arguments).result()
