"""What a client really sends to MongoDB: the commands, in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from reconciler.mongo.connection import Connection

if TYPE_CHECKING:
    from pymongo.database import Database

Document = dict[str, Any]
_OF_THE_DRIVER = ("lsid", "$db", "$clusterTime", "$readPreference", "txnNumber", "readConcern")


class Commands(CommandListener):
    """Keeps the commands that read or write documents."""

    def __init__(self) -> None:
        self.sent: list[Document] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name in ("find", "aggregate", "update", "insert", "delete", "distinct"):
            self.sent.append(dict(event.command))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing to keep."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing to keep."""

    def named(self, name: str, collection: str) -> list[Document]:
        """The commands of one kind on one collection."""
        return [command for command in self.sent if command.get(name) == collection]

    @property
    def writes(self) -> list[str]:
        """The collections written to, in order."""
        return [command["update"] for command in self.sent if "update" in command]


@contextmanager
def listening_to(connection: Connection, uri: str) -> Iterator[tuple[Connection, Commands]]:
    """A connection set as ``connection`` is, of which every command is kept."""
    commands, database = Commands(), connection.database
    with MongoClient[Document](uri, event_listeners=[commands]) as client:
        same = client.get_database(
            database.name,
            codec_options=database.codec_options,
            read_preference=database.read_preference,
            read_concern=database.read_concern,
            write_concern=database.write_concern,
        )
        yield Connection(client=client, database=same), commands


def explained(database: Database[Document], command: Document) -> Document:
    """MongoDB's account of how it executes a command that was sent."""
    plain = {key: value for key, value in command.items() if key not in _OF_THE_DRIVER}
    return database.command("explain", plain, verbosity="executionStats")
