"""`run.py` on a host whose clock is wrong: it says so, pays nobody, and ends with exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.parts import Parts
from reconciler.config import Settings
from reconciler.ledger import schema
from tests.support.ledger import rows_of
from tests.support.platform import Platform

ROOT = Path(__file__).parents[2]


def run(settings: Settings, shift_s: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": "tests/support/shifted_clock", "SHIFTED_CLOCK_S": str(shift_s)}
    servers = {
        "mongodb.uri": settings.mongodb.uri.get_secret_value(),
        "mongodb.database": settings.mongodb.database,
        "ledger.url": settings.ledger.url.get_secret_value(),
    }
    flags = [flag for name, value in servers.items() for flag in ("--set", f"{name}={value}")]
    command = [sys.executable, "run.py", *flags, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("ledger_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("shift_s", [86_400])
def test_a_host_whose_clock_is_off_pays_nobody_and_says_so(
    platform: Platform, parts: Parts, settings: Settings, shift_s: int
) -> None:
    platform.participation(platform.campaign())

    off = run(settings, shift_s, "--once", "--json")

    assert off.returncode == 2, off.stderr
    assert "clock_skew_max_s" in off.stderr
    assert rows_of(parts.engine, schema.entries) == []
    standing = json.loads(run(settings, shift_s, "--json", "status").stdout)["clock"]
    assert standing["is_right"] is False
    assert "clock_skew_max_s" in standing["reason"]

    right = run(settings, 0, "--once", "--json")

    assert (right.returncode, json.loads(right.stdout)["paid"]) == (0, 1), right.stderr
