"""A MongoDB client that a test leaves open is charged to that test.

A client that nobody closes warns when it is collected, and then whichever test runs at that moment is red.
"""

from __future__ import annotations

import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import MongoClient

from reconciler.devstack.process import wait_until

FRAMES_SHOWN = 12
GRACE_S = 5.0

_WATCHED: tuple[tuple[type[Any], Callable[[Any], bool]], ...] = (
    # A client that never connected warns nobody. The driver has no public word for either.
    (MongoClient, lambda client: vars(client)["_opened"] and not vars(client)["_closed"]),
)


@contextmanager
def nothing_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails at the end of the block for a connection that was opened in it and is still open; closes it, too.

    What another thread is about to close gets a moment.
    """
    opened: list[tuple[weakref.ref[Any], str]] = []
    for kind, _ in _WATCHED:
        monkeypatch.setattr(kind, "__init__", _noting(kind.__init__, opened))
    yield
    wait_until(lambda: not _left(opened), timeout_s=GRACE_S)
    left = _left(opened)
    for connection, _ in left:
        connection.close()
    if left:
        connection, where = left[0]
        pytest.fail(f"this test left a {type(connection).__name__} open, made here:\n{where}", pytrace=False)


def _left(opened: list[tuple[weakref.ref[Any], str]]) -> list[tuple[Any, str]]:
    alive = [(connection, where) for reference, where in opened if (connection := reference()) is not None]
    return [
        (connection, where)
        for connection, where in alive
        if any(isinstance(connection, kind) and is_open(connection) for kind, is_open in _WATCHED)
    ]


def _noting(init: Callable[..., None], opened: list[tuple[weakref.ref[Any], str]]) -> Callable[..., None]:
    def noting(connection: Any, *arguments: Any, **options: Any) -> None:
        init(connection, *arguments, **options)
        opened.append((weakref.ref(connection), "".join(traceback.format_stack(limit=FRAMES_SHOWN)[:-1])))

    return noting
