"""Completing a campaign once nothing of it is left to settle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import UpdateOne

from reconciler.config.mapping import MappingSettings
from reconciler.domain.campaign import STATUSES_THAT_PAY
from reconciler.domain.ids import DocumentId
from reconciler.domain.participation import STATUSES_SETTLED
from reconciler.mongo.connection import Connection, Document
from reconciler.mongo.values import to_bson_id, to_document_money

ALL_SETTLED = "all_participations_settled"


class CampaignCompletion:
    """Writes a campaign's completion. The caller translates the driver's errors."""

    def __init__(self, connection: Connection, mapping: MappingSettings) -> None:
        self._campaigns = connection.database[mapping.collections.campaigns]
        self._participations_name = mapping.collections.participations
        self._names = mapping.campaigns
        self._participation_names = mapping.participations

    def complete(self, totals: Mapping[DocumentId, tuple[int, str]]) -> list[DocumentId]:
        """Complete those campaigns that have no open participation; returns them (totals as in :class:`Projection`).

        A campaign that was cancelled or rejected stays what it is, and is not among them.
        """
        by_raw = {to_bson_id(campaign_id): campaign_id for campaign_id in totals}
        settled = self.settled(list(by_raw))
        names = self._names
        updates = []
        for raw in settled:
            total_minor, currency = totals[by_raw[raw]]
            # The total can grow later (a repayment), the time and reason of completion stay those of the first time.
            completed = {
                names.status: "completed",
                names.final_earnings_transferred: to_document_money(total_minor, currency),
                names.completion_reason: {"$ifNull": [f"${names.completion_reason}", ALL_SETTLED]},
                names.completed_at: {"$ifNull": [f"${names.completed_at}", "$$NOW"]},
            }
            query = {"_id": raw, names.status: {"$in": sorted(STATUSES_THAT_PAY)}}
            updates.append(UpdateOne(query, [{"$set": completed}]))
        if updates:
            self._campaigns.bulk_write(updates, ordered=False)
        return [by_raw[raw] for raw in settled]

    def settled(self, raw_ids: list[object]) -> list[Any]:
        """Those of some campaigns (their ``_id``) without a participation that could still be paid."""
        return [document["_id"] for document in self._campaigns.aggregate(self._settled_pipeline(raw_ids))]

    def _settled_pipeline(self, campaign_ids: list[object]) -> list[Document]:
        """Campaigns without any participation that could still be paid: one index seek each."""
        names = self._participation_names
        still_open = {
            names.final_earnings_transferred: {"$ne": True},
            names.status: {"$nin": sorted(STATUSES_SETTLED)},
            names.earnings_forfeited: {"$ne": True},
        }
        return [
            {"$match": {"_id": {"$in": campaign_ids}, self._names.status: {"$in": sorted(STATUSES_THAT_PAY)}}},
            {
                "$lookup": {
                    "from": self._participations_name,
                    "localField": "_id",
                    "foreignField": names.campaign_id,
                    "pipeline": [{"$match": still_open}, {"$limit": 1}, {"$project": {"_id": 1}}],
                    "as": "open",
                }
            },
            {"$match": {"open": []}},
            {"$project": {"_id": 1}},
        ]
