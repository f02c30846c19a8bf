"""Connections to MongoDB."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import CursorType, MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import ConfigurationError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from reconciler.errors import ConfigError, Outage
from reconciler.mongo.driver_errors import translated

Document = dict[str, Any]

SOCKET_TIMEOUT_MS = 30_000
"""Longer than any single batch of a query takes; without it a silent server would block a thread for ever. What was
asked is asked once more over a new connection then, so that a thread waits twice as long at most."""

SURE: dict[str, Any] = {
    "readPreference": "primary",
    "readPreferenceTags": "",
    "maxStalenessSeconds": -1,
    "readConcernLevel": "majority",
    "w": "majority",
    "journal": True,
}
"""Of every client, whatever the connection string says: deciding on less could pay for what a failover takes back."""

CLOSE_WITHIN_S = 1.0

WRITE_TIMEOUT_MS = 20_000

# What cannot be represented must not stop a whole page from being read: a date beyond the year 9999 comes as a number
# of milliseconds, and broken UTF-8 with replacement characters.
CODEC: CodecOptions[Document] = CodecOptions(
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A client and its database, set to primary reads and majority concerns."""

    client: MongoClient[Document]
    database: Database[Document]

    def close(self) -> None:
        """Close the client's sockets and threads.

        The driver says goodbye to the server first, and a frozen one would keep the process for as long as a socket may
        be silent: then it goes without an answer.
        """
        closing = threading.Thread(target=self.client.close, name="close", daemon=True)
        closing.start()
        closing.join(CLOSE_WITHIN_S)


def connect(uri: str, database: str, *, wait_max_s: float) -> Connection:
    """A connection that is opened on first use and waits ``wait_max_s`` for a server. Raises ConfigError.

    What the URI says of these options counts.
    """
    ours = {"connectTimeoutMS": 5_000, "socketTimeoutMS": SOCKET_TIMEOUT_MS, "appname": "payout-reconciler"}
    options: dict[str, Any] = {name: value for name, value in ours.items() if f"{name}=".lower() not in uri.lower()}
    try:
        client: MongoClient[Document] = MongoClient(
            uri, serverSelectionTimeoutMS=int(wait_max_s * 1000), **options, **SURE
        )
    except (ConfigurationError, ValueError) as error:
        raise ConfigError("mongodb.uri is not a usable MongoDB connection string") from error
    return Connection(
        client=client,
        database=client.get_database(
            database,
            codec_options=CODEC,
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern("majority", wtimeout=WRITE_TIMEOUT_MS),
        ),
    )


def require_primary(connection: Connection) -> None:
    """Make sure that a direct connection leads to the primary. Raises Outage.

    Without directConnection the driver finds it. With it, whatever server answers is read, also one that has fallen
    behind or was stepped down meanwhile, so it is asked each time.
    """
    if not connection.client.options.direct_connection:
        return
    with translated():
        hello = connection.client.admin.command("hello")
    if "setName" in hello and not hello.get("isWritablePrimary"):
        reason = "the server is not the primary: take directConnection out of mongodb.uri"
        raise Outage("mongodb", reason, has_answered=True)


def is_standalone(connection: Connection) -> bool:
    """True for a server outside a replica set: it has no snapshots and no change streams. Raises Outage."""
    with translated():
        hello = connection.client.admin.command("hello")
    return "setName" not in hello and hello.get("msg") != "isdbgrid"


def close_last_used(collection: Collection[Document]) -> None:
    """Close the connection that was used last, so that the next one asks the server anew what it is.

    What a server is, the driver asks once a connection: one made before it became a replica set has no sessions for
    ever. An exhaust cursor that is given up takes its connection with it; the driver has no other way to close one.
    """
    with collection.find({}, {"_id": 1}, cursor_type=CursorType.EXHAUST, batch_size=1) as cursor:
        next(cursor, None)
        next(cursor, None)
