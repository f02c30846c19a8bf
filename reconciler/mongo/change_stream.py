"""One stream of changes over participations and campaigns, on a connection of its own.

Of its own, since its sockets must give up on a server that falls silent: with the driver's defaults a getMore that is
never answered blocks its thread for ever, and nobody can free it. It must wait longer than the server does, or each
wait would end in a new stream.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pymongo
from bson import json_util
from bson.timestamp import Timestamp
from pymongo import MongoClient, ReadPreference
from pymongo.change_stream import DatabaseChangeStream
from pymongo.errors import ExecutionTimeout, NetworkTimeout, OperationFailure, PyMongoError

from reconciler.clock import whole_milliseconds
from reconciler.config.mapping import MappingSettings
from reconciler.mongo.connection import CODEC, SURE, Document
from reconciler.mongo.driver_errors import FORBIDDEN
from reconciler.mongo.stream_errors import classify
from reconciler.mongo.stream_pipeline import GONE, pipeline_of
from reconciler.mongo.values import identity_of
from reconciler.ports.hints import Key, KeyKind
from reconciler.ports.watch import Change, FailureKind, OpenStream, Position, Quiet, Read, StreamFailure, Unnamed

FORMAT = 1
"""Of what is kept with a position; a later program that reads tokens in another way counts on."""

OPEN_TIMEOUT = "open_timeout"
"""The reason of a failure to open in time: looking for the position in a long oplog may take minutes."""

_EVENT_TOKEN_LENGTH_MIN = 18
_TIMESTAMP_TYPE = "82"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How long each part may take, in seconds."""

    await_max_s: float
    """The server answers within this, also when nothing happened: the stream's heartbeat."""
    silence_max_s: float
    """Beyond ``await_max_s``: then the socket counts as dead."""
    open_max_s: float
    server_wait_max_s: float
    """How long to look for a primary: longer than most elections, so that the driver goes on by itself."""


class ChangeStreams:
    """Opens the stream. One is open at a time; a failure to open it, or a close, throws its connection away."""

    def __init__(self, uri: str, database: str, mapping: MappingSettings, limits: StreamLimits) -> None:
        self._uri = uri
        self._database_name = database
        self._limits = limits
        self._pipeline = pipeline_of(mapping)
        self._collections = {
            mapping.collections.participations: KeyKind.PARTICIPATION,
            mapping.collections.campaigns: KeyKind.CAMPAIGN,
        }
        self._client: MongoClient[Document] | None = None

    def fingerprint(self) -> str | StreamFailure:
        """SHA-256 over what makes a position usable: replica set, collections with their identities, pipeline, format.

        A token says nothing of the cluster it comes from; another one would take it and go on from the same hour.
        """
        client = self._connected()
        try:
            hello = client.admin.command("hello")
            identities = self._collection_identities(client)
        except PyMongoError as error:
            self.close()
            return classify(error, has_token=False)
        described = [FORMAT, hello.get("setName"), self._database_name, identities, self._pipeline]
        canonical = json.dumps(described, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def open(self, position: Position | None) -> OpenStream | StreamFailure:
        """A stream from ``position`` on, or from now on."""
        token = None if position is None else json_util.loads(position.token)
        database = self._connected().get_database(
            self._database_name, codec_options=CODEC, read_preference=ReadPreference.PRIMARY
        )
        try:
            # The server gives up too then: looking for the position may mean to read a whole oplog.
            with pymongo.timeout(self._limits.open_max_s):
                stream = database.watch(
                    self._pipeline,
                    start_after=token,
                    max_await_time_ms=int(self._limits.await_max_s * 1000),
                    comment="payout-reconciler watch",
                )
        except (ExecutionTimeout, NetworkTimeout) as error:
            self.close()
            failure = classify(error, has_token=token is not None)
            return StreamFailure(kind=FailureKind.TRANSIENT, reason=OPEN_TIMEOUT, detail=failure.detail)
        except PyMongoError as error:
            self.close()
            return classify(error, has_token=token is not None)
        return MongoStream(stream, self._collections)

    def close(self) -> None:
        """Throw the connection away. In a thread: the driver says goodbye first, and the server may be silent."""
        client, self._client = self._client, None
        if client is not None:
            threading.Thread(target=client.close, name="close stream", daemon=True).start()

    def _connected(self) -> MongoClient[Document]:
        """Made anew for each stream: one that met a standalone server would take it for one for ever."""
        if self._client is None:
            silence_s = self._limits.await_max_s + self._limits.silence_max_s
            self._client = MongoClient(
                self._uri,
                tz_aware=True,
                connectTimeoutMS=5_000,
                serverSelectionTimeoutMS=int(self._limits.server_wait_max_s * 1000),
                socketTimeoutMS=int(silence_s * 1000),
                # One in the URI is for questions. A stream waits for changes, and has the limits above.
                timeoutMS=None,
                appname="payout-reconciler-watch",
                **SURE,
            )
        return self._client

    def _collection_identities(self, client: MongoClient[Document]) -> list[Any]:
        """The UUID of each watched collection, None for one that is not there; a restored copy has others."""
        names = sorted(self._collections)
        database = client[self._database_name]
        try:
            found = {one["name"]: one for one in database.list_collections(filter={"name": {"$in": names}})}
        except OperationFailure as error:
            # Whoever may only read and watch these collections may not list them: then their names have to do.
            if error.code not in FORBIDDEN:
                raise
            return names
        return [[name, str(found.get(name, {}).get("info", {}).get("uuid"))] for name in names]


class MongoStream:
    """An open stream."""

    def __init__(self, stream: DatabaseChangeStream[Document], collections: dict[str, KeyKind]) -> None:
        self._stream = stream
        self._collections = collections

    def read(self) -> Read:
        """The next change; at most one getMore, and at most one attempt of the driver to resume."""
        try:
            event = self._stream.try_next()
        except PyMongoError as error:
            return classify(error, has_token=True)
        if event is None:
            if self._stream.alive:
                return Quiet()
            return _gone("ended", "the stream has ended: the database was dropped, or the stream invalidated")
        return self._read_event(event)

    def position(self) -> Position | None:
        """The token of the last batch, which the server moves on also while no change comes."""
        token = self._stream.resume_token
        return None if token is None else Position(token=json_util.dumps(token), reached_at=time_of(token))

    def _read_event(self, event: Document) -> Read:
        operation = event["operationType"]
        namespace = event.get("ns") or {}
        if operation in GONE:
            return _gone(operation, f"{operation} of {namespace.get('coll') or namespace.get('db') or 'the stream'}")
        identity = identity_of(event["documentKey"])
        if identity is None:
            return Unnamed(operation=operation)
        at: Timestamp = event["clusterTime"]
        changed_at = event.get("wallTime") or at.as_datetime()
        return Change(
            key=Key(self._collections[namespace["coll"]], identity),
            operation=operation,
            at=(at.time, at.inc),
            changed_at=whole_milliseconds(changed_at),
        )


def time_of(token: Any) -> datetime | None:
    """Up to when a token reaches. Tokens are officially opaque: for measuring only, and None when it looks otherwise.

    A token begins with the type of a timestamp (0x82) and its eight bytes, the seconds first.
    """
    text = token.get("_data") if isinstance(token, dict) else None
    if not isinstance(text, str) or len(text) < _EVENT_TOKEN_LENGTH_MIN or not text.startswith(_TIMESTAMP_TYPE):
        return None
    try:
        return datetime.fromtimestamp(int(text[2:10], 16), UTC)
    except (ValueError, OverflowError):
        return None


def _gone(operation: str, detail: str) -> StreamFailure:
    return StreamFailure(kind=FailureKind.COLLECTION_GONE, reason=operation, detail=detail)
