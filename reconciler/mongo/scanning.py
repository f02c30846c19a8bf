"""Reading every participation, a partition at a time, as columns: what a full check compares.

A thread reads one partition ahead, while the one before is compared. Each partition is a query of its own: a check may
pay and repair for long between two of them, and a cursor that nobody reads is closed by the server.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from difflib import get_close_matches
from itertools import chain
from typing import Any

import bson
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.objectid import ObjectId
from pymongo import ASCENDING

from reconciler.clock import Clock
from reconciler.config.mapping import MappingSettings
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.parsing import IMPRESSIONS_MAX
from reconciler.domain.participation import STATUSES_THAT_PAY, MalformedParticipation, parse_participation
from reconciler.mongo.connection import Connection, Document
from reconciler.mongo.driver_errors import translated
from reconciler.mongo.names import FactNames
from reconciler.mongo.values import amount_of, date_of, identity_of, text_of, to_bson_id, to_plain, to_record
from reconciler.ports.scanning import CampaignCounters, FactColumns, MissingCollection, Reached, ScannedPartition

_DOCUMENTS_A_CHUNK = 5_000
"""Documents that are held as such before they become columns: a document takes five times the memory."""

_REACHED_A_PAGE = 10_000
MAPPED_COLLECTIONS = ("campaigns", "participations", "wallets", "transactions", "gkeys")
"""The platform's own; the others are ours."""
_SERVERS_OWN = frozenset({"admin", "config", "local"})

_NUMBERS = frozenset({int, Int64, float})
_FLAGS = frozenset({bool, type(None)})
_TEXTS = frozenset({str, type(None)})
_OPTIONAL_NUMBERS = frozenset({int, Int64, float, type(None)})
_END = None
_BEGINNING = object()
"""Before every identity; None is one."""
_REPLACEMENT = "\ufffd".encode()


class MongoFactScan:
    """Reads from the primary with majority concern. Every method raises Outage when MongoDB does not answer."""

    def __init__(self, connection: Connection, mapping: MappingSettings, *, clock: Clock) -> None:
        self._mapping = mapping
        self._names = FactNames.of(mapping).participation
        self._clock = clock
        self._database = connection.database
        self._participations = connection.database[mapping.collections.participations]
        self._campaigns = connection.database[mapping.collections.campaigns]
        names = mapping.participations
        self._projection = dict.fromkeys(
            (
                names.campaign_id,
                names.streamer_id,
                names.status,
                names.impressions,
                names.earnings_forfeited,
                names.final_earnings_transferred,
                names.completion_reason,
                names.final_earnings,
            ),
            1,
        )

    @contextmanager
    def partitions(
        self, size: int, *, campaign_id: str | None, after: DocumentId | None
    ) -> Iterator[Iterator[ScannedPartition]]:
        """Partitions in the order of ``_id``. The last one has no ``up_to``, and may be empty."""
        ahead = _Ahead(lambda: self._read_all(size, campaign_id, after))
        try:
            yield ahead.partitions()
        finally:
            ahead.close()

    def collections(self) -> dict[str, str]:
        """The collections that are compared: name → its UUID, which another one of the name does not have."""
        names = [getattr(self._mapping.collections, role) for role in MAPPED_COLLECTIONS]
        with translated(), self._database.list_collections(filter={"name": {"$in": names}}) as found:
            return {one["name"]: str(one.get("info", {}).get("uuid", "")) for one in found}

    def last_streams(self, campaign_ids: Sequence[DocumentId]) -> dict[str, datetime]:
        """Campaign (tagged) → when anybody who takes part streamed last; absent where no date says so."""
        names = self._mapping.participations
        streamed = f"${names.last_stream_date}"
        pipeline: list[Document] = [
            {
                "$match": {
                    names.campaign_id: {"$in": [to_bson_id(one) for one in campaign_ids]},
                    names.status: {"$in": sorted(STATUSES_THAT_PAY)},
                }
            },
            {"$match": {names.last_stream_date: {"$type": "date"}}},
            {"$group": {"_id": f"${names.campaign_id}", "streamed": {"$max": streamed}}},
        ]
        found: dict[str, datetime] = {}
        with translated(), self._participations.aggregate(pipeline) as rows:
            for row in rows:
                campaign_id, at = identity_of(row), date_of(row["streamed"])
                if campaign_id is not None and at is not None:
                    found[campaign_id.tagged] = at
        return found

    def missing_collections(self) -> dict[str, MissingCollection]:
        """Mapped collections that do not exist: what each is for → its name, and what is there instead."""
        names = self._mapping.collections.model_dump()
        mapped = {role: names[role] for role in MAPPED_COLLECTIONS}
        with translated():
            there = [one for one in self._database.list_collection_names() if not one.startswith("system.")]
            missing = {role: name for role, name in mapped.items() if name not in there}
            others = sorted(set(there) - set(names.values()))
            if len(missing) < len(mapped):
                instead = {name: _instead("collection", name, others) for name in missing.values()}
            else:
                # Nothing of the platform lies here: it is the database's name that is wrong, most of all.
                answer = self._database.client.admin.command("listDatabases", nameOnly=True, authorizedDatabases=True)
                databases = [one["name"] for one in answer["databases"] if one["name"] not in _SERVERS_OWN]
                said = _instead("database", self._database.name, databases)
                instead = dict.fromkeys(missing.values(), f"none of the mapped collections exists; {said}")
        is_whole = {"campaigns", "participations"}
        return {
            role: MissingCollection(name=name, detail=instead[name], is_suspect=role in is_whole or bool(others))
            for role, name in missing.items()
        }

    def reached(self, campaigns: Sequence[CampaignTerms]) -> Iterator[list[Reached]]:
        """Participations that may have reached the target of their campaign, by MongoDB's own comparison; in pages.

        Whatever is no number comes along: nobody can say that it is below. Neither marks nor statuses choose.
        """
        names = self._mapping.participations
        clauses = [
            {
                names.campaign_id: to_bson_id(terms.campaign_id),
                names.impressions: {"$not": {"$lt": min(terms.target_impressions, IMPRESSIONS_MAX + 1)}},
            }
            for terms in campaigns
        ]
        fields = (names.campaign_id, names.impressions, names.status, names.earnings_forfeited)
        with translated(), self._participations.find({"$or": clauses}, dict.fromkeys(fields, 1)) as cursor:
            page: list[Reached] = []
            for document in cursor:
                identities = [identity_of(document, name) for name in ("_id", names.campaign_id)]
                tagged = [one.tagged for one in identities if one is not None]
                if len(tagged) == 2:
                    values = [to_plain(document.get(name)) for name in fields[1:]]
                    page.append(Reached(*tagged, *values))
                if len(page) >= _REACHED_A_PAGE:
                    yield page
                    page = []
            if page:
                yield page

    def counters(
        self, campaign_ids: Sequence[DocumentId], currencies: Mapping[str, str]
    ) -> dict[str, CampaignCounters]:
        """Title and remaining budget of some campaigns, by tagged identity."""
        names = self._mapping.campaigns
        query = {"_id": {"$in": [to_bson_id(one) for one in campaign_ids]}}
        found: dict[str, CampaignCounters] = {}
        with translated(), self._campaigns.find(query, {names.title: 1, names.remaining_budget: 1}) as cursor:
            for document in cursor:
                campaign_id = identity_of(document)
                if campaign_id is None:
                    continue
                currency = currencies.get(campaign_id.tagged)
                remaining = document.get(names.remaining_budget)
                found[campaign_id.tagged] = CampaignCounters(
                    title=(text_of(document.get(names.title)) or "")[:200],
                    remaining_minor=None if currency is None else amount_of(remaining, currency),
                )
        return found

    def _read_all(self, size: int, campaign_id: str | None, after: DocumentId | None) -> Iterator[ScannedPartition]:
        names = self._mapping.participations
        query: Document = {}
        if campaign_id is not None:
            either: list[object] = [campaign_id]
            if ObjectId.is_valid(campaign_id) and len(campaign_id) == 24:
                either.append(ObjectId(campaign_id))
            query = {names.campaign_id: {"$in": either}}
        last: object = _BEGINNING if after is None else to_bson_id(after)
        begin = after
        while True:
            read_at = self._clock()
            columns, unreadable, last, is_end = self._read(query, size, last)
            # Identities of odd types sort before and behind ours: a partition that ends in them ends, for the ledger,
            # with the last one that can be named.
            named = columns.participation_ids[-1] if columns.participation_ids else None
            up_to = begin if named is None else DocumentId.from_tagged(named)
            yield ScannedPartition(
                columns=columns,
                unreadable=unreadable,
                after=begin,
                up_to=None if is_end else up_to,
                read_at=read_at,
                is_resumable=up_to is not None and to_bson_id(up_to) == last,
            )
            if is_end:
                return
            begin = up_to

    def _read(
        self, query: Document, size: int, last: object
    ) -> tuple[FactColumns, list[MalformedParticipation], object, bool]:
        """One partition after ``last``, and whether it is the last one. By bounds of the index, since ``$gt`` would
        stop at the end of a type. It ends where the identity can be given back, and so may be longer than ``size``."""
        columns, unreadable, count, begin = FactColumns(), list[MalformedParticipation](), 0, last
        with translated():
            fields = self._projection
            cursor = self._participations.find(query, fields, sort=[("_id", ASCENDING)])
            if last is not _BEGINNING:
                bound: list[Any] = [("_id", last)]
                cursor = cursor.hint([("_id", ASCENDING)]).min(bound)
            # Without an upper bound the server leaves out the largest key of all.
            largest = () if begin is _BEGINNING else self._participations.find(query | {"_id": MaxKey()}, fields)
            with cursor.batch_size(min(size + 1, _DOCUMENTS_A_CHUNK)) as documents:
                chunk: list[Document] = []
                is_end = True
                for document in chain(documents, largest):
                    if begin is not _BEGINNING and count == 0 and _is_same(document["_id"], begin):
                        continue
                    if count >= size and _can_be_given_back(chunk[-1]["_id"] if chunk else last):
                        is_end = False
                        break
                    count += 1
                    chunk.append(document)
                    if len(chunk) >= _DOCUMENTS_A_CHUNK:
                        last = chunk[-1]["_id"]
                        self._add(chunk, columns, unreadable)
                        chunk = []
                if chunk:
                    last = chunk[-1]["_id"]
                    self._add(chunk, columns, unreadable)
        return columns, unreadable, last, is_end

    def _add(self, chunk: list[Document], columns: FactColumns, unreadable: list[MalformedParticipation]) -> None:
        names = self._mapping.participations
        raw: dict[str, list[Any]] = {
            field: [document.get(field) for document in chunk] for field in ("_id", *self._projection)
        }
        plain = _plain_rows(raw, names.impressions, names)
        if not all(plain):
            chunk, plain = self._without_unreadable(chunk, plain, unreadable)
            filled = [one if is_plain else self._filler(one) for one, is_plain in zip(chunk, plain, strict=True)]
            raw = {field: [document.get(field) for document in filled] for field in ("_id", *self._projection)}
        oid = IdKind.OBJECT_ID.value
        columns.participation_ids += [
            f"{oid}:{one.binary.hex()}" if type(one) is ObjectId else _tagged(one) for one in raw["_id"]
        ]
        columns.campaign_ids += [f"{oid}:{one.binary.hex()}" for one in raw[names.campaign_id]]
        columns.streamer_ids += [one.binary.hex() for one in raw[names.streamer_id]]
        columns.statuses += raw[names.status]
        columns.impressions += raw[names.impressions]
        columns.forfeited += [bool(one) for one in raw[names.earnings_forfeited]]
        columns.marked_paid += [bool(one) for one in raw[names.final_earnings_transferred]]
        columns.completion_reasons += [one or "" for one in raw[names.completion_reason]]
        columns.final_earnings += [math.nan if one is None else float(one) for one in raw[names.final_earnings]]
        columns.is_plain += plain

    def _without_unreadable(
        self, chunk: list[Document], plain: list[bool], unreadable: list[MalformedParticipation]
    ) -> tuple[list[Document], list[bool]]:
        """Take out those that cannot be named: nothing can be looked up of them."""
        kept: list[Document] = []
        kept_plain: list[bool] = []
        for document, is_plain in zip(chunk, plain, strict=True):
            if not is_plain and identity_of(document) is None:
                malformed = parse_participation(to_record(document, self._names))
                assert isinstance(malformed, MalformedParticipation)
                unreadable.append(malformed)
            else:
                kept.append(document)
                kept_plain.append(is_plain)
        return kept, kept_plain

    def _filler(self, document: Document) -> Document:
        names, nobody = self._mapping.participations, ObjectId(bytes(12))
        return {
            "_id": document["_id"],
            names.campaign_id: nobody,
            names.streamer_id: nobody,
            names.status: "",
            names.impressions: 0,
        }


class _Ahead:
    """A thread that reads while the caller works: at most one partition waits."""

    def __init__(self, read: Any) -> None:
        self._read = read
        self._ready: queue.Queue[ScannedPartition | BaseException | None] = queue.Queue(maxsize=1)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def partitions(self) -> Iterator[ScannedPartition]:
        """Yield what was read, in order. Raises what the reading raised."""
        while (found := self._ready.get()) is not _END:
            if isinstance(found, BaseException):
                raise found
            yield found

    def close(self) -> None:
        """Stop reading. A read under way is not waited for: it ends by itself, and nobody takes what it brings."""
        self._closing.set()

    def _run(self) -> None:
        try:
            for partition in self._read():
                if not self._put(partition):
                    return
            self._put(_END)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked, whatever it is
            self._put(error)

    def _put(self, found: ScannedPartition | BaseException | None) -> bool:
        while not self._closing.is_set():
            try:
                self._ready.put(found, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False


def _is_same(one: object, other: object) -> bool:
    """Whether two identities are the same to MongoDB: NaN is not equal to itself here, and True is equal to 1."""
    return bson.encode({"": one}) == bson.encode({"": other})


def _can_be_given_back(identity: object) -> bool:
    """Not where text is no UTF-8: it was read with replacement characters, and lies elsewhere in the index."""
    return _REPLACEMENT not in bson.encode({"": identity})


def _instead(what: str, name: str, there: Sequence[str]) -> str:
    near = get_close_matches(name, there, n=3, cutoff=0.6) or sorted(there)[:5]
    return f"there is no {what} {name}; " + (f"there is {', '.join(near)}" if near else f"there is no {what} at all")


def _plain_rows(raw: Mapping[str, list[Any]], impressions: str, names: Any) -> list[bool]:
    """Which rows hold the usual types; a column at a time, and row by row only where one is mixed."""
    wanted = (
        ("_id", frozenset({ObjectId})),
        (names.campaign_id, frozenset({ObjectId})),
        (names.streamer_id, frozenset({ObjectId})),
        (names.status, frozenset({str})),
        (impressions, _NUMBERS),
        (names.earnings_forfeited, _FLAGS),
        (names.final_earnings_transferred, _FLAGS),
        (names.completion_reason, _TEXTS),
        (names.final_earnings, _OPTIONAL_NUMBERS),
    )
    plain = [True] * len(raw["_id"])
    for field, types in wanted:
        if not set(map(type, raw[field])) <= types:
            plain = [one and type(value) in types for one, value in zip(plain, raw[field], strict=True)]
    return plain


def _tagged(raw: object) -> str:
    found = identity_of({"_id": raw})
    assert found is not None
    return found.tagged
