"""Messages about what an action did, shown once on the next page. They are kept by session, in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

SESSIONS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """One message: ``tone`` is ``good`` or ``bad``, ``subject`` what the action was about, ``text`` a sentence."""

    tone: str
    text: str
    subject: str = ""


class Flashes:
    """The last message for each session, until it is shown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, Flash] = OrderedDict()

    def leave(self, session: str, flash: Flash) -> None:
        """Keep a message for the session's next page."""
        with self._lock:
            self._waiting[session] = flash
            self._waiting.move_to_end(session)
            while len(self._waiting) > SESSIONS_MAX:
                self._waiting.popitem(last=False)

    def take(self, session: str) -> Flash | None:
        """Return the session's message and forget it."""
        with self._lock:
            return self._waiting.pop(session, None)
