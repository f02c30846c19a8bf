"""Payouts as the projection is given them, and whole databases as plain values that can be compared."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from bson.objectid import ObjectId

from reconciler.domain.effects import ProjectionTask, Shown, WalletPosition
from reconciler.domain.ids import DocumentId, IdKind, payout_key
from reconciler.ledger.schema import metadata

if TYPE_CHECKING:
    from pymongo.database import Database
    from sqlalchemy.engine import Engine

PAID_AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)


def document_id(raw: ObjectId | str) -> DocumentId:
    """The domain's form of a raw identity."""
    kind = IdKind.OBJECT_ID if isinstance(raw, ObjectId) else IdKind.STRING
    return DocumentId(kind, str(raw))


def position(streamer_id: Any, available_minor: int, version: int = 1, **fields: Any) -> WalletPosition:
    """All that a streamer has, in INR if nothing else is said; nothing held, nothing acknowledged."""
    given: dict[str, Any] = {"currency": "INR", "held_minor": 0, "acknowledged_version": 0} | fields
    return WalletPosition(streamer_id=str(streamer_id), available_minor=available_minor, version=version, **given)


def payout_task(database: Database[dict[str, Any]], participation_id: Any, **fields: Any) -> ProjectionTask:
    """The payout of a participation that is in the database: 3300.00 INR, the streamer's first."""
    participation = database["campaignparticipations"].find_one({"_id": participation_id})
    assert participation is not None
    campaign = database["campaigns"].find_one({"_id": participation["campaignId"]})
    assert campaign is not None
    streamer_id = str(participation["streamerId"])
    amount_minor: int = fields.get("amount_minor", 330_000)
    currency: str = fields.get("currency", "INR")
    given: dict[str, Any] = {
        "sequence": 1,
        "payout_key": payout_key(document_id(participation_id), 1),
        "brand_id": document_id(campaign["brandId"]),
        "currency": currency,
        "amount_minor": amount_minor,
        "rule": "impressions_target_reached",
        "cooloff_hours": 720,
        "paid_at": PAID_AT,
        "posted_at": PAID_AT,
        "position": position(streamer_id, amount_minor, currency=currency),
    } | fields
    given.setdefault(
        "shown",
        Shown(amount_minor=amount_minor, rule=given["rule"], paid_at=given["paid_at"], reversed_at=None),
    )
    return ProjectionTask(
        participation_id=document_id(participation_id),
        campaign_id=document_id(participation["campaignId"]),
        streamer_id=streamer_id,
        **given,
    )


def all_documents(database: Database[dict[str, Any]]) -> dict[str, list[str]]:
    """Every document of every collection, types of numbers included."""
    return {
        name: sorted(repr(document) for document in database[name].find())
        for name in sorted(database.list_collection_names())
    }


def all_rows(engine: Engine) -> dict[str, list[str]]:
    """Every row of every table of the ledger."""
    with engine.connect() as connection:
        return {
            table.name: sorted(repr(dict(row)) for row in connection.execute(sa.select(table)).mappings())
            for table in metadata.sorted_tables
        }
