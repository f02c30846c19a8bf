"""G-keys: a streamer's category slots, which rest after a campaign and are then available again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from bson.objectid import ObjectId
from pymongo import UpdateMany, UpdateOne
from pymongo.collection import Collection

from reconciler.config.mapping import GKeyFields
from reconciler.domain.campaign import COOLOFF_HOURS_MAX
from reconciler.domain.effects import ProjectionTask
from reconciler.domain.ids import DocumentId, parse_id
from reconciler.mongo.connection import Document
from reconciler.mongo.driver_errors import translated
from reconciler.mongo.values import to_bson_id, to_plain
from reconciler.ports.projection import RestedKey

_MS_PER_HOUR = 3_600_000

LOCK_TOLERANCE = timedelta(minutes=5)
"""How far the platform's clock may be ahead of ours. A key that this campaign locked so soon after the payment was
locked before it. Whoever was paid in a campaign is not paid in it again by itself, so that nothing would ever release a
key that it locks later; that is named, and a person decides."""


class GKeys:
    """Releases the keys that a campaign locked. Raises Outage; the caller of :meth:`rest` translates the errors."""

    def __init__(self, collection: Collection[Document], names: GKeyFields) -> None:
        self._collection = collection
        self._names = names

    def rest(self, tasks: Sequence[ProjectionTask]) -> set[int]:
        """Send the keys of each payout's streamer that its campaign locked into cool-off; as :meth:`unreadable`."""
        if not tasks:
            return set()
        self._collection.bulk_write([self._update(task) for task in tasks], ordered=False)
        return self.unreadable(tasks)

    @translated()
    def release_rested(self, now: datetime) -> int:
        """Make keys available whose cool-off has ended; returns how many."""
        names = self._names
        result = self._collection.update_many(
            {names.status: "cooloff", names.cooloff_ends_at: {"$lte": now}},
            {"$set": {names.status: "available"}, "$unset": {names.cooloff_ends_at: ""}},
        )
        return result.modified_count

    @translated()
    def rested(self, now: datetime, limit: int) -> list[RestedKey]:
        """Keys in cool-off of which the end has come, the first ``limit`` that can be named."""
        names = self._names
        query = {names.status: "cooloff", names.cooloff_ends_at: {"$lte": now}}
        shown = {names.user_id: 1, names.category: 1, names.cooloff_ends_at: 1}
        found: list[RestedKey] = []
        for document in self._collection.find(query, shown):
            key = self._named(document)
            if key is not None:
                found.append(key)
            if len(found) == limit:
                break
        return found

    @translated()
    def release(self, keys: Sequence[RestedKey]) -> int:
        """Make those keys available that still rest until the same moment; returns how many."""
        names = self._names
        available: Document = {"$set": {names.status: "available"}, "$unset": {names.cooloff_ends_at: ""}}
        updates = [
            UpdateOne(
                {"_id": to_bson_id(key.key_id), names.status: "cooloff", names.cooloff_ends_at: key.rested_until},
                available,
            )
            for key in keys
        ]
        return self._collection.bulk_write(updates, ordered=False).modified_count if updates else 0

    @translated()
    def were_released(self, rests: Sequence[tuple[DocumentId, datetime]]) -> set[tuple[DocumentId, datetime]]:
        """Which of some cool-offs (key, until when) are over, since their key was made available.

        A key that rests again, or still, was released only if a campaign has used it since.
        """
        names = self._names
        wanted = [to_bson_id(key) for key, _ in rests]
        shown = {names.status: 1, names.last_used: 1}
        documents = {document["_id"]: document for document in self._collection.find({"_id": {"$in": wanted}}, shown)}
        released = set()
        for rest, raw in zip(rests, wanted, strict=True):
            document = documents.get(raw)
            if document is None:
                continue
            last_used = document.get(names.last_used)
            is_used_since = isinstance(last_used, datetime) and last_used > rest[1]
            if document.get(names.status) != "cooloff" or is_used_since:
                released.add(rest)
        return released

    def _named(self, document: Document) -> RestedKey | None:
        names = self._names
        key_id, rested_until = parse_id(to_plain(document["_id"])), document[names.cooloff_ends_at]
        if not isinstance(key_id, DocumentId) or not isinstance(rested_until, datetime):
            return None
        return RestedKey(
            key_id=key_id,
            streamer_id=_text(document.get(names.user_id)),
            category=_text(document.get(names.category)),
            rested_until=rested_until,
        )

    def _locked_by(self, task: ProjectionTask) -> Document:
        names = self._names
        return {
            names.user_id: task.streamer_id,
            names.status: "locked",
            names.locked_with: task.campaign_id.value,
        }

    def _update(self, task: ProjectionTask) -> UpdateMany:
        names = self._names
        hours = self._hours(task)
        ends_at = {"$add": [task.paid_at, {"$multiply": [hours, _MS_PER_HOUR]}]}
        used = {"$cond": [{"$isNumber": f"${names.usage_count}"}, f"${names.usage_count}", 0]}
        return UpdateMany(
            self._locked_by(task) | {names.locked_at: {"$lte": task.paid_at + LOCK_TOLERANCE}},
            [
                {
                    "$set": {
                        names.status: "cooloff",
                        names.cooloff_ends_at: ends_at,
                        names.last_brand_cooloff_hours: hours,
                        names.last_brand_id: self._brand(task),
                        names.usage_count: {"$add": [used, 1]},
                        names.last_used: task.paid_at,
                    }
                }
            ],
        )

    def _hours(self, task: ProjectionTask) -> Document:
        """The campaign's hours, or the larger of them and those before when the same brand had the key last."""
        before = f"${self._names.last_brand_cooloff_hours}"
        same_brand = {
            "$eq": [
                {"$convert": {"input": f"${self._names.last_brand_id}", "to": "string", "onError": "", "onNull": ""}},
                task.brand_id.value,
            ]
        }
        readable = {"$and": [{"$isNumber": before}, {"$gte": [before, 1]}, {"$lte": [before, COOLOFF_HOURS_MAX]}]}
        larger = {"$max": [before, task.cooloff_hours]}
        return {"$cond": [{"$and": [same_brand, readable]}, larger, task.cooloff_hours]}

    def _brand(self, task: ProjectionTask) -> Any:
        brand_id = to_bson_id(task.brand_id)
        # A string in a pipeline that begins with a dollar sign would be read as a field's name.
        return brand_id if isinstance(brand_id, ObjectId) else {"$literal": brand_id}

    def unreadable(self, tasks: Sequence[ProjectionTask]) -> set[int]:
        """The sequences of those that have a key locked by the campaign at no readable time.

        Whether it was locked before the payment cannot be known.
        """
        names = self._names
        query = {
            names.user_id: {"$in": sorted({task.streamer_id for task in tasks})},
            names.status: "locked",
            names.locked_with: {"$in": sorted({task.campaign_id.value for task in tasks})},
            names.locked_at: {"$not": {"$type": "date"}},
        }
        # As text: a key may hold lists there, which the query matches too, and which are nobody's.
        left = {
            (str(key[names.user_id]), str(key[names.locked_with]))
            for key in self._collection.find(query, {names.user_id: 1, names.locked_with: 1})
        }
        return {task.sequence for task in tasks if (task.streamer_id, task.campaign_id.value) in left}


def _text(value: object) -> str:
    """Text or an identity as text; empty for what is neither: a category may be anything."""
    plain = to_plain(value)
    return str(plain) if isinstance(plain, str | DocumentId) else ""
