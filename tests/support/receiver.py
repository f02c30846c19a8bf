"""An endpoint for webhooks on this machine: keeps what comes, checks each signature, and answers as it is told."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-eight by.").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another one, of thirty bytes..").decode()
WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: str
    is_signed: bool

    @property
    def payload(self) -> dict[str, Any]:
        parsed = json.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]


Behaviour = Callable[[BaseHTTPRequestHandler, Received], None]
"""Writes the whole answer."""


def status(code: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer with a status."""

    def answer(handler: BaseHTTPRequestHandler, _received: Received) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


class Receiver:
    """`with Receiver() as receiver`: listens on loopback; `behave` may be replaced at any time, also by path."""

    def __init__(self, secret: str = SECRET) -> None:
        self._webhook = Webhook(secret)
        self._came = threading.Condition()
        self.received: list[Received] = []
        self.behave: Behaviour = status(204)
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._take(self)

            def do_GET(self) -> None:
                receiver._take(self)

            def log_message(self, *_: Any) -> None:
                """Nothing on stderr."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A sender that went away is what some tests want."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hooks"

    def hang(self, _handler: BaseHTTPRequestHandler, _received: Received) -> None:
        """Say nothing until the test is over, or says that it is enough."""
        self.released.wait(WITHIN_S)

    def wait_for(self, count: int) -> list[Received]:
        """What came, once it is so much."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.received) >= count, WITHIN_S), self.received
            return list(self.received)

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", "0"))).decode()
        headers = {name.lower(): value for name, value in handler.headers.items()}
        received = Received(path=handler.path, headers=headers, body=body, is_signed=self._is_signed(body, headers))
        with self._came:
            self.received.append(received)
            self._came.notify_all()
        self.behave(handler, received)

    def _is_signed(self, body: str, headers: dict[str, str]) -> bool:
        try:
            self._webhook.verify(body, headers)
        except WebhookVerificationError:
            return False
        return True
