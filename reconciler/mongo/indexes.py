"""The indexes that the reconciler's queries need: created by ``run.py migrate``, looked for at every start."""

from __future__ import annotations

from dataclasses import dataclass

from pymongo import ASCENDING, IndexModel

from reconciler.config.mapping import MappingSettings
from reconciler.mongo.connection import Connection, Document, translated

EXPIRY_FIELD = "expiresAt"
"""In documents of our own that are not for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """One index: its collection, the name we give it, and its fields in order."""

    collection: str
    name: str
    fields: tuple[str, ...]
    of_text: bool = False
    """Only over documents in which the (one) field is text: nobody asks for others."""
    expires: bool = False
    """Whether documents go once the time in the (one) field has passed."""

    def __str__(self) -> str:
        return f"{self.collection}({', '.join(self.fields)})"


def due_fields(mapping: MappingSettings) -> tuple[str, ...]:
    """Fields of the index that the due query names as its hint."""
    names = mapping.participations
    return names.campaign_id, names.final_earnings_transferred, names.status, names.impressions


def has_due_index(connection: Connection, mapping: MappingSettings) -> bool:
    """Whether the due query can name its index. The caller translates the driver's errors."""
    return due_fields(mapping) in _present(connection, mapping.collections.participations)


def needed(mapping: MappingSettings) -> tuple[Index, ...]:
    """The indexes, under the configured names of collections and fields."""
    collections, statement, gkeys = mapping.collections, mapping.transactions, mapping.gkeys
    return (
        Index(collection=collections.participations, name="reconciler_due", fields=due_fields(mapping)),
        Index(
            collection=collections.transactions,
            name="reconciler_statement",
            fields=(statement.user_id, statement.campaign_id, statement.transaction_type),
        ),
        Index(
            collection=collections.gkeys,
            name="reconciler_gkeys",
            fields=(gkeys.user_id, gkeys.status, gkeys.locked_with),
        ),
        Index(collection=collections.gkeys, name="reconciler_cooloffs", fields=(gkeys.status, gkeys.cooloff_ends_at)),
        Index(collection=collections.wallets, name="reconciler_wallets", fields=(mapping.wallets.user_id,)),
        Index(collection=collections.campaigns, name="reconciler_status", fields=(mapping.campaigns.status,)),
        Index(
            collection=collections.participations,
            name="reconciler_token",
            fields=(mapping.participations.browser_source_token,),
            of_text=True,
        ),
        Index(collection=collections.recordings, name="reconciler_expiry", fields=(EXPIRY_FIELD,), expires=True),
    )


def missing(connection: Connection, mapping: MappingSettings) -> list[Index]:
    """Those that do not exist, under whatever name: the platform may have its own. Raises Outage."""
    with translated():
        return [index for index in needed(mapping) if not _is_present(connection, index)]


def create_missing(connection: Connection, mapping: MappingSettings) -> list[Index]:
    """Create what does not exist; answers what was created. Raises Outage."""
    absent = missing(connection, mapping)
    with translated():
        for index in absent:
            _create(connection, index)
    return absent


def _create(connection: Connection, index: Index) -> None:
    keys = [(field, ASCENDING) for field in index.fields]
    collection = connection.database[index.collection]
    # Never unique, also where the platform's values should be: a refused write of theirs would be our doing.
    partial = {"partialFilterExpression": _only_text(index)} if index.of_text else {}
    expiry = {"expireAfterSeconds": 0} if index.expires else {}
    collection.create_indexes([IndexModel(keys, name=index.name, **expiry, **partial)])


def _is_present(connection: Connection, index: Index) -> bool:
    if not index.of_text:
        return index.fields in _present(connection, index.collection)
    # Whoever asks for text is served by an index of texts, and the platform's own may leave out what lacks the field.
    only_text = _only_text(index)
    return any(
        [field for field, _ in found["key"]] == list(index.fields)
        and found.get("partialFilterExpression", only_text) == only_text
        and "collation" not in found
        for found in connection.database[index.collection].index_information().values()
    )


def _only_text(index: Index) -> Document:
    return {field: {"$type": "string"} for field in index.fields}


def _present(connection: Connection, collection: str) -> set[tuple[str, ...]]:
    """Fields of each ascending index that covers every document."""
    return {
        tuple(field for field, _ in index["key"])
        for index in connection.database[collection].index_information().values()
        if all(direction == ASCENDING for _, direction in index["key"])
        and "partialFilterExpression" not in index
        and not index.get("sparse", False)
        and "collation" not in index
    }
