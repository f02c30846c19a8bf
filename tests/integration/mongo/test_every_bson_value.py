"""Every BSON type and extreme in every field of every collection: nothing raises, whoever is well-formed is paid and
shown, and whoever is not is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bson.objectid import ObjectId
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from app.parts import Parts, parts_of
from app.queries import explainer_of
from jobs.check.options import CheckOptions
from reconciler.clock import utc_now
from reconciler.config import load
from reconciler.config.mapping import MappingSettings
from reconciler.domain.breaks import BreakKind
from reconciler.domain.campaign import CampaignDefaults
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.recording import Recorded, RecordingRefusal, RefusedReport
from reconciler.errors import InvariantBroken
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.connection import Connection
from reconciler.mongo.history import History
from reconciler.mongo.indexes import create_missing
from reconciler.mongo.trials import TrialReader
from reconciler.queries.explain import explanation_document
from tests.support.bson_extremes import EXTREMES
from tests.support.ledger_rows import paid_minor
from tests.support.platform import LOCKED_AT, Platform
from tests.support.recording import clicks, impressions, make_recorder
from tests.support.watched import watched

Document = dict[str, Any]

GOOD = 30
REFUSALS = set(RecordingRefusal) - {
    RecordingRefusal.UNAVAILABLE,
    RecordingRefusal.OUTCOME_UNKNOWN,
    RecordingRefusal.BUSY,
}
COLLECTIONS = ("campaigns", "campaignparticipations", "wallets", "gkeys", "transactions")


def fields_of(section: str) -> list[str]:
    """The documents' names of a collection's fields, ``_id`` first."""
    return ["_id", *dict(getattr(MappingSettings(), section)).values()]


class World:
    """A small platform in which each document has one odd value, and some that have none."""

    def __init__(self, extremes: Mapping[str, object]) -> None:
        self.documents: dict[str, list[Document]] = {name: [] for name in COLLECTIONS}
        self.good = [self.member(self.campaign()) for _ in range(GOOD // 2)]
        self.of_odd_campaign: dict[ObjectId, tuple[Any, str, str]] = {}
        self.odd: dict[Any, tuple[str, str]] = {}
        for name, value in extremes.items():
            for field in fields_of("campaigns"):
                self._odd_campaign(field, name, value)
            for field in fields_of("participations"):
                self._odd_member(field, name, value)
            for field in fields_of("wallets"):
                self.member(self.campaign(), wallet={field: value})
            for field in fields_of("gkeys"):
                self.member(self.campaign(), gkey={field: value})
            for field in fields_of("transactions"):
                self._odd_line(field, value)
        self.good += [self.member(self.campaign()) for _ in range(GOOD // 2)]

    def campaign(self, **fields: Any) -> Any:
        found = {
            "_id": ObjectId(),
            "title": "Reference",
            "brandId": ObjectId(),
            "status": "active",
            "paymentType": "cpm",
            "paymentRate": 1650,
            "budget": 3300,
            "remainingBudget": 3300,
        } | fields
        self.documents["campaigns"].append(found)
        return found["_id"]

    def member(
        self, campaign_id: Any, *, wallet: Document | None = None, gkey: Document | None = None, **fields: Any
    ) -> Any:
        streamer = ObjectId()
        found = {
            "_id": ObjectId(),
            "campaignId": campaign_id,
            "streamerId": streamer,
            "status": "active",
            "impressions": 2000,
            "browserSourceToken": str(streamer),
        } | fields
        self.documents["campaignparticipations"].append(found)
        self.documents["wallets"].append(_wallet(streamer) | (wallet or {}))
        self.documents["gkeys"].append(_gkey(streamer, campaign_id) | (gkey or {}))
        return found["_id"]

    def _odd_campaign(self, field: str, name: str, value: Any) -> None:
        campaign_id = self.campaign(**{field: value})
        self.of_odd_campaign[self.member(campaign_id)] = (campaign_id, field, name)

    def _odd_member(self, field: str, name: str, value: Any) -> None:
        found = self.member(self.campaign(), **{field: value})
        if field != "_id":
            self.odd[found] = (field, name)

    def _odd_line(self, field: str, value: Any) -> None:
        own = {"metadata": {"payoutKey": "payout:str:none:1", "participationId": ObjectId()}, "currency": "INR"}
        line = {"userId": str(ObjectId()), "campaignId": ObjectId(), "createdBy": "payout-reconciler", "amount": 5}
        self.documents["transactions"].append(line | own | {field: value})
        inside = {"payoutKey": value, "participationId": value}
        self.documents["transactions"].append(line | own | {"metadata": inside, "_id": ObjectId()})

    def write(self, database: Database[Document]) -> set[str]:
        """Write all of it; answers why the server or the driver refused some."""
        refused: set[str] = set()
        for name in ("wallets", "gkeys", "transactions", "campaigns", "campaignparticipations"):
            refused |= _insert(database[name], self.documents[name])
        return refused


def _wallet(streamer: ObjectId) -> Document:
    amounts = dict.fromkeys(("balance", "withdrawableBalance", "heldBalance", "totalEarnings"), 5.5)
    return {"userId": str(streamer), "walletType": "streamer", "currency": "INR", "isActive": True, **amounts}


def _gkey(streamer: ObjectId, campaign_id: Any) -> Document:
    locked = {"status": "locked", "lockedWith": str(campaign_id)[:200], "lockedAt": LOCKED_AT}
    return {"userId": str(streamer), "category": "drinks", "usageCount": 1, **locked}


def _insert(collection: Collection[Document], documents: list[Document]) -> set[str]:
    refused: set[str] = set()
    for start in range(0, len(documents), 500):
        try:
            collection.insert_many(documents[start : start + 500], ordered=False)
        except BulkWriteError as error:
            refused |= {_why(str(one["errmsg"])) for one in error.details["writeErrors"]}
    return refused


def _why(message: str) -> str:
    for what in ("regex", "array", "undefined"):
        if f"cannot be of type {what}" in message:
            return f"_id of {what}"
    if "may not contain '$'-prefixed" in message:
        return "_id with a dollar"
    return "the same _id" if "dup key: { _id" in message else message


def is_plain_reason(field: str, name: str) -> bool:
    """Whether the odd value is a state that pays nobody and is no defect: a word, a zero, a mark."""
    return (
        (field == "status" and name.startswith("text"))
        or (field == "impressions" and name in ("double minus zero", "decimal zero"))
        or (field in ("earningsForfeited", "finalEarningsTransferred") and name == "true")
    )


def test_nobody_is_stopped_and_everybody_is_paid_or_named(
    mongo_uri: str, mongo_database: Database[Document], postgres_url: str, tmp_path: Path
) -> None:
    overrides = {
        "mongodb.uri": mongo_uri,
        "mongodb.database": mongo_database.name,
        "ledger.url": postgres_url,
        "reports.directory": str(tmp_path),
        "sweep.page_size": 200,
        "full_check.partition_size": 700,
        "api.recording.token_per_s_max": 0,
    }
    world = World(EXTREMES)
    with parts_of(load(None, {}, overrides)) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, parts.settings.mapping)
        refused = world.write(mongo_database)
        recorded = _recorded(parts, world)
        swept = parts.sweep.step("test")
        paid = set(paid_minor(parts.engine))
        report, _ = parts.full_check.step(CheckOptions(trigger="test"))

        # An identity of a pattern or an array, a token twice where the index is theirs: the server takes none of these.
        assert refused <= {"_id of regex", "_id of array", "_id of undefined", "_id with a dollar", "the same _id"}
        assert recorded >= {"recorded", "participation_malformed", "campaign_malformed", "participation_not_active"}
        assert recorded <= {"recorded", *(one.value for one in REFUSALS)}
        assert swept.complete
        assert {str(one) for one in world.good} <= paid
        named = {one.found.participation_id for one in report.sightings}
        malformed = {one.found.campaign_id for one in report.sightings if one.found.kind is BreakKind.MALFORMED}
        assert not {
            (field, name)
            for participation_id, (field, name) in world.odd.items()
            if str(participation_id) not in paid | named and not is_plain_reason(field, name)
        }
        silent = {
            (field, name)
            for participation_id, (campaign_id, field, name) in world.of_odd_campaign.items()
            if not {str(participation_id), str(campaign_id)} & (paid | named | malformed)
        }
        # A status that is no word pays nobody; 10^-9 a thousand buys so many impressions that nobody is there yet.
        assert {one for one in silent if one[0] != "status"} == {("paymentRate", "double smallest rate")}
        assert parts.outbox.counts().pending <= 2  # those that MongoDB itself refuses
        _everything_else_reads_them(parts, world)


def _recorded(parts: Parts, world: World) -> set[str]:
    """What became of one click for each token, a hundred a group."""
    recorder = make_recorder(parts.connection)
    tokens = [one.get("browserSourceToken") for one in world.documents["campaignparticipations"]]
    texts = [one for one in tokens if type(one) is str and one]
    found: set[str] = set()
    for start in range(0, len(texts), 100):
        outcomes = recorder.record([clicks(token) for token in texts[start : start + 100]])
        found |= {getattr(one, "refusal", "recorded") for one in outcomes}
    return found


def _everything_else_reads_them(parts: Parts, world: World) -> None:
    """Explain, the test page, and what recovers and adopts: the rooms that read documents beside the three of above."""
    mapping = parts.settings.mapping
    history = History(parts.connection, mapping, default_currency="INR")
    assert sum(len(page) for page in history.marked_before(utc_now())) > 0
    assert [line for page in history.own_lines() for line in page]
    assert list(history.wallet_versions())
    trials = TrialReader(parts.connection, mapping, CampaignDefaults(currency="INR", fixed_impressions_per_unit=1000))
    for participation_id in [*world.odd, *world.of_odd_campaign][::4]:
        json.dumps(explanation_document(explainer_of(parts).explain(str(participation_id))), default=_no_time)
        shown = trials.look(DocumentId(IdKind.OBJECT_ID, str(participation_id)))
        assert shown is not None
        json.dumps(shown, default=_no_time)
    assert parts.housekeeping.step() is not None


def _no_time(value: object) -> str:
    assert isinstance(value, datetime), value
    return value.isoformat()


def test_the_live_settler_pays_beside_them(mongo_uri: str, mongo_database: Database[Document], sqlite_url: str) -> None:
    world = World(dict(list(EXTREMES.items())[::5]))
    servers = {"mongodb.uri": mongo_uri, "mongodb.database": mongo_database.name, "ledger.url": sqlite_url}
    with watched(servers) as daemon:
        daemon.wait_streaming()
        world.write(mongo_database)
        daemon.wait_paid(*world.good)
        daemon.wait_idle()
        daemon.parts.sweep.step("test")
    assert [end.by_defect for end in daemon.ends] == [False]


@pytest.mark.parametrize("field", ["ledger_id", "sequence"])
def test_what_is_remembered_of_the_ledger_is_read_or_halts_by_name(
    mongo_uri: str, mongo_database: Database[Document], sqlite_url: str, field: str
) -> None:
    servers = {"mongodb.uri": mongo_uri, "mongodb.database": mongo_database.name, "ledger.url": sqlite_url}
    with parts_of(load(None, {}, servers)) as parts:
        upgrade(parts.engine)
        parts.guard.advance(0)
        state = mongo_database["reconciler_state"]
        for value in EXTREMES.values():
            state.update_one({"_id": "ledger"}, [{"$set": {field: {"$literal": value}}}])
            try:
                parts.guard.check()
            except InvariantBroken as broken:
                assert broken.invariant == "ledger_behind"
        parts.guard.take_over()
        parts.guard.check()


def test_a_stored_answer_that_cannot_be_read_is_a_refusal_and_counts_nothing(
    mongo_connection: Connection, mongo_database: Database[Document], platform: Platform
) -> None:
    campaign_id = platform.campaign()
    participation_id = platform.participation(campaign_id, 5, browserSourceToken="t")
    recorder = make_recorder(mongo_connection)
    first = recorder.record([impressions("t", key="k")])
    [stored] = mongo_database["reconciler_recordings"].find()

    for field in ("report", "participationId", "impressions", "clicks", "remaining", "completed", "expiresAt"):
        for value in EXTREMES.values():
            mongo_database["reconciler_recordings"].replace_one({"_id": stored["_id"]}, stored | {field: value})
            [outcome] = recorder.record([impressions("t", key="k")])
            if isinstance(outcome, Recorded):
                assert outcome.replayed
            else:
                assert isinstance(outcome, RefusedReport)
                assert outcome.refusal in (RecordingRefusal.KEY_REUSED, RecordingRefusal.REJECTED)

    assert isinstance(first[0], Recorded)
    assert platform.read("campaignparticipations", participation_id)["impressions"] == 6
