"""The watch on real servers: every kind of write is paid at once, and each loss of the stream is noticed and mended."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from bson.objectid import ObjectId
from pymongo.database import Database

from reconciler.clock import utc_now
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.errors import Outage
from reconciler.ledger.engine import open_engine, writing
from reconciler.ledger.operations.stream_positions import StreamPositions
from reconciler.ports.hints import Key, KeyKind
from reconciler.ports.watch import Position
from tests.support.platform import Platform
from tests.support.watched import Watched, tagged, triggers, watched

Document = dict[str, Any]
Watching = Callable[..., AbstractContextManager[Watched]]


@pytest.fixture
def servers(mongo_uri: str, mongo_database: Database[Document], sqlite_url: str) -> dict[str, object]:
    return {"mongodb.uri": mongo_uri, "mongodb.database": mongo_database.name, "ledger.url": sqlite_url}


@pytest.fixture
def watching(servers: dict[str, object]) -> Watching:
    """``with watching({"completion.scope": "campaign"}) as daemon``; watching when it begins."""

    def start(overrides: dict[str, object] | None = None) -> AbstractContextManager[Watched]:
        return watched(servers, overrides)

    return start


def participations_of(platform: Platform) -> Any:
    return platform.database["campaignparticipations"]


def grow(platform: Platform, participation_id: Any, by: int = 1) -> None:
    assert (
        participations_of(platform).update_one({"_id": participation_id}, {"$inc": {"impressions": by}}).matched_count
    )


def position_of(servers: dict[str, object]) -> Any:
    engine = open_engine(str(servers["ledger.url"]))
    try:
        return StreamPositions(engine, clock=utc_now).load()
    finally:
        engine.dispose()


def test_every_kind_of_write_is_paid_by_the_watch(platform: Platform, watching: Watching) -> None:
    def ready(impressions: Any = 1999, **fields: Any) -> Any:
        return platform.participation(platform.campaign(), impressions, **fields)

    by_inc, by_set, by_replace, by_pipeline = (ready() for _ in range(4))
    by_unset = ready(2000, earningsForfeited=True)
    by_text = ready(1999, _id="a text")
    number = ready(impressions="1999")
    documents = participations_of(platform)
    with watching() as daemon:
        daemon.wait_streaming()
        assert triggers(daemon.parts) == {}
        grow(platform, by_inc)
        documents.update_one({"_id": by_set}, {"$set": {"impressions": 2000.0}})
        documents.replace_one({"_id": by_replace}, documents.find_one({"_id": by_replace}) | {"impressions": 2001})
        documents.update_one({"_id": by_pipeline}, [{"$set": {"impressions": {"$add": ["$impressions", 1]}}}])
        documents.update_one({"_id": by_unset}, {"$unset": {"earningsForfeited": ""}})
        documents.update_one({"_id": by_text}, {"$inc": {"impressions": 1}})
        documents.update_one({"_id": number}, {"$set": {"impressions": "2000"}})
        by_insert = ready(2000)
        daemon.wait_paid(by_inc, by_set, by_replace, by_pipeline, by_unset, by_text, number, by_insert)
        assert daemon.stream["events"] >= 8
        registry = daemon.parts.metrics.registry
        daemon.wait(lambda: registry.get_sample_value("payout_trigger_latency_seconds_count") == 8)
        assert registry.get_sample_value("payout_stream_state", {"state": "streaming"}) == 1
        assert registry.get_sample_value("payout_amount_paid_total", {"currency": "INR"}) == 8 * 330_000


def test_a_changed_campaign_is_a_key_of_its_own(platform: Platform, watching: Watching) -> None:
    raised, lowered, opened = (
        platform.campaign(budget=1000, targetImpressions=2000),
        platform.campaign(targetImpressions=5000),
        platform.campaign(status="paused"),
    )
    held, below, waiting = (platform.participation(one, 2000) for one in (raised, lowered, opened))
    campaigns = platform.database["campaigns"]
    with watching() as daemon:
        daemon.wait_streaming()
        assert triggers(daemon.parts) == {}
        campaigns.update_one({"_id": raised}, {"$set": {"budget": 3300}})
        campaigns.update_one({"_id": lowered}, {"$set": {"targetImpressions": 2000}})
        campaigns.update_one({"_id": opened}, {"$set": {"status": "active"}})
        daemon.wait_paid(held, below, waiting)


def test_recording_an_impression_is_no_event_of_its_campaign(platform: Platform, watching: Watching) -> None:
    campaign_id = platform.campaign()
    last = platform.participation(platform.campaign(), 1999)
    with watching() as daemon:
        daemon.wait_streaming()
        before = daemon.stream["events"]
        campaigns = platform.database["campaigns"]
        for _ in range(20):
            campaigns.update_one({"_id": campaign_id}, {"$inc": {"remainingBudget": -1}})
        grow(platform, last)
        daemon.wait_paid(last)
        assert daemon.parts.live.settler.counts.campaigns <= 1, "its own completion"
        assert daemon.stream["events"] - before <= 4


def test_its_own_effects_come_back_and_cause_nothing(platform: Platform, watching: Watching) -> None:
    count = 30
    campaign_id = platform.campaign(budget=3300 * count, targetImpressions=2000)
    ids = [platform.participation(campaign_id, 1999) for _ in range(count)]
    with watching() as daemon:
        daemon.wait_streaming()
        participations_of(platform).update_many({}, {"$inc": {"impressions": 1}})
        daemon.wait_paid(*ids)
        daemon.wait(lambda: platform.read("campaigns", campaign_id)["status"] == "completed")
        # Each payment is written into its document, and that is an event again.
        daemon.wait(lambda: daemon.stream["events"] >= 2 * count + 1, "our own events")
        daemon.wait_idle()
        daemon.wait_idle()
        counts = daemon.parts.live.settler.counts
        assert counts.paid == count
        assert counts.read == count, "each was read for the change, and none for its own effects"
        assert counts.finished >= count
        # And viewers who go on counting cause no read either.
        participations_of(platform).update_many({}, {"$inc": {"impressions": 5}})
        daemon.wait(lambda: counts.finished >= 2 * count)
        assert counts.read == count
        assert daemon.stream["events"] <= 3 * count + 2


def test_a_burst_on_one_document_is_read_a_few_times_only(platform: Platform, watching: Watching) -> None:
    due = platform.participation(platform.campaign(), 1999)
    busy = platform.participation(platform.campaign(), 1)
    with watching() as daemon:
        daemon.wait_streaming()
        with writing(daemon.parts.engine):
            # Nobody can post now: whoever settles waits, and what comes meanwhile gathers.
            grow(platform, due)
            daemon.wait(lambda: daemon.parts.live.queue.numbers().processing == 1)
            for _ in range(200):
                grow(platform, busy)
            daemon.wait(lambda: daemon.stream["events"] >= 201)
        daemon.wait_paid(due)
        daemon.wait_idle()
        assert daemon.parts.live.settler.counts.read <= 3


def test_a_full_queue_becomes_one_sweep(platform: Platform, watching: Watching) -> None:
    campaign_id = platform.campaign(budget=3300 * 40, targetImpressions=2000)
    ids = [platform.participation(campaign_id, 1999) for _ in range(40)]
    with watching({"watch.queue_max": 5, "watch.batch_max": 1}) as daemon:
        daemon.wait_streaming()
        with writing(daemon.parts.engine):
            participations_of(platform).update_many({}, {"$inc": {"impressions": 1}})
            daemon.wait_for("queue_full")
            daemon.wait(lambda: daemon.stream["events"] >= 40)
        daemon.wait_paid(*ids, trigger=None)
        assert daemon.parts.live.queue.numbers().collapses_count >= 1
        assert "sweep" in triggers(daemon.parts).values()


def test_hints_are_settled_with_the_watch_switched_off(platform: Platform, watching: Watching) -> None:
    paused = platform.campaign(status="paused")
    by_hint, by_campaign = platform.participation(platform.campaign(), 1999), platform.participation(paused, 2000)
    with watching({"watch.enabled": False}) as daemon:
        daemon.wait_for("watch_disabled")
        daemon.wait_swept()
        grow(platform, by_hint)
        platform.database["campaigns"].update_one({"_id": paused}, {"$set": {"status": "active"}})
        daemon.parts.hints.participation(DocumentId.from_tagged(tagged(by_hint)))
        daemon.parts.hints.campaign(DocumentId.from_tagged(tagged(paused)))
        daemon.wait_paid(by_hint, by_campaign)
        assert daemon.stream["state"] == "stopped"


def test_nothing_is_paid_while_paying_is_switched_off_or_halted(platform: Platform, watching: Watching) -> None:
    waiting = platform.participation(platform.campaign(), 1999)
    with watching({"payout.enabled": False}) as daemon:
        daemon.wait_streaming()
        grow(platform, waiting)
        daemon.wait(lambda: daemon.stream["events"] >= 1)
        daemon.wait_idle()
        assert triggers(daemon.parts) == {}
    platform.database["campaignparticipations"].update_one({"_id": waiting}, {"$set": {"impressions": 1999}})
    with watching() as daemon:
        daemon.wait_streaming()
        daemon.parts.decisions.halt("zero_sum", "a test")
        grow(platform, waiting)
        daemon.wait(lambda: daemon.stream["events"] >= 1)
        daemon.wait_idle()
        assert triggers(daemon.parts) == {}
        assert daemon.events("worker_stuck") == []


def test_a_document_that_mongodb_refuses_to_change_stops_nobody(platform: Platform, watching: Watching) -> None:
    """A validator of the platform refuses the effects on one document; the payment and the others stand."""
    poison = platform.participation(platform.campaign(), 1999, poison=True)
    others = [platform.participation(platform.campaign(), 1999) for _ in range(6)]
    refusing = {"$or": [{"poison": {"$ne": True}}, {"status": "active"}]}
    platform.database.command("collMod", "campaignparticipations", validator=refusing)
    with watching() as daemon:
        daemon.wait_streaming()
        participations_of(platform).update_many({}, {"$inc": {"impressions": 1}})
        daemon.wait_paid(poison, *others)
        receipts = {"finalEarningsTransferred": True}
        daemon.wait(
            lambda: participations_of(platform).count_documents(receipts) == len(others), "the others' receipts"
        )
        assert daemon.wait_for("effect_blocked")["payout_key"] == f"payout:{tagged(poison)}:1"
        late = platform.participation(platform.campaign(), 2000)
        daemon.wait_paid(late)


def test_facts_older_than_their_event_are_read_again_and_not_for_ever(platform: Platform, watching: Watching) -> None:
    below = platform.participation(platform.campaign(), 5)
    key = Key(KeyKind.PARTICIPATION, DocumentId(IdKind.OBJECT_ID, str(below)))
    with watching() as daemon:
        daemon.wait_streaming()
        counts = daemon.parts.live.settler.counts
        daemon.parts.live.queue.add(key, after=(int(time.time()) + 600, 1))
        daemon.wait(lambda: counts.read >= 9, "nine looks")
        daemon.wait(lambda: daemon.parts.live.queue.numbers().processing == 0)
        assert counts.stale == 8
        daemon.parts.live.queue.add(key, after=(1, 1))
        daemon.wait(lambda: counts.read >= 10)
        daemon.wait_idle()
        assert counts.stale == 8


def test_catching_up_waits_for_a_moment_that_is_there_and_gives_up_on_one_that_is_not(parts: Any) -> None:
    page = parts.facts.read([DocumentId(IdKind.OBJECT_ID, str(ObjectId()))])
    assert page.as_of is not None, "the driver no longer tells when a snapshot was taken"
    parts.facts.catch_up(page.as_of)
    with pytest.raises(Outage):
        parts.facts.catch_up((int(time.time()) + 600, 1))


class TestScopeCampaign:
    def test_the_sum_of_all_is_noticed_and_the_pool_paid(self, platform: Platform, watching: Watching) -> None:
        campaign_id = platform.campaign()
        ids = [platform.participation(campaign_id, 900) for _ in range(2)]
        with watching({"completion.scope": "campaign"}) as daemon:
            daemon.wait_streaming()
            grow(platform, ids[0], 200)
            daemon.wait_paid(*ids)

    def test_a_campaign_is_looked_at_once_in_an_interval(self, platform: Platform, watching: Watching) -> None:
        campaign_id = platform.campaign()
        ids = [platform.participation(campaign_id, 10) for _ in range(5)]
        with watching({"completion.scope": "campaign", "watch.campaign_interval_ms": 3_600_000}) as daemon:
            daemon.wait_streaming()
            for one in ids * 4:
                grow(platform, one)
            daemon.wait(lambda: daemon.stream["events"] >= 20)
            daemon.wait_idle()
            assert daemon.parts.live.settler.counts.campaigns == 1
            assert daemon.parts.live.queue.numbers().delayed == 1


class TestPosition:
    def test_it_is_kept_while_idle_and_gone_on_from(
        self, platform: Platform, watching: Watching, servers: dict[str, object]
    ) -> None:
        with watching() as daemon:
            daemon.wait_streaming()
            daemon.wait(lambda: daemon.stream["token_kept_at"] is not None)
            first = daemon.stream["token_kept_at"]
            daemon.wait(lambda: daemon.stream["token_kept_at"] > first, "a second one, though nothing happened")
        kept = position_of(servers)
        assert kept.position is not None
        assert kept.position.reached_at is not None
        missed = platform.participation(platform.campaign(), 2000)
        with watching() as daemon:
            daemon.wait_paid(missed, trigger=None)
            daemon.wait(lambda: daemon.stream["events"] >= 1, "the change made while nobody watched")
            assert daemon.stream["positions_lost"] == 0

    def test_it_is_not_kept_before_what_was_told_is_settled(
        self, platform: Platform, watching: Watching, servers: dict[str, object]
    ) -> None:
        due = platform.participation(platform.campaign(), 1999)
        with watching() as daemon:
            daemon.wait_streaming()
            daemon.wait(lambda: daemon.stream["token_kept_at"] is not None)
            queue = daemon.parts.live.queue
            kept_before = position_of(servers)
            queue.call(on_work=lambda: None, on_full=lambda: None)
            grow(platform, due)
            daemon.wait(lambda: queue.oldest_unsettled() is not None)
            reached = daemon.parts.facts.read([]).as_of
            assert reached is not None
            heard_at = daemon.stream["last_heartbeat_at"]
            daemon.wait(lambda: (daemon.stream["last_heartbeat_at"] - heard_at).total_seconds() > 1)
            kept_after = position_of(servers).position.reached_at
            assert (kept_after - kept_before.position.reached_at).total_seconds() <= 1

    def test_of_another_pipeline_or_cluster_is_dropped(
        self, platform: Platform, watching: Watching, servers: dict[str, object]
    ) -> None:
        with watching() as daemon:
            daemon.wait_streaming()
            daemon.wait(lambda: daemon.stream["token_kept_at"] is not None)
        # The same token, of a stream with other fields.
        with watching({"mapping.participations.clicks": "taps"}) as daemon:
            daemon.wait_for("stream_position_lost", reason="other_stream")
            daemon.wait_streaming()
            assert daemon.parts.metrics.registry.get_sample_value("payout_stream_history_lost_total") == 1
            due = platform.participation(platform.campaign(), 2000)
            daemon.wait_paid(due)

    @pytest.mark.parametrize("token", ['{"_data": "82zz"}', '{"_data": "8263"}', '{"x": 1}'])
    def test_that_the_server_cannot_read_is_dropped(
        self, platform: Platform, watching: Watching, servers: dict[str, object], token: str
    ) -> None:
        with watching() as daemon:
            daemon.wait(lambda: daemon.stream["token_kept_at"] is not None)
        kept = position_of(servers)
        engine = open_engine(str(servers["ledger.url"]))
        bad = Position(token=token, reached_at=None)
        assert StreamPositions(engine, clock=utc_now).save(bad, kept.fingerprint, kept.generation)
        engine.dispose()
        with watching() as daemon:
            assert daemon.wait_for("stream_position_lost")["reason"] == "invalid_token"
            daemon.wait_streaming()
            daemon.wait_paid(platform.participation(platform.campaign(), 2000))
            assert len(daemon.events("stream_position_lost")) == 1

    def test_a_person_resets_it_under_a_running_daemon(
        self, platform: Platform, watching: Watching, servers: dict[str, object]
    ) -> None:
        with watching() as daemon:
            daemon.wait_streaming()
            daemon.wait(lambda: daemon.stream["token_kept_at"] is not None)
            StreamPositions(daemon.parts.engine, clock=utc_now).drop("reset")
            daemon.wait(lambda: daemon.stream["reopens"] == 1)
            daemon.wait_streaming()
            registry = daemon.parts.metrics.registry
            assert registry.get_sample_value("payout_stream_reopens_total", {"reason": "reset"}) == 1
            daemon.wait_paid(platform.participation(platform.campaign(), 2000))


class TestCollectionGone:
    def test_dropped(self, platform: Platform, watching: Watching) -> None:
        platform.participation(platform.campaign(), 5)
        with watching() as daemon:
            daemon.wait_streaming()
            platform.database.drop_collection("campaignparticipations")
            assert daemon.wait_for("stream_position_lost")["reason"] == "drop"
            daemon.wait(lambda: daemon.stream["reopens"] >= 1)
            daemon.wait_streaming()
            daemon.wait_paid(platform.participation(platform.campaign(), 2000), trigger=None)

    def test_renamed_away_and_another_one_into_its_place(self, platform: Platform, watching: Watching) -> None:
        """The one that comes has somebody due in it whom no event names: only the sweep after it finds them."""
        due = platform.participation(platform.campaign(), 2000)
        platform.database["campaignparticipations"].rename("copy")
        platform.participation(platform.campaign(), 5)
        with watching() as daemon:
            daemon.wait_streaming()
            platform.database["copy"].rename("campaignparticipations", dropTarget=True)
            daemon.wait_for("stream_position_lost")
            daemon.wait_paid(due, trigger="sweep")

    def test_the_whole_database_dropped(self, platform: Platform, watching: Watching) -> None:
        platform.participation(platform.campaign(), 5)
        with watching() as daemon:
            daemon.wait_streaming()
            platform.database.client.drop_database(platform.database.name)
            daemon.wait_for("stream_position_lost")
            daemon.wait(lambda: daemon.stream["reopens"] >= 1)
            daemon.wait_streaming()
            daemon.wait_paid(platform.participation(platform.campaign(), 2000), trigger=None)


def test_a_sweep_in_progress_does_not_keep_a_live_one_waiting(platform: Platform, watching: Watching) -> None:
    count, page = 80, 5
    campaign_id = platform.campaign(budget=3300 * count, targetImpressions=2000)
    for _ in range(count):
        platform.participation(campaign_id, 2000)
    live = platform.participation(platform.campaign(), 1999)
    with watching({"watch.enabled": False, "sweep.page_size": page}) as daemon:
        daemon.wait(lambda: len(triggers(daemon.parts)) >= 2 * page, "the first pages")
        grow(platform, live)
        before = len(triggers(daemon.parts))
        daemon.parts.hints.participation(DocumentId.from_tagged(tagged(live)))
        daemon.wait_paid(live)
        order = list(triggers(daemon.parts))
        daemon.wait(lambda: len(triggers(daemon.parts)) == count + 1)
        assert order.index(tagged(live)) - before <= 3 * page, "one batch each of posting, telling and reading"
