"""What became of an action, said once on the page that follows it. In memory, by session: no address can fake one."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

SESSIONS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """``tone`` is ``good`` or ``bad``; ``subject`` what it was about, ``text`` a sentence."""

    tone: str
    text: str
    subject: str = ""


class Flashes:
    """The last message for each session, until it is shown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, Flash] = OrderedDict()

    def leave(self, session: str, flash: Flash) -> None:
        """Have it shown on the session's next page."""
        with self._lock:
            self._waiting[session] = flash
            self._waiting.move_to_end(session)
            while len(self._waiting) > SESSIONS_MAX:
                self._waiting.popitem(last=False)

    def take(self, session: str) -> Flash | None:
        """The message that waits, once."""
        with self._lock:
            return self._waiting.pop(session, None)
