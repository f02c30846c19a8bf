"""What the daemon is doing right now, for whoever asks: written by its threads, read by the API and `run.py status`.

A section a part of the daemon (``sweep``, ``stream``, ``queue``, ``full_check``, ``lease``), each a flat mapping of
plain values; times are aware UTC. State worth keeping is in SQL: this is only what a process knows of itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import datetime

Value = str | int | float | bool | datetime | None | Mapping[str, object]
Source = Callable[[], Mapping[str, Value]]


class StatusBoard:
    """Sections by name. Any thread may write and read; a reader gets a copy that nobody changes any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sections: dict[str, dict[str, Value]] = {}
        self._sources: dict[str, Source] = {}

    def record(self, section: str, **values: Value) -> None:
        """Set some values of a section; its others stay as they are."""
        with self._lock:
            self._sections.setdefault(section, {}).update(values)

    def ask(self, section: str, source: Source) -> None:
        """Have ``source`` called for a section at each look: for what changes too often to be recorded.

        ``source`` must not block; what it returns comes on top of what was recorded.
        """
        with self._lock:
            self._sources[section] = source

    def snapshot(self) -> dict[str, dict[str, Value]]:
        """All sections, as they are now."""
        with self._lock:
            sections = deepcopy(self._sections)
            sources = dict(self._sources)
        for name, source in sources.items():
            sections.setdefault(name, {}).update(source())
        return sections


class Pulse:
    """When a database last did what each thread asked of it."""

    def __init__(self) -> None:
        self._at_s: dict[int, float] = {}

    def beat(self) -> None:
        """Record that a database did what the calling thread asked."""
        self._at_s[threading.get_ident()] = time.monotonic()

    def last_s(self, thread_id: int | None) -> float:
        """Return when that was for a thread, on the monotonic clock; minus infinity where it never was."""
        return self._at_s.get(thread_id or 0, float("-inf"))


Probe = Callable[[], str | None]
"""Whether something lives: None, or what is wrong with it in a few words. Must not block, nor look at a database."""


class Liveness:
    """Whether this process works: its threads live, and one that has work makes progress.

    A database that is away must not show here: whoever restarts a process for it turns an outage into two.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._probes: dict[str, Probe] = {}

    def watch(self, name: str, probe: Probe) -> None:
        """Register a probe, which :meth:`faults` calls."""
        with self._lock:
            self._probes[name] = probe

    def faults(self) -> dict[str, str | None]:
        """What each probe returns, by name."""
        with self._lock:
            probes = dict(self._probes)
        return {name: probe() for name, probe in probes.items()}
