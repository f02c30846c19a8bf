"""The indexes that the reconciler's queries need: created by ``run.py migrate``, looked for at every start."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pymongo
from pymongo import ASCENDING, IndexModel
from pymongo.collation import Collation
from pymongo.errors import OperationFailure

from reconciler.config.mapping import MappingSettings
from reconciler.errors import Refused
from reconciler.mongo.connection import Connection, Document
from reconciler.mongo.driver_errors import first_line, translated

DUE_INDEX = "reconciler_due"

SIMPLE = Collation(locale="simple")
"""Text by its bytes: by the collation that a collection may have, texts of two people may be equal."""

_IN_THE_WAY = frozenset({85, 86})
"""An index of the same fields, or of the same name, with other options."""

ADVISED_MAX = 20
"""Users named; whoever mends twenty runs it again."""

BUILD_MAX_S = 900
"""Seconds that building one may take."""

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


def due_index(connection: Connection, mapping: MappingSettings) -> str | None:
    """The name of an index that serves the due query; None without one. The caller translates the driver's errors."""
    found = _found(connection, mapping.collections.participations)
    usable = [name for name, one in found.items() if _fields(one) == due_fields(mapping) and not _flaw(one)]
    # Ours before the platform's own, which may go at any time.
    return min(usable, key=lambda name: (name != DUE_INDEX, name), default=None)


def needed(mapping: MappingSettings) -> tuple[Index, ...]:
    """The indexes, under the configured names of collections and fields."""
    collections, statement, gkeys = mapping.collections, mapping.transactions, mapping.gkeys
    return (
        Index(collection=collections.participations, name=DUE_INDEX, fields=due_fields(mapping)),
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
    """Those that do not exist, under whatever name: the platform may have its own. Raises Outage or Refused."""
    return [index for index, flaws in _looked_for(connection, mapping) if flaws is not None]


def ignored(connection: Connection, mapping: MappingSettings) -> list[str]:
    """Return indexes that have the needed fields and still cannot be used, and why. Raises Outage or Refused."""
    return [flaw for _, flaws in _looked_for(connection, mapping) for flaw in flaws or ()]


def create_missing(
    connection: Connection, mapping: MappingSettings, *, spared: Collection[str] = frozenset()
) -> list[Index]:
    """Create what does not exist; returns what was created. Raises Outage, or Refused where something is in the way.

    ``spared``: collections that do not exist and must not be made by making their indexes.
    """
    looked_for = [(index, flaws) for index, flaws in _looked_for(connection, mapping) if flaws is not None]
    absent = [(index, flaws) for index, flaws in looked_for if index.collection not in spared]
    in_the_way: list[str] = []
    with translated():
        for index, flaws in absent:
            try:
                _create(connection, index)
            except OperationFailure as error:
                if error.code not in _IN_THE_WAY:
                    raise
                in_the_way.append(f"{index.name} on {index}: {'; '.join(flaws) or first_line(error)}")
    if in_the_way:
        remedy = "Unhide or drop the index that is in the way, and run `python run.py migrate` again"
        raise Refused("mongodb", f"it does not create {', '.join(in_the_way)}", remedy)
    return [index for index, _ in absent]


def _looked_for(connection: Connection, mapping: MappingSettings) -> list[tuple[Index, list[str] | None]]:
    """Each index that is needed: None where one serves, else what is wrong with those of the same fields."""
    with translated():
        _refuse_views(connection, mapping)
        return [(index, _flaws(connection, index)) for index in needed(mapping)]


def _refuse_views(connection: Connection, mapping: MappingSettings) -> None:
    """A view, or a collection of time series, cannot be watched, indexed or written to."""
    names = {str(name) for _, name in mapping.collections}
    with connection.database.list_collections(filter={"type": {"$ne": "collection"}}) as found:
        others = sorted(f"{one['name']} is a {one['type']}" for one in found if one["name"] in names)
    if others:
        remedy = "Map the collection itself under mapping.collections: a view cannot be watched or written"
        raise Refused("mongodb", f"{', '.join(others)}, not a collection", remedy)


def wallets_advice(connection: Connection, mapping: MappingSettings) -> list[str]:
    """Return sentences for a person where nothing keeps a user from having two wallets. Raises DatabaseFailure.

    The index is the platform's to make: it would refuse what their programs write.
    """
    names, collection = mapping.wallets, connection.database[mapping.collections.wallets]
    is_streamers: Document = {names.wallet_type: "streamer"}
    several: list[Document] = [
        {"$match": is_streamers},
        {"$group": {"_id": f"${names.user_id}", "count": {"$sum": 1}}},
        {"$match": {"count": {"$gt": 1}}},
        {"$sort": {"_id": 1}},
        {"$limit": ADVISED_MAX},
    ]
    with translated():
        indexes = collection.index_information().values()
        if any(one.get("unique") and [field for field, _ in one["key"]] == [names.user_id] for one in indexes):
            return []
        users = [str(one["_id"]) for one in collection.aggregate(several, allowDiskUse=True)]
    options = f'{{unique: true, partialFilterExpression: {{{names.wallet_type}: "streamer"}}}}'
    create = f"db.{collection.name}.createIndex({{{names.user_id}: 1}}, {options})"
    advice = [f"Nothing keeps a user from having two wallets; in mongosh: {create}"]
    if users:
        advice.insert(
            0, f"Users with several wallets, of which none is credited (wallet_ambiguous): {', '.join(users)}"
        )
    return advice


def _create(connection: Connection, index: Index) -> None:
    keys = [(field, ASCENDING) for field in index.fields]
    collection = connection.database[index.collection]
    # Never unique, also where the platform's values should be: a refused write of theirs would be our doing.
    partial = {"partialFilterExpression": _only_text(index)} if index.of_text else {}
    expiry = {"expireAfterSeconds": 0} if index.expires else {}
    # It is built before it is answered: far longer than any other question takes.
    with pymongo.timeout(BUILD_MAX_S):
        collection.create_indexes([IndexModel(keys, name=index.name, collation=SIMPLE, **expiry, **partial)])


def _flaws(connection: Connection, index: Index) -> list[str] | None:
    same = {name: one for name, one in _found(connection, index.collection).items() if _fields(one) == index.fields}
    flaws = {name: _flaw(one, _only_text(index) if index.of_text else None) for name, one in same.items()}
    if same and not all(flaws.values()):
        return None
    return [f"the index {name} of these fields is {flaw}" for name, flaw in sorted(flaws.items())]


def _flaw(found: Document, only_text: Document | None = None) -> str:
    """Why an index does not serve; empty where it does."""
    if found.get("hidden"):
        return "hidden"
    if found.get("partialFilterExpression", only_text) != only_text:
        return "partial"
    if "collation" in found:
        return "of another collation"
    # Whoever asks for text is served by an index of texts, and the platform's own may leave out what lacks the field.
    return "sparse" if found.get("sparse") and only_text is None else ""


def _fields(found: Document) -> tuple[str, ...] | None:
    """The fields of an ascending index."""
    return tuple(name for name, _ in found["key"]) if all(way == ASCENDING for _, way in found["key"]) else None


def _found(connection: Connection, collection: str) -> dict[str, Document]:
    return {name: dict(one) for name, one in connection.database[collection].index_information().items()}


def _only_text(index: Index) -> Document:
    return {field: {"$type": "string"} for field in index.fields}
