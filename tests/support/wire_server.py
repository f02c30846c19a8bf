"""A scripted MongoDB for real drivers: what a real server cannot be made to do, on demand and within milliseconds.

It speaks OP_MSG (and OP_QUERY, in which a driver says its first hello), calls itself the primary of a replica set, and
answers each command with what was scripted for it, in order, and with something sensible once the script has run out.
It keeps no documents. `tests/integration/devstack/test_wire_server.py` holds it against a real mongod.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Self

import bson
from bson.timestamp import Timestamp

Document = dict[str, Any]

SET_NAME = "scripted"
CURSOR = 42
OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
HEADER = struct.Struct("<iiii")
IDLE_S = 0.01
"""How long an unscripted getMore takes: a client that only waits must not turn at full speed."""

_OF_THE_DRIVER = frozenset({"hello", "ismaster", "isMaster", "endSessions"})


class Hurt(Enum):
    """What a network can do instead of answering."""

    SILENCE = auto()
    """The connection stays open and nothing comes, ever."""
    HALF_CLOSE = auto()
    """The server says that it will send nothing more, and keeps listening."""
    DROP = auto()
    """The connection is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error answer. ``labels`` are what the driver decides by, `ResumableChangeStreamError` above all."""

    code: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """An answer of a change stream's cursor. ``ends``: it was the last, as after the collection was dropped."""

    events: Sequence[Document] = ()
    token: Document | None = None
    ends: bool = False


Answer = Batch | Refusal | Hurt | Document


@dataclass(slots=True)
class WireServer:
    """``with WireServer() as server: MongoClient(server.uri)``. Scripts and reads from any thread.

    ``commands`` are those received, without what drivers say of themselves (hello, endSessions).
    """

    commands: list[Document] = field(default_factory=list)
    _scripts: dict[str, deque[Answer]] = field(default_factory=lambda: defaultdict(deque))
    _always: dict[str, Answer] = field(default_factory=dict)
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _open: set[socket.socket] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="wire_server", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        # Closing alone does not wake a thread that waits in accept or recv.
        for one in (self._listener, *self._open):
            _shut(one, socket.SHUT_RDWR)
            one.close()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet={SET_NAME}"

    def script(self, command: str, *answers: Answer) -> None:
        """What the next commands of this name are answered with, in order."""
        with self._changed:
            self._scripts[command].extend(answers)

    def always(self, command: str, answer: Answer) -> None:
        """What every command of this name is answered with, once its script has run out."""
        with self._changed:
            self._always[command] = answer

    def drop_connections(self) -> None:
        """Close every connection, as a load balancer that restarts; new ones are accepted."""
        with self._changed:
            gone = list(self._open)
        for one in gone:
            _shut(one, socket.SHUT_RDWR)

    def seen(self, *names: str) -> list[str]:
        """The names of the commands received, in order; only those of ``names`` if there are any."""
        with self._changed:
            received = [next(iter(command)) for command in self.commands]
        return [name for name in received if not names or name in names]

    def wait_for(self, name: str, count: int = 1, *, timeout_s: float = 20.0) -> bool:
        """Wait until so many commands of this name came; False when they do not in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: sum(next(iter(command)) == name for command in self.commands) >= count, timeout_s
            )

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), name="wire_connection", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while (message := _receive(connection)) is not None:
                request_id, opcode, command = message
                answer = self._answer(command)
                if isinstance(answer, Hurt):
                    if answer is Hurt.DROP:
                        return
                    if answer is Hurt.HALF_CLOSE:
                        _shut(connection, socket.SHUT_WR)
                    continue
                connection.sendall(_encode(request_id, opcode, _as_document(answer, command)))
        except OSError:
            pass  # the client left, or the test is over
        finally:
            connection.close()
            with self._changed:
                self._open.discard(connection)

    def _answer(self, command: Document) -> Answer:
        name = next(iter(command))
        with self._changed:
            if name not in _OF_THE_DRIVER:
                self.commands.append(command)
                self._changed.notify_all()
            script = self._scripts[name]
            answer = script.popleft() if script else self._always.get(name)
        if answer is not None:
            return answer
        if name in ("hello", "ismaster", "isMaster"):
            return self._hello()
        if name == "getMore":
            time.sleep(IDLE_S)
        return Batch() if name in ("aggregate", "getMore") else {"ok": 1.0}

    def _hello(self) -> Document:
        address = f"127.0.0.1:{self.port}"
        # No topologyVersion: with one, the driver's monitor would leave hellos open.
        return {
            "ok": 1.0,
            "helloOk": True,
            "ismaster": True,
            "isWritablePrimary": True,
            "setName": SET_NAME,
            "setVersion": 1,
            "hosts": [address],
            "primary": address,
            "me": address,
            "minWireVersion": 0,
            "maxWireVersion": 17,
            "maxBsonObjectSize": 16 * 1024 * 1024,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "logicalSessionTimeoutMinutes": 30,
            "localTime": datetime.now(UTC),
            "readOnly": False,
        }


def token(number: int) -> Document:
    """A resume token of a second ``number``, of the shape of a real one: 0x82 and the time, then what is its own."""
    return {"_data": f"82{number:08X}000000012B0429296E1404"}


def event(document_id: object, number: int, *, collection: str = "things", operation: str = "update") -> Document:
    """A key-only event of a second ``number``."""
    return {
        "_id": token(number),
        "operationType": operation,
        "clusterTime": Timestamp(number, 1),
        "wallTime": datetime.fromtimestamp(number, UTC),
        "ns": {"db": "test", "coll": collection},
        "documentKey": {"_id": document_id},
    }


def _as_document(answer: Batch | Refusal | Document, command: Document) -> Document:
    if isinstance(answer, Refusal):
        refused = {"ok": 0.0, "errmsg": f"scripted {answer.code}", "code": answer.code, "codeName": "Scripted"}
        return refused | ({"errorLabels": list(answer.labels)} if answer.labels else {})
    if not isinstance(answer, Batch):
        return answer
    opening = "aggregate" in command
    target = command["aggregate"] if opening else command["collection"]
    cursor = {
        "id": bson.Int64(0 if answer.ends else CURSOR),
        "ns": f"{command['$db']}.{'$cmd.aggregate' if target == 1 else target}",
        "firstBatch" if opening else "nextBatch": list(answer.events),
    }
    last = answer.token or (answer.events[-1]["_id"] if answer.events else None)
    cursor |= {"postBatchResumeToken": last} if last else {}
    return {"ok": 1.0, "operationTime": Timestamp(1, 1), "cursor": cursor}


def _receive(connection: socket.socket) -> tuple[int, int, Document] | None:
    header = _exactly(connection, HEADER.size)
    if header is None:
        return None
    length, request_id, _, opcode = HEADER.unpack(header)
    body = _exactly(connection, length - HEADER.size)
    if body is None:
        return None
    # OP_MSG: flags, then a section of kind 0 with the command. OP_QUERY: flags, a name, two numbers, the command.
    start = 5 if opcode == OP_MSG else body.index(b"\0", 4) + 9
    size = struct.unpack_from("<i", body, start)[0]
    return request_id, opcode, bson.decode(body[start : start + size])


def _encode(request_id: int, opcode: int, document: Document) -> bytes:
    encoded = bson.encode(document)
    if opcode == OP_QUERY:
        body, answers = struct.pack("<iqii", 8, 0, 0, 1) + encoded, OP_REPLY
    else:
        body, answers = struct.pack("<IB", 0, 0) + encoded, OP_MSG
    return HEADER.pack(HEADER.size + len(body), 0, request_id, answers) + body


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    received = bytearray()
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            return None
        received += part
    return bytes(received)


def _shut(one: socket.socket, how: int) -> None:
    # It may not be connected any more.
    with contextlib.suppress(OSError):
        one.shutdown(how)
