"""Sessions of people at a browser, in memory: a restart logs everybody out, and logging out is final."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from reconciler.api.callers import Caller, Proof

COOKIE = "reconciler_session"
LIFETIME_S = 12 * 3600.0
"""A working day; a token's own end comes first where it is earlier."""
SESSIONS_MAX = 1_000


class Sessions:
    """Open sessions by the hash of their secret. Any thread may ask."""

    def __init__(self, *, clock_s: Callable[[], float] = time.time) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._open: dict[str, Caller] = {}

    def open(self, caller: Caller) -> tuple[str, Caller]:
        """Begin a session for somebody who proved who they are; answers the cookie's value."""
        secret = secrets.token_urlsafe(32)
        ends_s = min(self._clock_s() + LIFETIME_S, caller.expires_s or float("inf"))
        known = replace(caller, proof=Proof.SESSION, expires_s=ends_s, csrf_token=secrets.token_urlsafe(32))
        with self._lock:
            self._forget_ended()
            while len(self._open) >= SESSIONS_MAX:
                self._open.pop(next(iter(self._open)))
            self._open[_digest(secret)] = known
        return secret, known

    def find(self, secret: str) -> Caller | None:
        """Whose session a cookie belongs to; None when it is over."""
        with self._lock:
            caller = self._open.get(_digest(secret))
        if caller is None or self._clock_s() >= (caller.expires_s or 0):
            return None
        return caller

    def close(self, secret: str) -> None:
        """End a session."""
        with self._lock:
            self._open.pop(_digest(secret), None)

    def _forget_ended(self) -> None:
        now_s = self._clock_s()
        for digest in [key for key, caller in self._open.items() if now_s >= (caller.expires_s or 0)]:
            del self._open[digest]


def _digest(secret: str) -> str:
    # The look-up of a hash leaks nothing by its time that would help to guess the secret.
    return hashlib.sha256(secret.encode()).hexdigest()
