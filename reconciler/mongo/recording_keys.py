"""Idempotency keys: the answer of a report, stored in the transaction that counts it, until it expires."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from reconciler.domain.ids import DocumentId
from reconciler.domain.recording import Outcome, Recorded, RecordingRefusal, RefusedReport, ViewerReport
from reconciler.mongo.connection import Document
from reconciler.mongo.indexes import EXPIRY_FIELD
from reconciler.mongo.values import text_of, whole_number


class RecordingKeys:
    """One document a key, named by the key's hash. The caller translates the driver's errors.

    Only what was counted is stored: a refused report changed nothing, and the next try is decided anew. Neither the
    key nor the token is stored in clear.
    """

    def __init__(self, collection: Collection[Document], *, ttl_s: float) -> None:
        self._collection = collection
        self._ttl = timedelta(seconds=ttl_s)

    def read(self, reports: Sequence[ViewerReport], session: ClientSession) -> dict[str, Document]:
        """Read what is stored for the keys of some reports, by the key's hash."""
        wanted = sorted({_hashed(report.key) for report in reports if report.key is not None})
        if not wanted:
            return {}
        return {
            document["_id"]: document for document in self._collection.find({"_id": {"$in": wanted}}, session=session)
        }

    def store(self, documents: Sequence[Document], session: ClientSession) -> None:
        """Add documents; a key that somebody else stored meanwhile fails the transaction."""
        if documents:
            self._collection.insert_many(documents, ordered=False, session=session)

    def document(self, report: ViewerReport, recorded: Recorded, now: datetime) -> Document:
        """Make the document that is stored for a report with a key."""
        assert report.key is not None
        return {
            "_id": _hashed(report.key),
            "report": _fingerprint(report),
            "participationId": recorded.participation_id.tagged,
            "impressions": recorded.impressions,
            "clicks": recorded.clicks,
            "remaining": recorded.remaining,
            "completed": recorded.completed,
            EXPIRY_FIELD: now + self._ttl,
        }


def stored_answer(report: ViewerReport, stored: Mapping[str, Document]) -> Outcome | None:
    """Return the stored answer to the same report; a refusal if the key was another report's; None for a new key."""
    document = None if report.key is None else stored.get(_hashed(report.key))
    if document is None:
        return None
    if document.get("report") != _fingerprint(report):
        return RefusedReport(refusal=RecordingRefusal.KEY_REUSED)
    impressions, clicks, remaining = (whole_number(document.get(one)) for one in ("impressions", "clicks", "remaining"))
    try:
        participation_id = DocumentId.from_tagged(text_of(document.get("participationId")) or "")
    except ValueError:
        # It was counted, and what was answered cannot be read any more: counting it again would be the worse answer.
        return RefusedReport(refusal=RecordingRefusal.REJECTED)
    if impressions is None:
        return RefusedReport(refusal=RecordingRefusal.REJECTED)
    return Recorded(
        participation_id=participation_id,
        impressions=impressions,
        clicks=clicks,
        remaining=remaining,
        completed=document.get("completed") is True,
        replayed=True,
    )


def as_replayed(recorded: Recorded) -> Recorded:
    """Return the stored answer, marked as a replay."""
    return replace(recorded, needs_check=False, replayed=True)


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _fingerprint(report: ViewerReport) -> str:
    return hashlib.sha256(f"{report.kind}\n{report.count}\n{report.token}".encode()).hexdigest()
