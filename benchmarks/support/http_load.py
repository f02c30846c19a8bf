"""A small HTTP/1.1 client for loopback: so many connections, one request each at a time, and how long each took.

Raw sockets on asyncio, because a convenient client costs more than the server that is measured. Run it in a process of
its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

TIMEOUT_S = 120
_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What was asked and answered. ``latencies_s`` are sorted."""

    seconds: float
    latencies_s: list[float]
    statuses: dict[int, int]
    by_path: dict[str, int] = field(default_factory=dict)
    """Path → how many were answered 200."""

    @property
    def per_second(self) -> float:
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        last = len(self.latencies_s) - 1
        return 1000 * self.latencies_s[min(round(percent / 100 * last), last)]


class _Connection(asyncio.Protocol):
    """One request at a time; the answer is its status."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))

    def ask(self, request: bytes) -> asyncio.Future[int]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(_END)
        if not found:
            return
        at = head.lower().find(_LENGTH)
        length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) < length:
            return
        self._received = b""
        assert self._answer is not None
        self._answer.set_result(int(head[9:12]))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def closed_loop(port: int, paths: Sequence[str], *, connections: int, requests: int) -> Load:
    """As fast as the server answers: each connection sends its next request when it has its answer."""
    return asyncio.run(_closed_loop(port, paths, connections, requests))


def paced(port: int, paths: Sequence[str], *, per_second: int, requests: int, connections: int) -> Load:
    """A request each so many milliseconds, whatever the server does; latency counts from when it was due."""
    return asyncio.run(_paced(port, paths, per_second, requests, connections))


async def _closed_loop(port: int, paths: Sequence[str], connections: int, requests: int) -> Load:
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    by_path: Counter[str] = Counter()
    next_number = iter(range(requests))

    async def one(connection: _Connection) -> None:
        for number in next_number:
            path = paths[number % len(paths)]
            began = time.perf_counter()
            status = await connection.ask(_request(path))
            latencies.append(time.perf_counter() - began)
            statuses[status] += 1
            by_path[path] += status == 200

    opened = await _open(port, connections)
    began = time.perf_counter()
    async with asyncio.timeout(TIMEOUT_S + requests / 100):
        await asyncio.gather(*(one(connection) for connection in opened))
    return _load(time.perf_counter() - began, latencies, statuses, by_path, opened)


async def _paced(port: int, paths: Sequence[str], per_second: int, requests: int, connections: int) -> Load:
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    by_path: Counter[str] = Counter()
    opened = await _open(port, connections)
    idle: asyncio.Queue[_Connection] = asyncio.Queue()
    for connection in opened:
        idle.put_nowait(connection)
    began = time.perf_counter()

    async def one(number: int) -> None:
        due = began + number / per_second
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        connection = await idle.get()
        path = paths[number % len(paths)]
        status = await connection.ask(_request(path))
        latencies.append(time.perf_counter() - due)
        statuses[status] += 1
        by_path[path] += status == 200
        idle.put_nowait(connection)

    async with asyncio.timeout(TIMEOUT_S + requests / per_second):
        await asyncio.gather(*(one(number) for number in range(requests)))
    return _load(time.perf_counter() - began, latencies, statuses, by_path, opened)


async def _open(port: int, connections: int) -> list[_Connection]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(_Connection, "127.0.0.1", port))[1] for _ in range(connections)]


def _request(path: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n".encode()


def _load(
    seconds: float,
    latencies: list[float],
    statuses: Counter[int],
    by_path: Counter[str],
    opened: Sequence[_Connection],
) -> Load:
    for connection in opened:
        connection.close()
    return Load(seconds=seconds, latencies_s=sorted(latencies), statuses=dict(statuses), by_path=dict(by_path))
