"""One group of reports inside one transaction: read the documents, decide, write what changed.

Everything that is written is computed from what the same transaction read. If anybody else changed one of the
documents meanwhile, the server refuses the write, and the whole group is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from pymongo import UpdateOne
from pymongo.client_session import ClientSession

from reconciler.config.mapping import MappingSettings
from reconciler.domain.campaign import Campaign, CampaignDefaults, CampaignTerms, PaymentType, parse_campaign
from reconciler.domain.money import format_minor, parse_amount_minor
from reconciler.domain.parsing import Unreadable, parse_count, parse_number
from reconciler.domain.participation import Participation, parse_participation
from reconciler.domain.recording import (
    Counters,
    Outcome,
    Recorded,
    RecordingPolicy,
    RecordingRefusal,
    RefusedReport,
    Subject,
    ViewerReport,
    accrued_minor,
    record,
)
from reconciler.mongo.connection import Connection, Document
from reconciler.mongo.names import CAMPAIGN_FACTS, PARTICIPATION_FACTS
from reconciler.mongo.recording_keys import RecordingKeys, as_replayed, stored_answer
from reconciler.mongo.values import identity_of, to_bson_id, to_document_money, to_plain, to_record

# Asked for beside the campaigns of a group, so that a group without any does the same work as one with some.
_NO_CAMPAIGN = ObjectId("0" * 24)
_NOTHING_READ = Unreadable("is missing")


class NotFoundAgain(Exception):
    """A document that the same transaction read is not found by the identity that was read.

    Identities of broken UTF-8 would be, and are malformed before. Nothing of the group may be committed.
    """


@dataclass(slots=True, kw_only=True)
class _Member:
    """A participation of the group: its document, and its counters after the reports so far."""

    document: Document
    subject: Subject
    read: Counters
    counters: Counters


@dataclass(slots=True, kw_only=True)
class _Purse:
    """A campaign of the group, and what is left of its budget after the reports so far."""

    document: Document
    campaign: Campaign
    read_minor: int | Unreadable
    remaining_minor: int | Unreadable


class RecordingGroup:
    """Writes groups inside a transaction of the caller's, who also translates the driver's errors."""

    def __init__(
        self,
        connection: Connection,
        mapping: MappingSettings,
        defaults: CampaignDefaults,
        policy: RecordingPolicy,
        *,
        key_ttl_s: float,
    ) -> None:
        database, collections = connection.database, mapping.collections
        self._participations = database[collections.participations]
        self._campaigns = database[collections.campaigns]
        self._keys = RecordingKeys(database[collections.recordings], ttl_s=key_ttl_s)
        self._names = mapping.participations
        self._remaining_budget = mapping.campaigns.remaining_budget
        self._participation_names = {ours: getattr(mapping.participations, ours) for ours in PARTICIPATION_FACTS}
        self._campaign_names = {ours: getattr(mapping.campaigns, ours) for ours in CAMPAIGN_FACTS}
        self._defaults = defaults
        self._policy = policy

    def write(self, reports: Sequence[ViewerReport], session: ClientSession, now: datetime) -> list[Outcome]:
        """Write a group; returns what becomes of each report once the transaction commits."""
        members = self._read_members(reports, session)
        purses = self._read_purses(members, session)
        self._subjects(members, purses)
        stored = self._keys.read(reports, session)
        answered: dict[str, tuple[ViewerReport, Outcome]] = {}
        outcomes: list[Outcome] = []
        documents: list[Document] = []
        for report in reports:
            outcome = _answer_before(report, stored, answered) or self._decide(report, members, purses)
            if outcome == RefusedReport(refusal=RecordingRefusal.KEY_REUSED) and not members.get(report.token):
                outcome = RefusedReport(refusal=RecordingRefusal.TOKEN_UNKNOWN)
            if report.key is not None and isinstance(outcome, Recorded) and not outcome.replayed:
                documents.append(self._keys.document(report, outcome, now))
                answered[report.key] = (report, outcome)
            outcomes.append(outcome)
        self._write_members([member for found in members.values() for member in found], session)
        self._write_purses(list(purses.values()), session)
        self._keys.store(documents, session)
        return outcomes

    def token_query(self, tokens: Sequence[str]) -> Document:
        """The query that finds participations; ``$type`` is what lets it use an index of texts only."""
        return {self._names.browser_source_token: {"$in": list(tokens), "$type": "string"}}

    def _decide(self, report: ViewerReport, members: dict[str, list[_Member]], purses: dict[str, _Purse]) -> Outcome:
        found = members.get(report.token, [])
        if not found:
            return RefusedReport(refusal=RecordingRefusal.TOKEN_UNKNOWN)
        if len(found) > 1:
            return RefusedReport(refusal=RecordingRefusal.TOKEN_AMBIGUOUS)
        [member] = found
        purse = _purse_of(member, purses)
        if purse is not None:
            member.counters = replace(member.counters, remaining_minor=purse.remaining_minor)
        outcome, member.counters = record(member.subject, report, member.counters, self._policy)
        if purse is not None:
            purse.remaining_minor = member.counters.remaining_minor
        return outcome

    def _read_members(self, reports: Sequence[ViewerReport], session: ClientSession) -> dict[str, list[_Member]]:
        names = self._names
        fields = (
            *self._participation_names.values(),
            names.clicks,
            names.estimated_earnings,
            names.browser_source_token,
        )
        query = self.token_query(sorted({report.token for report in reports}))
        members: dict[str, list[_Member]] = {}
        for document in self._participations.find(query, dict.fromkeys(fields, 1), session=session):
            token = document[names.browser_source_token]
            if type(token) is not str:
                continue  # A list that holds the token is nobody's.
            participation = parse_participation(to_record(document, self._participation_names))
            counters = Counters(
                impressions=parse_count(to_plain(document.get(names.impressions))),
                clicks=parse_count(to_plain(document.get(names.clicks))),
                estimate_problem=_estimate_problem(document.get(names.estimated_earnings)),
                remaining_minor=_NOTHING_READ,
            )
            subject = Subject(participation=participation, campaign=None)
            members.setdefault(token, []).append(
                _Member(document=document, subject=subject, read=counters, counters=counters)
            )
        return members

    def _read_purses(self, members: Mapping[str, list[_Member]], session: ClientSession) -> dict[str, _Purse]:
        wanted = {
            member.subject.participation.campaign_id
            for found in members.values()
            for member in found
            if isinstance(member.subject.participation, Participation)
        }
        ids = [_NO_CAMPAIGN, *(to_bson_id(campaign_id) for campaign_id in sorted(wanted))]
        fields = (*self._campaign_names.values(), self._remaining_budget)
        purses: dict[str, _Purse] = {}
        for document in self._campaigns.find({"_id": {"$in": ids}}, dict.fromkeys(fields, 1), session=session):
            campaign_id = identity_of(document)
            assert campaign_id is not None  # it was asked for by that very identity
            campaign = parse_campaign(campaign_id, to_record(document, self._campaign_names), self._defaults)
            remaining_minor = self._remaining(document, campaign)
            purses[campaign_id.tagged] = _Purse(
                document=document, campaign=campaign, read_minor=remaining_minor, remaining_minor=remaining_minor
            )
        return purses

    def _remaining(self, document: Document, campaign: Campaign) -> int | Unreadable:
        if not isinstance(campaign, CampaignTerms):
            return Unreadable("has no readable campaign")
        return parse_amount_minor(to_plain(document.get(self._remaining_budget)), campaign.currency)

    def _subjects(self, members: Mapping[str, list[_Member]], purses: Mapping[str, _Purse]) -> None:
        for found in members.values():
            for member in found:
                purse = _purse_of(member, purses)
                if purse is not None:
                    member.subject = replace(member.subject, campaign=purse.campaign)

    def _write_members(self, members: Sequence[_Member], session: ClientSession) -> None:
        updates = []
        for member in members:
            changes = self._changes(member)
            if changes:
                updates.append(UpdateOne({"_id": member.document["_id"]}, {"$set": changes}))
        _write_all(self._participations.bulk_write, updates, session)

    def _changes(self, member: _Member) -> Document:
        """The fields of a participation that its reports changed, each in the type that it had."""
        names, document, counters = self._names, member.document, member.counters
        changes: Document = {}
        if isinstance(counters.impressions, int) and counters.impressions != member.read.impressions:
            changes[names.impressions] = _count_like(document.get(names.impressions), counters.impressions)
        if isinstance(counters.clicks, int) and counters.clicks != member.read.clicks:
            changes[names.clicks] = _count_like(document.get(names.clicks), counters.clicks)
        terms = member.subject.campaign
        if (
            names.impressions in changes
            and isinstance(counters.impressions, int)
            and isinstance(terms, CampaignTerms)
            and terms.payment_type is PaymentType.CPM
        ):
            accrued = accrued_minor(terms, counters.impressions)
            changes[names.estimated_earnings] = _money_like(
                document.get(names.estimated_earnings), accrued, terms.currency
            )
        return changes

    def _write_purses(self, purses: Sequence[_Purse], session: ClientSession) -> None:
        updates = []
        for purse in purses:
            left = purse.remaining_minor
            if isinstance(left, int) and left != purse.read_minor and isinstance(purse.campaign, CampaignTerms):
                money = _money_like(purse.document.get(self._remaining_budget), left, purse.campaign.currency)
                updates.append(UpdateOne({"_id": purse.document["_id"]}, {"$set": {self._remaining_budget: money}}))
        _write_all(self._campaigns.bulk_write, updates, session)


def _answer_before(
    report: ViewerReport, stored: Mapping[str, Document], answered: Mapping[str, tuple[ViewerReport, Outcome]]
) -> Outcome | None:
    """What the key of a report was answered already, in an earlier group or earlier in this one."""
    found = stored_answer(report, stored)
    if found is not None or report.key is None or report.key not in answered:
        return found
    earlier, outcome = answered[report.key]
    if earlier != report or not isinstance(outcome, Recorded):
        return RefusedReport(refusal=RecordingRefusal.KEY_REUSED)
    return as_replayed(outcome)


def _purse_of(member: _Member, purses: Mapping[str, _Purse]) -> _Purse | None:
    participation = member.subject.participation
    return purses.get(participation.campaign_id.tagged) if isinstance(participation, Participation) else None


def _write_all(bulk_write: Any, updates: Sequence[UpdateOne], session: ClientSession) -> None:
    if not updates:
        return
    matched = bulk_write(updates, ordered=False, session=session).matched_count
    if matched != len(updates):
        raise NotFoundAgain


def _estimate_problem(value: object) -> Unreadable | None:
    """The estimate follows from the counter, and what stands there is replaced; but nothing that we do not know."""
    number = parse_number(to_plain(value))
    return number if isinstance(number, Unreadable) and value is not None else None


def _count_like(read: object, counted: int) -> object:
    """A count in the type that the document has; text of old data becomes a number, which MongoDB can compare."""
    match read:
        case float():
            return float(counted)
        case Decimal128():
            return Decimal128(str(counted))
        case Int64():
            return Int64(counted)
        case _:
            return counted


def _money_like(read: object, amount_minor: int, currency: str) -> object:
    """An amount as a double, as the platform holds money; as a Decimal128 where the document has one."""
    if isinstance(read, Decimal128):
        return Decimal128(format_minor(amount_minor, currency))
    return to_document_money(amount_minor, currency)
