"""Start a server that cannot outlive us, wait for it with a limit, end it by its own process id."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LAUNCHER = Path(__file__).with_name("launcher.py")
NO_USER = "-"

# Below the range the kernel hands to outgoing connections (32768 and up on Linux): while a node is down for a test,
# a client's own connection could otherwise take its port, or even connect to itself there.
PORTS = range(20_000, 32_000)
PORT_ATTEMPTS_MAX = 100
POLL_INTERVAL_S = 0.02
LOG_LINES_SHOWN_MAX = 8
LOG_LINE_CHARS_MAX = 400


class DevstackError(Exception):
    """A development server cannot be found, started or reached; the message is one sentence for a person."""


class Stoppable(ABC):
    """Starts where a ``with`` block begins, and stops at its end."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None:
        """Return when it can be used. Raises DevstackError."""

    @abstractmethod
    def stop(self) -> None:
        """End it; harmless when nothing runs."""


def spawn(command: Sequence[str], *, log: Path, user: str | None = None) -> subprocess.Popen[bytes]:
    """Start `command` (an absolute path first) with its output appended to `log`, as `user` if named (needs root).

    The process dies with this one, also when this one is killed.
    """
    return _spawner().submit(_spawn, command, log, user or NO_USER).result()


def free_port() -> int:
    """A loopback port nobody listens on now. Somebody may before it is used: the caller tries again then."""
    for port in random.SystemRandom().sample(PORTS, PORT_ATTEMPTS_MAX):
        with socket.socket() as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise DevstackError(f"no free loopback port found between {PORTS.start} and {PORTS.stop - 1}")


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port; a driver waits between its attempts, this does not."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Poll until `condition` holds; False when it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


def end(process: subprocess.Popen[bytes], ask: signal.Signals, *, timeout_s: float = 10.0) -> None:
    """Ask the process to end, wait, kill it when it does not. A frozen one is thawed first, or it could not hear."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.send_signal(ask)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, as a machine that loses its power; returns when the process is gone."""
    process.kill()
    process.wait()


def last_lines(log: Path, count: int = LOG_LINES_SHOWN_MAX) -> str:
    """The end of a server's log, for an error message."""
    if not log.exists():
        return "(no log)"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(line[:LOG_LINE_CHARS_MAX] for line in lines[-count:]) or "(empty log)"


def _spawn(command: Sequence[str], log: Path, user: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), user, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",  # the working directory may be unreadable for `user`
            start_new_session=True,  # Ctrl-C is for us: we stop the servers in our order
        )


@cache
def _spawner() -> ThreadPoolExecutor:
    # The kernel's parent-death signal fires when the *thread* that forked ends, not the process. A test that
    # restarts a node from a short-lived thread would see it die with that thread; so all forks come from one thread
    # that lives as long as we do.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="devstack-spawner")
