"""Putting files on disk together: all of them written in full beside their names, and only then moved onto them."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

Write = Callable[[BinaryIO], object]
"""Writes one file's content."""


def publish(directory: Path, stem: str, writers: Mapping[str, Write], copies: Mapping[str, str]) -> None:
    """Write ``<stem><suffix>`` for each suffix of ``writers``. ``copies``: further name → of which suffix it is a copy.

    Everything is on disk before the first name changes, so a disk that fills up leaves all old files as they were. The
    moves themselves take no room; a file system knows no way to do several of them at once, so they come last and
    together, ``stem`` before its copies. Raises OSError, and leaves no temporary file then, and no part of ``stem``.
    """
    with ExitStack() as cleaning:
        originals: dict[str, tuple[Path, Path]] = {}
        for suffix, write in writers.items():
            name = f"{stem}{suffix}"
            originals[suffix] = (_temporary(directory, name, write, cleaning), directory / name)
        further = [
            (_temporary(directory, name, _copying(originals[suffix][0]), cleaning), directory / name)
            for name, suffix in copies.items()
        ]
        _move_whole(list(originals.values()))
        for written, path in further:
            written.replace(path)
    _sync(directory)


def _temporary(directory: Path, name: str, write: Write, cleaning: ExitStack) -> Path:
    """A whole file under a temporary name in the same directory; gone with ``cleaning`` unless it was moved."""
    descriptor, temporary = open_beside(directory / name)
    cleaning.callback(temporary.unlink, missing_ok=True)
    with os.fdopen(descriptor, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def open_beside(path: Path) -> tuple[int, Path]:
    """A new file under a temporary name beside ``path``: its descriptor, and its name. Raises OSError.

    Who may read it is what the process's umask says, as for every file it makes; the standard library's temporary files
    are the owner's alone.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), temporary


def _copying(source: Path) -> Write:
    def write(file: BinaryIO) -> None:
        with source.open("rb") as original:
            shutil.copyfileobj(original, file)

    return write


def _move_whole(moves: Sequence[tuple[Path, Path]]) -> None:
    """All of them or none: the names are new, so what was moved can be taken away again."""
    done: list[Path] = []
    try:
        for written, path in moves:
            written.replace(path)
            done.append(path)
    except OSError:
        for path in done:
            path.unlink(missing_ok=True)
        raise


def _sync(directory: Path) -> None:
    """Make the new names last through a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
