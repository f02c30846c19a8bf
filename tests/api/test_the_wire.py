"""One connection, as an attacker opens it: heads without an end, bodies that drip, answers that nobody reads."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse
from structlog.testing import LogCapture

from app.parts import Parts
from reconciler.api import server, wire
from reconciler.api.app import create_app
from reconciler.api.services import ServicesOf
from reconciler.devstack.process import wait_until
from tests.support.served import Served, bearer, context_of, served, token

WITHIN_S = 60.0
HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"

probes = APIRouter()


@probes.get("/large")
async def large() -> Response:
    return Response(b"x" * 50_000_000)


@probes.get("/endless")
async def endless() -> Response:
    async def events() -> Any:
        while True:
            yield b"x" * 100_000
            await asyncio.sleep(0)

    return StreamingResponse(events(), media_type="text/event-stream")


@probes.get("/held")
async def held(services: ServicesOf) -> None:
    await services.offload(lambda: services.context.stopping.wait(30))


@pytest.fixture
def probed(api_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """With deadlines that a test can wait for."""
    monkeypatch.setattr(wire, "HEAD_WITHIN_S", 2.0)
    monkeypatch.setattr(wire, "UNREAD_WITHIN_S", 2.0)
    monkeypatch.setattr(wire, "CLOSE_WITHIN_S", 1.0)
    with served(api_parts, routers=(probes,), settings={"request_timeout_s": 1}) as one:
        yield one


@contextmanager
def connected(one: Served, *, received_bytes: int = 0) -> Iterator[socket.socket]:
    address = urlsplit(str(one.client.base_url))
    with socket.socket() as connection:
        if received_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received_bytes)
        connection.settimeout(WITHIN_S)
        connection.connect((address.hostname, address.port))
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    said = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65_536):
            said += piece
    return said


def send(connection: socket.socket, data: bytes) -> None:
    """Send what the other side still takes."""
    with suppress(ConnectionError):
        connection.sendall(data)


def dripping(connection: socket.socket, piece: bytes) -> Callable[[], None]:
    """Send a piece again and again until the connection ends; answers what waits for that."""

    def drip() -> None:
        try:
            while True:
                connection.sendall(piece)
                time.sleep(0.1)
        except OSError:
            return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    return lambda: thread.join(WITHIN_S)


def status_of(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said else 0


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X-Long: " + b"a" * 200_000,
        HEAD + b"Cookie: a=" + b"b" * 102_400 + b"\r\n\r\n",
        HEAD + b"X-Many: 1\r\n" * 10_000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        HEAD + b"X" * 100_000,
    ],
    ids=["a value that never ends", "a cookie", "many headers", "an address", "a name"],
)
def test_a_head_that_is_too_long_is_refused_and_its_connection_closed(probed: Served, head: bytes) -> None:
    with connected(probed) as connection:
        send(connection, head)
        assert status_of(rest_of(connection)) in {431, 0}
    assert probed.client.get("/livez").status_code == 200


def test_the_longest_head_is_exact_however_it_arrives(probed: Served) -> None:
    limits = wire.HEAD_BYTES_MAX - len(HEAD) - len(b"X: \r\n\r\n")
    for length, wanted in ((limits - 1, 200), (limits + 1, 431)):
        for step in (1_000_000, 1_500):
            head = HEAD + b"X: " + b"a" * length + b"\r\n\r\n"
            with connected(probed) as connection:
                for start in range(0, len(head), step):
                    send(connection, head[start : start + step])
                assert status_of(connection.recv(100)) == wanted


@pytest.mark.parametrize("first", [b"", b"\r\n", HEAD, HEAD + b"\r\n"], ids=["nothing", "lines", "a head", "answered"])
@pytest.mark.parametrize("piece", [b"", b"\r\n", b"X: 1\r\n"], ids=["silent", "blank lines", "headers"])
def test_who_does_not_end_a_head_is_closed(probed: Served, first: bytes, piece: bytes) -> None:
    if (first, piece) == (HEAD, b"\r\n"):
        piece = b"X"
    with connected(probed) as connection:
        connection.sendall(first)
        ended = dripping(connection, piece) if piece else lambda: None
        began = time.monotonic()
        rest_of(connection)
        assert time.monotonic() - began < WITHIN_S / 2
        connection.close()
        ended()


def test_a_body_that_drips_is_answered_and_then_cut(probed: Served) -> None:
    head = b"POST /api/v1/campaigns/impression/some-token-of-nobody HTTP/1.1\r\nHost: localhost\r\n"
    for body in (b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
        drop = b"{" if body.startswith(b"C") else b"1\r\n{\r\n"
        url = b"POST /api/v1/resume HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        url += b"Authorization: " + bearer(token("admin"))["Authorization"].encode() + b"\r\n"
        for start in (url, head.replace(b"/impression/", b"/nothing/")):
            with connected(probed) as connection:
                connection.sendall(start + body)
                ended = dripping(connection, drop)
                assert status_of(rest_of(connection)) in {504, 404}
                connection.close()
                ended()


@pytest.mark.parametrize("extra", [b"X-Trailer: 1\r\n", b"X: " + b"a" * 1000])
def test_trailers_without_an_end_are_cut(probed: Served, extra: bytes) -> None:
    head = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    with connected(probed) as connection:
        connection.sendall(head)
        ended = dripping(connection, extra * 200)
        rest_of(connection)
        connection.close()
        ended()


def test_a_body_that_was_answered_early_may_still_end(probed: Served) -> None:
    with connected(probed) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n")
        said = b""
        while not said.endswith(b"}"):
            said += connection.recv(4096)
        assert status_of(said) == 404
        connection.sendall(b"body" + HEAD + b"\r\n")
        assert status_of(connection.recv(4096)) == 200


@pytest.mark.parametrize("path", [b"/large", b"/endless"])
def test_who_reads_nothing_of_an_answer_is_cut(probed: Served, path: bytes) -> None:
    with connected(probed, received_bytes=4_096) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")

        # Its end of the connection: no byte of it was read, and the server has cut it.
        def is_cut() -> bool:
            try:
                connection.send(b"\r\n")
            except OSError:
                return True
            return False

        assert wait_until(is_cut, timeout_s=WITHIN_S)


SMUGGLED = {
    "two lengths": b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbodyx",
    "length and chunks": (
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "length of odd digits": b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: +4\r\n\r\nbody",
    "a folded line": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: 1\r\n 2\r\n\r\n",
    "a blank before the colon": b"GET /livez HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a bare line feed": b"GET /livez HTTP/1.1\nHost: localhost\n\n",
    "a tunnel": b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "no host of an old client": b"GET /livez HTTP/1.0\r\n\r\n",
    "an empty host": b"GET /livez HTTP/1.1\r\nHost:\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "a host that is none": b"GET /livez HTTP/1.1\r\nHost: local host/x\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", SMUGGLED.values(), ids=SMUGGLED)
def test_what_two_servers_would_read_differently_is_refused(probed: Served, request_bytes: bytes) -> None:
    with connected(probed) as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        said = rest_of(connection)
        assert status_of(said) in {400, 404, 405}
        assert b" 200 " not in said


@pytest.mark.parametrize("wanted", [b"websocket", b"h2c"])
def test_no_other_protocol_is_spoken_and_the_request_is_answered(probed: Served, wanted: bytes) -> None:
    with connected(probed) as connection:
        connection.sendall(HEAD + b"Connection: Upgrade\r\nUpgrade: " + wanted + b"\r\n\r\nwhatever follows")
        said = rest_of(connection)
        assert status_of(said) == 200
        assert said.count(b"HTTP/1.1") == 1


def test_an_address_with_a_host_in_it_is_a_path_of_ours(probed: Served) -> None:
    with connected(probed) as connection:
        connection.sendall(
            b"GET http://elsewhere.example/livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        said = rest_of(connection)
        assert status_of(said) == 200
        assert b"elsewhere" not in said


def test_requests_behind_one_another_are_answered_in_order_and_bounded(probed: Served) -> None:
    with connected(probed) as connection:
        connection.sendall((HEAD + b"\r\n") * 20 + HEAD + b"Connection: close\r\n\r\n")
        assert rest_of(connection).count(b"200 OK") == 21
    with connected(probed) as connection:
        send(connection, b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5_000)
        assert rest_of(connection).count(b"HTTP/1.1 ") <= 1


def test_idle_connections_make_room_and_it_is_said_once(
    api_parts: Parts, monkeypatch: pytest.MonkeyPatch, said: LogCapture
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 20)
    with served(api_parts, routers=(probes,), settings={"request_timeout_s": 60}) as one, ExitStack() as crowd:
        for _ in range(60):
            crowd.enter_context(connected(one))
        for _ in range(5):
            assert one.client.get("/livez", headers={"Connection": "close"}).status_code == 200

        def is_sent_away() -> bool:
            busy = crowd.enter_context(connected(one))
            busy.settimeout(0.5)
            try:
                busy.sendall(b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return status_of(busy.recv(100)) in {503, 0}
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        # Nobody is idle who waits for an answer: once all of them do, newcomers are sent away.
        assert wait_until(is_sent_away, timeout_s=WITHIN_S)
    assert len([line for line in said.entries if line.get("action") == "api_full"]) == 1


def test_when_files_run_out_it_is_said_once_and_it_serves_afterwards(
    api_parts: Parts, monkeypatch: pytest.MonkeyPatch, said: LogCapture, capfd: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with served(api_parts) as one, ExitStack() as crowd:
        assert one.client.get("/livez").status_code == 200
        # The client's own ends are opened before files run out.
        own = [crowd.enter_context(socket.socket()) for _ in range(100)]
        taken = crowd.enter_context(socket.socket()).fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, before[1]))
        try:
            address = urlsplit(str(one.client.base_url))
            for connection in own:
                connection.settimeout(WITHIN_S)
                connection.connect((address.hostname, address.port))
            assert wait_until(
                lambda: any(line.get("action") == "api_full" for line in said.entries), timeout_s=WITHIN_S
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        crowd.close()
        assert wait_until(lambda: one.client.get("/livez").status_code == 200, timeout_s=WITHIN_S)
    assert len([line for line in said.entries if line.get("action") == "api_full"]) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_who_connects_while_the_thread_begins_is_not_refused(api_parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says that the API is served by then."""
    serve, may_serve = server.ApiServer._serve, threading.Event()

    def serve_later(one: server.ApiServer) -> None:
        assert may_serve.wait(10)
        serve(one)

    monkeypatch.setattr(server.ApiServer, "_serve", serve_later)
    context = context_of(api_parts)
    settings = context.settings.model_copy(update={"port": 0})
    api = server.ApiServer(create_app(context), settings, stopping=context.stopping, on_death=lambda: None)
    api.start()
    address = urlsplit(api.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as early:
        may_serve.set()
        early.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        early.settimeout(10)
        assert early.recv(64).startswith(b"HTTP/1.1 200")
    context.stopping.set()
    assert api.stop()
