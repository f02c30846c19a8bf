"""Sessions of people at a browser, in memory: a restart logs everybody out, and logging out is final."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from reconciler.api.callers import Caller, Proof, Role

COOKIE = "reconciler_session"
LIFETIME_S = 12 * 3600.0
"""A working day; a token's own end comes first where it is earlier."""
SESSIONS_MAX = 1_000
OF_ONE_MAX = 20
"""Sessions of one caller: at some browsers and machines. Beyond, that caller's own oldest ends, and nobody else's."""


class Sessions:
    """Open sessions by the hash of their secret. Any thread may ask."""

    def __init__(self, *, clock_s: Callable[[], float] = time.time) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._open: dict[str, Caller] = {}

    def open(self, caller: Caller) -> tuple[str, Caller]:
        """Begin a session for an authenticated caller; returns the cookie's value and the caller of the session."""
        secret = secrets.token_urlsafe(32)
        ends_s = min(self._clock_s() + LIFETIME_S, caller.expires_s or float("inf"))
        known = replace(
            caller,
            proof=Proof.SESSION,
            vouched=caller.proof,
            expires_s=ends_s,
            csrf_token=secrets.token_urlsafe(32),
        )
        with self._lock:
            self._forget_ended()
            held = Counter(one.identity for one in self._open.values())
            if held[known.identity] >= OF_ONE_MAX:
                self._end_oldest_of(known.identity)
            elif held.total() >= SESSIONS_MAX:
                # Of viewers first: nothing that they do may throw out somebody who has to act.
                roles = {one.identity: one.role for one in self._open.values()}
                self._end_oldest_of(max(held, key=lambda whose: (roles[whose] is not Role.ADMIN, held[whose])))
            self._open[_digest(secret)] = known
        return secret, known

    def find(self, secret: str) -> Caller | None:
        """Return the caller of a cookie's session; None when the session is over."""
        with self._lock:
            caller = self._open.get(_digest(secret))
        if caller is None or self._clock_s() >= (caller.expires_s or 0):
            return None
        return caller

    def close(self, secret: str) -> None:
        """End a session."""
        with self._lock:
            self._open.pop(_digest(secret), None)

    def _end_oldest_of(self, identity: str) -> None:
        del self._open[next(digest for digest, one in self._open.items() if one.identity == identity)]

    def _forget_ended(self) -> None:
        now_s = self._clock_s()
        for digest in [key for key, caller in self._open.items() if now_s >= (caller.expires_s or 0)]:
            del self._open[digest]


def _digest(secret: str) -> str:
    # The look-up of a hash leaks nothing by its time that would help to guess the secret.
    return hashlib.sha256(secret.encode()).hexdigest()
