"""A TCP proxy whose connections can fall silent: open, acknowledged by the kernel, and nothing comes back."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

CHUNK = 65_536


class SilentProxy:
    """`with SilentProxy(port) as proxy:` passes bytes between ``proxy.port`` and 127.0.0.1:``port``.

    No connection is ever reset by it: who waits behind it cannot learn from the network that nobody will answer.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._lock = threading.Lock()
        self._generation = 0
        self._silent_below = 0
        self._word: bytes | None = None
        self._refuses_new = False
        self._fell_silent = threading.Event()
        self._over = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="silent proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with self._lock:
            for one in (self._listener, *self._sockets):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def silence(self, *, also_new: bool = False) -> None:
        """What is open now falls silent for ever; with ``also_new`` what is opened until :meth:`speak` too."""
        with self._lock:
            self._generation += 1
            self._silent_below = self._generation
            self._refuses_new = also_new

    def speak(self) -> None:
        """New connections work again; silent ones stay silent."""
        with self._lock:
            self._refuses_new = False
            self._word = None

    def redirect(self, port: int) -> None:
        """New connections lead to another server from now on, as after a failover behind one address."""
        self._to = port

    def silence_at(self, word: bytes) -> None:
        """The first connection on which somebody says ``word`` falls silent, before the word is passed on."""
        with self._lock:
            self._word = word
            self._fell_silent.clear()

    def wait_until_silent(self, timeout_s: float) -> bool:
        """Wait until the word of :meth:`silence_at` was said."""
        return self._fell_silent.wait(timeout_s)

    def _accept(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                connection = _Connection(self._generation)
                with self._lock:
                    if self._refuses_new:
                        connection.is_silent.set()
                    self._sockets |= {client, server}
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, target, connection), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, connection: _Connection) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                if self._is_silent(connection, chunk):
                    continue
                target.sendall(chunk)
        if self._is_silent(connection, b""):
            # Not even the end of one side is told to the other.
            return
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
            with self._lock:
                self._sockets.discard(one)

    def _is_silent(self, connection: _Connection, chunk: bytes) -> bool:
        with self._lock:
            if self._word is not None and self._word in chunk:
                self._word = None
                connection.is_silent.set()
                self._fell_silent.set()
            return connection.is_silent.is_set() or connection.generation < self._silent_below


class _Connection:
    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.is_silent = threading.Event()
