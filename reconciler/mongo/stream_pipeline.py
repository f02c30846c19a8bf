"""What the stream asks the server for: which changes, and of each only the key.

The filter may let a change through that concerns nobody, and must never keep back one that does. So inserts and
replaces always pass, and an update passes when a path that it touched is a trigger field, lies below one, or above.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from reconciler.config.mapping import MappingSettings
from reconciler.mongo.connection import Document

PARTICIPATION_TRIGGERS = ("impressions", "clicks", "estimated_earnings", "status", "earnings_forfeited")
CAMPAIGN_TRIGGERS = (
    "status",
    "target_impressions",
    "budget",
    "payment_rate",
    "payment_type",
    "currency",
    "end_date",
)
"""Not ``remaining_budget``: recording changes it with every impression."""

GONE = ("drop", "rename", "dropDatabase", "invalidate")
"""Operations after which the stream no longer shows what it was opened for."""


def pipeline_of(mapping: MappingSettings) -> list[Document]:
    """The stages of a stream over the whole database, which sees to participations and campaigns."""
    collections = mapping.collections
    participation_fields = [getattr(mapping.participations, ours) for ours in PARTICIPATION_TRIGGERS]
    campaign_fields = [getattr(mapping.campaigns, ours) for ours in CAMPAIGN_TRIGGERS]
    watched = [collections.participations, collections.campaigns]
    matches = [
        {"ns.coll": {"$in": watched}, "operationType": {"$in": ["insert", "replace"]}},
        _updates(collections.participations, participation_fields),
        _updates(collections.campaigns, campaign_fields),
        {"ns.coll": {"$in": watched}, "operationType": {"$in": ["drop", "rename"]}},
        {"to.coll": {"$in": watched}, "operationType": "rename"},
        {"operationType": {"$in": ["dropDatabase", "invalidate"]}},
    ]
    # Only the key: an event cannot be too large then, and the document is read again anyway.
    project = {"operationType": 1, "documentKey": 1, "ns": 1, "clusterTime": 1, "wallTime": 1}
    return [{"$match": {"$or": matches}}, {"$project": project}]


def touches(pattern_fields: Iterable[str]) -> str:
    """A regular expression for ``path + "."`` of a touched path: equal to, below or above one of some fields.

    Above: writing ``progress`` as a whole also writes ``progress.total``.
    """
    alternatives = []
    for field in pattern_fields:
        parts = field.split(".")
        above = [".".join(parts[:count]) for count in range(1, len(parts))]
        alternatives.append(re.escape(field) + r"\.")
        alternatives += [re.escape(path) + r"\.$" for path in above]
    return "^(" + "|".join(alternatives) + ")"


def _updates(collection: str, fields: Iterable[str]) -> Document:
    description = "$updateDescription"
    touched = {
        "$concatArrays": [
            _each({"$objectToArray": {"$ifNull": [f"{description}.updatedFields", {}]}}, "$$this.k"),
            {"$ifNull": [f"{description}.removedFields", []]},
            _each({"$ifNull": [f"{description}.truncatedArrays", []]}, "$$this.field"),
        ]
    }
    is_touched = {"$regexMatch": {"input": {"$concat": ["$$this", "."]}, "regex": touches(fields)}}
    return {
        "ns.coll": collection,
        "operationType": "update",
        "$expr": {"$anyElementTrue": [_each(touched, is_touched)]},
    }


def _each(array: object, expression: object) -> Document:
    return {"$map": {"input": array, "in": expression}}
