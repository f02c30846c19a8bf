"""A platform on which everybody is due, at the spread that costs most.

Neighbours in the order of identities belong to different campaigns and streamers, as on a platform where people join
all the time: a page of a sweep meets as many campaigns and wallets as it can.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from math import gcd
from typing import Any

from bson.objectid import ObjectId
from pymongo.database import Database

from reconciler.devstack.documents import Document, Forge

CAMPAIGNS_COUNT = 1_000
PARTICIPATIONS_A_STREAMER = 4
CURRENCY = "INR"
RATE = 120.5
TARGET = 4_000
PAYMENT_MINOR = 48_200
"""120.50 per thousand, 4,000 ordered."""

_FORGE = Forge(seed=1, now=datetime(2026, 3, 1, 12, tzinfo=UTC))
_INSERT_BATCH_SIZE = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One due participation, by the numbers of all that belongs to it."""

    participation_id: ObjectId
    campaign_id: ObjectId
    streamer_id: ObjectId
    wallet_id: ObjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Due participations with streamers and wallets of their own, so that one measurement does not meet another's."""

    name: str
    first: int
    count: int

    @property
    def streamers_count(self) -> int:
        """About a quarter; prime to the number of campaigns, so that no streamer is twice in one."""
        count = max(self.count // PARTICIPATIONS_A_STREAMER, CAMPAIGNS_COUNT // 10)
        while gcd(count, CAMPAIGNS_COUNT) != 1:
            count += 1
        return count

    def places(self) -> Iterator[Place]:
        """Every participation, in the order of identities."""
        for number in range(self.first, self.first + self.count):
            streamer = number % self.streamers_count
            yield Place(
                participation_id=_FORGE.object_id("participation", number),
                campaign_id=_FORGE.object_id("campaign", number % CAMPAIGNS_COUNT),
                streamer_id=_FORGE.object_id(f"streamer-{self.name}", streamer),
                wallet_id=_FORGE.object_id(f"wallet-{self.name}", streamer),
            )


def slices(counts: Iterable[tuple[str, int]]) -> dict[str, Slice]:
    """Slices one after another, by name."""
    found: dict[str, Slice] = {}
    first = 0
    for name, count in counts:
        found[name] = Slice(name=name, first=first, count=count)
        first += count
    return found


def load(database: Database[Any], parts: Iterable[Slice]) -> None:
    """Insert the campaigns and some slices into an empty database, with the platform's own unique index."""
    parts = list(parts)
    due_count = sum(part.count for part in parts)
    _insert(database, "campaigns", _campaigns(due_count))
    _insert(database, "campaignparticipations", _unfinished(due_count))
    for part in parts:
        _insert(database, "campaignparticipations", _participations(part))
        _insert(database, "wallets", _wallets(part))
        _insert(database, "gkeys", _gkeys(part))
    database["wallets"].create_index("userId", unique=True)


def brand_id() -> ObjectId:
    """The one brand that pays for everything."""
    return _FORGE.object_id("brand", 0)


def _campaigns(due_count: int) -> Iterator[Document]:
    budget = RATE * TARGET / 1_000 * (due_count // CAMPAIGNS_COUNT + 2)
    for number in range(CAMPAIGNS_COUNT):
        yield _FORGE.campaign(
            _FORGE.object_id("campaign", number),
            title=f"Campaign {number}",
            brandId=brand_id(),
            paymentRate=RATE,
            budget=budget,
            targetImpressions=TARGET,
        )


def _participations(part: Slice) -> Iterator[Document]:
    for place in part.places():
        yield _participation(place.participation_id, place.campaign_id, place.streamer_id, TARGET + 17)


def _unfinished(due_count: int) -> Iterator[Document]:
    """One a campaign below its target, which keeps the campaign open."""
    for number in range(CAMPAIGNS_COUNT):
        yield _participation(
            _FORGE.object_id("participation", due_count + number),
            _FORGE.object_id("campaign", number),
            _FORGE.object_id("streamer-unfinished", number),
            TARGET // 2,
        )


def _participation(
    participation_id: ObjectId, campaign_id: ObjectId, streamer_id: ObjectId, impressions: int
) -> Document:
    return _FORGE.participation(
        participation_id,
        campaignId=campaign_id,
        streamerId=streamer_id,
        impressions=impressions,
        browserSourceToken=str(participation_id),
    )


def _wallets(part: Slice) -> Iterator[Document]:
    for number in range(part.streamers_count):
        yield _FORGE.wallet(
            _FORGE.object_id(f"wallet-{part.name}", number),
            _FORGE.object_id(f"streamer-{part.name}", number),
            balance=150.25,
            withdrawableBalance=150.25,
            totalEarnings=900.5,
        )


def _gkeys(part: Slice) -> Iterator[Document]:
    """Two a participation, one of them locked by its campaign."""
    for number, place in enumerate(part.places(), start=part.first):
        locked, free = (_FORGE.object_id("gkey", 2 * number + which) for which in (0, 1))
        yield _FORGE.gkey(locked, place.streamer_id, category="music", **_FORGE.locked_by(place.campaign_id))
        yield _FORGE.gkey(free, place.streamer_id, category="travel")


def _insert(database: Database[Any], collection: str, documents: Iterator[Document]) -> None:
    while batch := list(islice(documents, _INSERT_BATCH_SIZE)):
        database[collection].insert_many(batch, ordered=False)
