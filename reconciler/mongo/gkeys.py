"""G-keys: a streamer's category slots, which rest after a campaign and are then available again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bson.objectid import ObjectId
from pymongo import UpdateMany
from pymongo.collection import Collection

from reconciler.config.mapping import GKeyFields
from reconciler.domain.campaign import COOLOFF_HOURS_MAX
from reconciler.domain.effects import ProjectionTask
from reconciler.mongo.connection import Document
from reconciler.mongo.values import to_bson_id

_MS_PER_HOUR = 3_600_000


class GKeys:
    """Releases the keys that a campaign locked. The caller translates the driver's errors."""

    def __init__(self, collection: Collection[Document], names: GKeyFields) -> None:
        self._collection = collection
        self._names = names

    def rest(self, tasks: Sequence[ProjectionTask]) -> set[int]:
        """Send the keys of each payout's streamer that its campaign locked into cool-off.

        Answers the sequences of those that have a key locked by the campaign at no readable time: whether it was locked
        before the payment cannot be known.
        """
        if not tasks:
            return set()
        self._collection.bulk_write([self._update(task) for task in tasks], ordered=False)
        return self._unreadable(tasks)

    def release_rested(self, now: datetime) -> int:
        """Make keys available whose cool-off has ended; answers how many."""
        names = self._names
        result = self._collection.update_many(
            {names.status: "cooloff", names.cooloff_ends_at: {"$lte": now}},
            {"$set": {names.status: "available"}, "$unset": {names.cooloff_ends_at: ""}},
        )
        return result.modified_count

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
            self._locked_by(task) | {names.locked_at: {"$lte": task.paid_at}},
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

    def _unreadable(self, tasks: Sequence[ProjectionTask]) -> set[int]:
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
