"""A real mongod replica set under one folder."""

from __future__ import annotations

import shutil
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from reconciler.devstack.binaries import find_mongod
from reconciler.devstack.mongod_access import ADMIN, Access, credentials
from reconciler.devstack.process import (
    DevstackError,
    Stoppable,
    end,
    free_port,
    last_lines,
    listens,
    spawn,
    wait_until,
)

if TYPE_CHECKING:
    import subprocess

SET_NAME = "devstack"
START_TIMEOUT_S = 60.0
PRIMARY_TIMEOUT_S = 60.0
STARTS_MAX = 5
ASK_TIMEOUT_MS = 1_000
EXIT_NET_ERROR = 48  # mongod's exit code for "cannot listen": somebody took the port first

# Long enough not to fire on a machine of two busy cores, short enough that a test of an election takes
# seconds.
ELECTION_TIMEOUT_MS = 2_000
HEARTBEAT_INTERVAL_MS = 500
HEARTBEAT_TIMEOUT_S = 2

QUIET_AND_SMALL = (
    "--bind_ip=127.0.0.1",
    "--quiet",
    "--wiredTigerCacheSizeGB=0.25",
    "--setParameter=diagnosticDataCollectionEnabled=false",
    # A mongod told to stop waits 15 s for clients to leave; ours left already, or are being tested for not
    # having to.
    "--setParameter=shutdownTimeoutMillisForSignaledShutdown=0",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MongodOptions:
    """What a test may want different.

    `oplog_size_mb` None is MongoDB's own choice, and so is `checkpoint_interval_s` (a minute): an oplog is cut
    only up to the last checkpoint. `parameters` are `name=value` of --setParameter. With
    `access_control` only users enter, and `ReplicaSet.uri` names one who may do everything.
    """

    nodes: int = 1
    standalone: bool = False
    oplog_size_mb: int | None = None
    checkpoint_interval_s: int | None = None
    parameters: tuple[str, ...] = ()
    access_control: bool = False

    def __post_init__(self) -> None:
        if self.nodes < 1:
            raise ValueError("a replica set has at least one node")
        if self.standalone and self.nodes != 1:
            raise ValueError("a standalone server is one node")
        if self.standalone and self.access_control:
            raise ValueError("a standalone server here lets everybody in: its nodes share no key")


@dataclass(slots=True, kw_only=True)
class Node:
    """One mongod: where it lives, and the process while there is one."""

    index: int
    folder: Path
    port: int
    access: Access | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "mongod.log"

    @property
    def key_file(self) -> Path:
        return self.data / "members.key"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class ReplicaSet(Stoppable):
    """`with ReplicaSet(folder) as replica_set: MongoClient(replica_set.uri)`.

    Data and logs lie under `folder`; `stop` removes the data and leaves the logs. Everything that cannot be
    done in time raises DevstackError. Not for use from several threads at once.
    """

    def __init__(self, folder: Path, options: MongodOptions | None = None) -> None:
        self.folder = folder.resolve()
        self.options = options or MongodOptions()
        self.nodes: tuple[Node, ...] = ()

    @property
    def uri(self) -> str:
        """What goes into MONGODB_URI; it names all nodes, also those that are down."""
        access = self.nodes[0].access if self.nodes else None
        return self._uri("" if access is None else credentials(ADMIN, access.admin_password))

    def _uri(self, before_hosts: str) -> str:
        hosts = ",".join(node.address for node in self.nodes)
        choice = "directConnection=true" if self.options.standalone else f"replicaSet={SET_NAME}"
        return f"mongodb://{before_hosts}{hosts}/?{choice}"

    def start(self) -> None:
        """Returns when there is a primary and every other node is a secondary."""
        if self.nodes:
            raise DevstackError("this replica set is running already")
        access = Access() if self.options.access_control else None
        self.nodes = tuple(
            Node(index=index, folder=self.folder / f"node{index}", port=free_port(), access=access)
            for index in range(self.options.nodes)
        )
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            for node in self.nodes:
                # Data of a run that was killed here would name other ports.
                shutil.rmtree(node.data, ignore_errors=True)
                self._start_node(node, on_any_port=True)
            if not self.options.standalone:
                self._initiate()
            on_failure.pop_all()

    def stop(self) -> None:
        """End every node and remove the data; harmless when nothing runs."""
        for node in self.nodes:
            if node.process is not None:
                end(node.process, signal.SIGTERM)
            shutil.rmtree(node.data, ignore_errors=True)
        self.nodes = ()

    def primary_index(self) -> int:
        """The node that is primary now, as the nodes themselves say; DevstackError if none is."""
        index = self._primary_index()
        if index is None:
            raise DevstackError("no node of the replica set is primary now")
        return index

    def wait_for_primary(self, *, timeout_s: float = PRIMARY_TIMEOUT_S) -> int:
        """The primary's index, as soon as there is one."""
        found: list[int] = []

        def look() -> bool:
            index = self._primary_index()
            if index is not None:
                found.append(index)
            return bool(found)

        if not wait_until(look, timeout_s=timeout_s):
            raise DevstackError(f"no node became primary within {timeout_s:g} s; {self._complaints()}")
        return found[0]

    def restart(self, index: int) -> None:
        """Start a node again on its port and data, stopping it cleanly first if it runs.

        Returns when it answers.
        """
        node = self.nodes[index]
        if node.process is not None:
            end(node.process, signal.SIGTERM)
        self._start_node(node, on_any_port=False)

    def _process(self, index: int) -> subprocess.Popen[bytes]:
        process = self.nodes[index].process
        if process is None:
            raise DevstackError(f"node {index} was never started")
        return process

    def _start_node(self, node: Node, *, on_any_port: bool) -> None:
        binary = find_mongod()
        for _ in range(STARTS_MAX):
            self._launch(binary, node)
            wait_until(lambda: not node.alive or _answers(node), timeout_s=START_TIMEOUT_S)
            if _answers(node):
                return
            if not on_any_port or self._process(node.index).poll() != EXIT_NET_ERROR:
                break
            node.port = free_port()
        raise DevstackError(f"mongod did not start; the end of {node.log}:\n{_complaints(node.log)}")

    def _launch(self, binary: Path, node: Node) -> None:
        node.data.mkdir(parents=True, exist_ok=True)
        command = [
            str(binary),
            f"--dbpath={node.data}",
            f"--port={node.port}",
            # A socket in a deep folder has a name too long to bind, and nobody connects that way.
            "--nounixsocket",
            *QUIET_AND_SMALL,
        ]
        command += [f"--setParameter={parameter}" for parameter in self.options.parameters]
        if not self.options.standalone:
            command.append(f"--replSet={SET_NAME}")
        if node.access is not None:
            node.access.write_key(node.key_file)
            command.append(f"--keyFile={node.key_file}")
        if self.options.oplog_size_mb is not None:
            command.append(f"--oplogSize={self.options.oplog_size_mb}")
        if self.options.checkpoint_interval_s is not None:
            command.append(f"--syncdelay={self.options.checkpoint_interval_s}")
        node.process = spawn(command, log=node.log)

    def _initiate(self) -> None:
        members = [{"_id": node.index, "host": node.address} for node in self.nodes]
        settings = {
            "electionTimeoutMillis": ELECTION_TIMEOUT_MS,
            "heartbeatIntervalMillis": HEARTBEAT_INTERVAL_MS,
            "heartbeatTimeoutSecs": HEARTBEAT_TIMEOUT_S,
        }
        with self._client(self.nodes[0]) as client:
            client.admin.command("replSetInitiate", {"_id": SET_NAME, "members": members, "settings": settings})
        self.wait_for_primary()
        if not wait_until(lambda: all(_has_data(node) for node in self.nodes), timeout_s=PRIMARY_TIMEOUT_S):
            raise DevstackError(f"a node did not become secondary within {PRIMARY_TIMEOUT_S:g} s; {self._complaints()}")
        primary = self.nodes[self.primary_index()]
        if primary.access is not None:
            with self._client(primary) as client:
                primary.access.create_admin(client)

    def _primary_index(self) -> int | None:
        for node in self.nodes:
            if node.alive and _ask(node, "hello").get("isWritablePrimary", False):
                return node.index
        return None

    def _complaints(self) -> str:
        return "\n".join(f"the end of {node.log}:\n{_complaints(node.log)}" for node in self.nodes)

    def _client(self, node: Node) -> MongoClient[dict[str, Any]]:
        return _direct_client(node, timeout_ms=int(START_TIMEOUT_S * 1000))


def _direct_client(node: Node, *, timeout_ms: int) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        node.address,
        directConnection=True,
        serverSelectionTimeoutMS=timeout_ms,
        socketTimeoutMS=timeout_ms,
        connectTimeoutMS=timeout_ms,
        **({} if node.access is None else node.access.as_member),
    )


def _ask(node: Node, command: str) -> dict[str, Any]:
    # Short limits: a frozen node must not hold up the search for a primary. A node that does not answer
    # says nothing: empty.
    if not listens(node.port):
        return {}
    try:
        with _direct_client(node, timeout_ms=ASK_TIMEOUT_MS) as client:
            return client.admin.command(command)
    except PyMongoError:
        return {}


def _answers(node: Node) -> bool:
    # The process id is compared, since on a port lost to a race it may be somebody else's mongod that answers.
    return node.process is not None and node.alive and _ask(node, "serverStatus").get("pid") == node.process.pid


def _has_data(node: Node) -> bool:
    hello = _ask(node, "hello")
    return bool(hello.get("isWritablePrimary") or hello.get("secondary"))


def _complaints(log: Path) -> str:
    """mongod's last lines tell of its tidy shutdown.

    What went wrong is in the lines of severity E and F, if it wrote any.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    worst = [line[:400] for line in lines if '"s":"F"' in line or '"s":"E"' in line]
    return "\n".join(worst[-5:]) or last_lines(log)
