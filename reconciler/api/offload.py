"""Blocking work on a few threads of its own, so that the event loop never waits for a database."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from reconciler.api.problems import Problem, ProblemKind

T = TypeVar("T")

WAITING_MAX = 2_000
"""Requests that wait for a thread; more are told to come back. At a few milliseconds each that is some seconds."""


class Offload:
    """A bounded pool of threads. Work that waits longer than its request may take is dropped before it begins."""

    def __init__(self, *, threads_max: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads_max, thread_name_prefix="api")
        self._lock = threading.Lock()
        self._open_count = 0

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run ``work`` on a thread in the caller's context: its log lines have the request id. Raises Problem."""
        with self._lock:
            if self._open_count >= WAITING_MAX:
                raise Problem(ProblemKind.BUSY, "Too many requests wait already.", headers={"Retry-After": "1"})
            self._open_count += 1
        future = self._pool.submit(copy_context().run, work)
        future.add_done_callback(self._count_out)
        return await asyncio.wrap_future(future)

    def close(self, within_s: float) -> bool:
        """Drop work that has not begun and wait for the rest; returns False when a thread still hangs in a driver."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            with self._lock:
                if self._open_count == 0:
                    return True
            time.sleep(0.02)
        return False

    def _count_out(self, _future: Future[Any]) -> None:
        with self._lock:
            self._open_count -= 1
