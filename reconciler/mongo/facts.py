"""Reading what payments are decided on: candidates by an indexed query, then each page whole from one snapshot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any

from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from pymongo.client_session import ClientSession
from pymongo.errors import ConfigurationError, OperationFailure

from reconciler.clock import Clock
from reconciler.config.mapping import MappingSettings
from reconciler.domain.campaign import STATUSES_THAT_PAY as CAMPAIGN_STATUSES_THAT_PAY
from reconciler.domain.campaign import Campaign, CampaignDefaults, CampaignTerms, parse_campaign
from reconciler.domain.decision import Policy, Rule, Scope
from reconciler.domain.ids import DocumentId
from reconciler.domain.parsing import IMPRESSIONS_MAX, Unreadable, parse_number
from reconciler.domain.participation import (
    STATUSES_THAT_PAY,
    MalformedParticipation,
    Participation,
    parse_participation,
)
from reconciler.domain.settlement import INACTIVE_AFTER
from reconciler.mongo.connection import Connection, Document, close_last_used, is_standalone, require_primary
from reconciler.mongo.driver_errors import is_without_sessions, translated
from reconciler.mongo.indexes import SIMPLE, due_index
from reconciler.mongo.names import CAMPAIGN_FACTS, FactNames
from reconciler.mongo.values import date_of, identity_of, to_bson_id, to_plain, to_record
from reconciler.ports.facts import FactsPage, Moment

CAMPAIGNS_A_QUERY_MAX = 500
"""Clauses of one ``$or``: each is one index seek; more would make the statement itself large."""

_BAD_VALUE = 2
"""What the server says of a hint that it has no index for."""

CATCH_UP_MAX_MS = 2_000
"""Longer than a new primary needs to commit its first entry; whoever waits in vain tries again later."""

CAMPAIGNS_REMEMBERED_MAX = 10_000
"""Parsed campaigns that are kept, at some 2 kB each."""


class FactsReader:
    """Reads from a primary with majority concern. Every method raises Outage when MongoDB does not answer."""

    def __init__(
        self, connection: Connection, mapping: MappingSettings, defaults: CampaignDefaults, *, clock: Clock
    ) -> None:
        self._connection = connection
        self._mapping = mapping
        self._names = FactNames.of(mapping)
        self._transactions = mapping.transactions
        self._defaults = defaults
        self._clock = clock
        self._standalone: bool | None = None
        self._due_index: str | None = None
        self._knows_due_index = False
        collections = mapping.collections
        self._campaigns = connection.database[collections.campaigns]
        self._participations = connection.database[collections.participations]
        self._statement = connection.database[collections.transactions]

    def paying_campaigns(self) -> Iterator[Sequence[Campaign]]:
        """Campaigns with a status that pays, in pages, malformed ones among them."""
        with translated():
            # Once a sweep: it may have been made, or dropped, since the last one.
            self._look_for_due_index()
        yield from self._campaign_pages({self._names.campaign["status"]: {"$in": sorted(CAMPAIGN_STATUSES_THAT_PAY)}})

    def all_campaigns(self) -> Iterator[Sequence[Campaign]]:
        """Every campaign whatever its status, in pages; those whose identity nobody could name are left out."""
        yield from self._campaign_pages({})

    def _campaign_pages(self, query: Document) -> Iterator[Sequence[Campaign]]:
        with translated(), self._campaigns.find(query, _projection(self._names.campaign)) as cursor:
            for page in _pages(cursor, CAMPAIGNS_A_QUERY_MAX):
                parsed = (self._parse_campaign(document) for document in page)
                yield [campaign for campaign in parsed if campaign is not None]

    def candidates(
        self, campaigns: Sequence[CampaignTerms], page_size: int
    ) -> Iterator[Sequence[DocumentId | MalformedParticipation]]:
        """Participations of at most CAMPAIGNS_A_QUERY_MAX campaigns that may be due, in the order of ``_id``.

        A hint: each is read again before it is decided on. Numbers below the target are left out by the index;
        everything that is not a number comes along, for the parser to name.
        """
        if not campaigns:
            return
        query = self.candidates_query(campaigns)
        with translated():
            if not self._knows_due_index:
                self._look_for_due_index()
            try:
                yield from self._candidates(query, page_size)
            except OperationFailure as error:
                # The index went, or is not finished. Nothing was found yet: the hint is looked at first.
                if error.code != _BAD_VALUE or self._due_index is None:
                    raise
                self._due_index = None
                yield from self._candidates(query, page_size)

    def _candidates(self, query: Document, page_size: int) -> Iterator[Sequence[DocumentId | MalformedParticipation]]:
        # By name: two indexes may have the same fields, and a hint by fields then means neither.
        find = self._participations.find(
            query, {"_id": 1}, sort=[("_id", 1)], hint=self._due_index, collation=SIMPLE, allow_disk_use=True
        )
        with find as cursor:
            for page in _pages(cursor, page_size):
                yield [_identity(document) for document in page]

    def candidates_query(self, campaigns: Sequence[CampaignTerms]) -> Document:
        """The query behind :meth:`candidates`, for explain."""
        name = self._names.participation
        clauses: list[Document] = []
        for terms in campaigns:
            # A derived target can be beyond what an int64 holds; a count beyond the maximum is malformed anyway.
            target = min(terms.target_impressions, IMPRESSIONS_MAX + 1)
            common = {
                name["campaign_id"]: to_bson_id(terms.campaign_id),
                name["final_earnings_transferred"]: {"$ne": True},
                name["status"]: {"$in": sorted(STATUSES_THAT_PAY)},
            }
            clauses.append(common | {name["impressions"]: {"$not": {"$lt": target}}})
            clauses.append(common | {name["impressions"]: {"$lt": 0}})
        return {"$or": clauses}

    def read(self, participation_ids: Sequence[DocumentId]) -> FactsPage:
        """Some participations and their campaigns from one snapshot, authoritatively."""
        facts_at = self._clock()
        wanted = [to_bson_id(participation_id) for participation_id in participation_ids]
        with translated(), self._snapshot() as session:
            names = self._names.participation
            documents = list(self._participations.find({"_id": {"$in": wanted}}, _projection(names), session=session))
            participations = [parse_participation(to_record(document, names)) for document in documents]
            campaigns = self._campaigns_of(participations, session)
            if session is None:
                participations = self._unmoved(participations, campaigns)
        found = {document["_id"] for document in documents}
        as_of = _snapshot_moment(session)
        missing = [one for one, raw in zip(participation_ids, wanted, strict=True) if raw not in found]
        return FactsPage(
            participations=participations, campaigns=campaigns, missing=missing, facts_at=facts_at, as_of=as_of
        )

    def pages(self, page_size: int, campaign_id: str | None = None) -> Iterator[FactsPage]:
        """Every participation there is, or those of one campaign, in the order of ``_id``, with their campaigns.

        ``campaign_id`` is the plain identity; documents may hold it as text or as ObjectId.
        """
        names = self._names.participation
        query: Document = {}
        if campaign_id is not None:
            query = {names["campaign_id"]: {"$in": _either_type([campaign_id])}}
        with translated(), self._participations.find(query, _projection(names), sort=[("_id", 1)]) as cursor:
            for page in _pages(cursor, page_size):
                facts_at = self._clock()
                participations = [parse_participation(to_record(document, names)) for document in page]
                campaigns = self._campaigns_of(participations, None)
                yield FactsPage(participations=participations, campaigns=campaigns, missing=(), facts_at=facts_at)

    def pool_candidates(self, campaigns: Sequence[CampaignTerms], policy: Policy, now: datetime) -> list[CampaignTerms]:
        """Those of some campaigns whose pool may be due. Costs their participations: every one is summed.

        A hint: numbers that MongoDB cannot add make their campaign a candidate, and the parser decides.
        """
        names = self._names.participation
        impressions = f"${names['impressions']}"
        is_number = {
            "$and": [{"$isNumber": impressions}, {"$gt": [impressions, -math.inf]}, {"$lt": [impressions, math.inf]}]
        }
        pipeline: list[Document] = [
            {
                "$match": {
                    names["campaign_id"]: {"$in": [to_bson_id(terms.campaign_id) for terms in campaigns]},
                    names["final_earnings_transferred"]: {"$ne": True},
                    names["status"]: {"$in": sorted(STATUSES_THAT_PAY)},
                }
            },
            {
                "$group": {
                    "_id": f"${names['campaign_id']}",
                    "impressions": {"$sum": {"$cond": [is_number, impressions, 0]}},
                    "others": {"$sum": {"$cond": [is_number, 0, 1]}},
                    "streamed": {"$max": f"${names['last_stream_date']}"},
                }
            },
        ]
        with translated():
            sums = {identity_of(row): row for row in self._participations.aggregate(pipeline, collation=SIMPLE)}
        return [
            terms
            for terms in campaigns
            if (row := sums.get(terms.campaign_id)) is not None and _may_be_due(terms, row, policy, now)
        ]

    def campaigns(self, campaign_ids: Sequence[DocumentId]) -> dict[str, Campaign]:
        """Some campaigns, by tagged identity; those that do not exist are absent."""
        with translated():
            return self._campaigns_by_id(campaign_ids, None)

    def read_campaign(self, campaign_id: DocumentId) -> FactsPage:
        """A campaign with all of its participations from one snapshot, authoritatively."""
        facts_at = self._clock()
        names = self._names.participation
        query = {names["campaign_id"]: to_bson_id(campaign_id)}
        with translated(), self._snapshot() as session:
            documents = list(self._participations.find(query, _projection(names), session=session))
            participations = [parse_participation(to_record(document, names)) for document in documents]
            campaigns = self._campaigns_of(participations, session)
            if session is None:
                participations = self._unmoved(participations, campaigns)
        return FactsPage(participations=participations, campaigns=campaigns, missing=(), facts_at=facts_at)

    def count(self) -> int:
        """About how many participations there are: from the collection's metadata, without a scan."""
        with translated():
            return self._participations.estimated_document_count()

    def catch_up(self, moment: Moment) -> None:
        """Wait until the primary has committed what happened up to ``moment``, for at most CATCH_UP_MAX_MS.

        Right after an election the new primary may know less of what is committed than the old one had reported.
        """
        with translated(), self._connection.client.start_session(causal_consistency=True) as session:
            session.advance_operation_time(Timestamp(*moment))
            self._campaigns.find_one({"_id": None}, {"_id": 1}, session=session, max_time_ms=CATCH_UP_MAX_MS)

    def credited_elsewhere(self, campaign_streamers: Iterable[tuple[DocumentId, str]]) -> set[tuple[str, str]]:
        """Which pairs of (campaign, streamer) have a statement line of earnings; as (tagged campaign, streamer).

        The platform may hold either identity as text or as ObjectId, so both are looked for.
        """
        pairs = set(campaign_streamers)
        if not pairs:
            return set()
        names = self._transactions
        query = {
            names.user_id: {"$in": _either_type(streamer_id for _, streamer_id in pairs)},
            names.campaign_id: {"$in": _either_type(campaign_id.value for campaign_id, _ in pairs)},
            names.transaction_type: "earnings_credit",
        }
        projection = {names.user_id: 1, names.campaign_id: 1}
        with translated(), self._statement.find(query, projection, collation=SIMPLE) as cursor:
            # A list that holds an identity is nobody's.
            campaign, user = names.campaign_id, names.user_id
            credited = {(str(identity_of(line, campaign)), str(identity_of(line, user))) for line in cursor}
        return {(c.tagged, streamer_id) for c, streamer_id in pairs if (c.value, streamer_id) in credited}

    def _look_for_due_index(self) -> None:
        self._due_index, self._knows_due_index = due_index(self._connection, self._mapping), True

    @contextmanager
    def _snapshot(self) -> Iterator[ClientSession | None]:
        # A standalone server is asked each time: it may be made a replica set while this runs, and has snapshots then.
        if self._standalone is not False:
            self._standalone = is_standalone(self._connection)
        if self._standalone:
            yield None
            return
        require_primary(self._connection)
        try:
            with self._connection.client.start_session(snapshot=True) as session:
                yield session
        except ConfigurationError as error:
            if is_without_sessions(error):
                close_last_used(self._participations)
            raise

    def _campaigns_of(
        self, participations: Sequence[Participation | MalformedParticipation], session: ClientSession | None
    ) -> dict[str, Campaign]:
        wanted = {one.campaign_id for one in participations if one.campaign_id is not None}
        return self._campaigns_by_id(sorted(wanted), session)

    def _campaigns_by_id(
        self, campaign_ids: Sequence[DocumentId], session: ClientSession | None
    ) -> dict[str, Campaign]:
        query = {"_id": {"$in": [to_bson_id(campaign_id) for campaign_id in campaign_ids]}}
        found = self._campaigns.find(query, _projection(self._names.campaign), session=session)
        parsed = (self._parse_campaign(document) for document in found)
        return {campaign.campaign_id.tagged: campaign for campaign in parsed if campaign is not None}

    def _unmoved(
        self, participations: list[Participation | MalformedParticipation], campaigns: dict[str, Campaign]
    ) -> list[Participation | MalformedParticipation]:
        """Without snapshots: only participations whose campaign is the same before and after they were read."""
        again = self._campaigns_of(participations, None)
        moved = {key for key in campaigns.keys() | again.keys() if campaigns.get(key) != again.get(key)}
        return [
            one
            for one in participations
            if isinstance(one, MalformedParticipation) or one.campaign_id.tagged not in moved
        ]

    def _parse_campaign(self, document: Document) -> Campaign | None:
        campaign_id = identity_of(document)
        if campaign_id is None:
            return None
        record = to_record(document, self._names.campaign)
        return _parsed(self._defaults, campaign_id, *(record.get(name) for name in CAMPAIGN_FACTS))


@lru_cache(maxsize=CAMPAIGNS_REMEMBERED_MAX, typed=True)
def _parsed(defaults: CampaignDefaults, campaign_id: DocumentId, *values: object) -> Campaign:
    """A campaign by the values of its document, each of its very type: exact arithmetic is dear, and few change.

    A check meets the same thousand campaigns in each of its partitions, and a sweep in each of its pages.
    """
    return parse_campaign(campaign_id, dict(zip(CAMPAIGN_FACTS, values, strict=True)), defaults)


def _snapshot_moment(session: ClientSession | None) -> Moment | None:
    """When the snapshot was taken that a session has read from.

    pymongo 4.20 keeps it under a private name, so it is asked for softly: without it one only does not notice that a
    read right after an election is older than the event that asked for it, and the next sweep sees what it missed.
    """
    time: Timestamp | None = getattr(session, "_snapshot_time", None)
    return None if time is None else (time.time, time.inc)


def _may_be_due(terms: CampaignTerms, row: Document, policy: Policy, now: datetime) -> bool:
    impressions = parse_number(to_plain(row["impressions"]))
    if row["others"] or isinstance(impressions, Unreadable):
        return True
    if policy.scope is Scope.CAMPAIGN and impressions >= terms.target_impressions:
        return True
    if Rule.BUDGET_EXHAUSTED in policy.rules:
        return True
    if Rule.CAMPAIGN_ENDED in policy.rules and terms.end_date is not None and terms.end_date < now:
        return True
    if Rule.CAMPAIGN_INACTIVE not in policy.rules or row["streamed"] is None:
        return False
    # What is larger than any date to MongoDB (a timestamp, MaxKey) may stand before one: the parser decides.
    streamed = date_of(row["streamed"])
    return streamed is None or streamed < now - INACTIVE_AFTER


def _projection(names: dict[str, str]) -> dict[str, int]:
    return dict.fromkeys(names.values(), 1)


def _identity(document: Document) -> DocumentId | MalformedParticipation:
    identity = identity_of(document)
    if identity is not None:
        return identity
    malformed = parse_participation(to_record(document, {}))
    assert isinstance(malformed, MalformedParticipation)
    return malformed


def _either_type(values: Iterable[str]) -> list[Any]:
    texts = sorted(set(values))
    return [*texts, *(ObjectId(text) for text in texts if ObjectId.is_valid(text) and len(text) == 24)]


def _pages(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    page: list[Document] = []
    for document in documents:
        page.append(document)
        if len(page) >= size:
            yield page
            page = []
    if page:
        yield page
