"""A failover in the middle of recording: what was acknowledged stays, and a retry with its key counts once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from reconciler.config.mapping import MappingSettings
from reconciler.devstack.mongod import MongodOptions
from reconciler.domain.recording import Outcome, Recorded, RecordingRefusal, RefusedReport, ViewerReport
from reconciler.mongo.connection import connect
from reconciler.mongo.indexes import create_missing
from reconciler.mongo.recording import GroupRecorder
from tests.support.platform import Platform
from tests.support.recording import alone, impressions, make_recorder
from tests.support.servers import ReplicaSet

TOKENS = [f"failover-token-{number}" for number in range(4)]
AGAIN = (RecordingRefusal.UNAVAILABLE, RecordingRefusal.OUTCOME_UNKNOWN, RecordingRefusal.BUSY)
"""Refusals after which a client comes again."""
TRIES_MAX = 30


@pytest.fixture(scope="module")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with ReplicaSet(tmp_path_factory.mktemp("recording"), MongodOptions(nodes=3)) as replica_set:
        yield replica_set


def _until_answered(recorder: GroupRecorder, reports: list[ViewerReport]) -> list[Recorded]:
    """As a client does: what was not acknowledged is sent again under its key."""
    answers: dict[str | None, Outcome] = {}
    waiting = reports
    for _ in range(TRIES_MAX):
        answers |= {report.key: outcome for report, outcome in zip(waiting, recorder.record(waiting), strict=True)}
        waiting = [
            report
            for report in waiting
            if isinstance(answer := answers[report.key], RefusedReport) and answer.refusal in AGAIN
        ]
        if not waiting:
            break
    found = [answers[report.key] for report in reports]
    assert all(isinstance(one, Recorded) for one in found), found
    return [one for one in found if isinstance(one, Recorded)]


@pytest.mark.parametrize("how", ["step down", "kill"])
def test_no_acknowledged_impression_is_lost(three_nodes: ReplicaSet, how: str) -> None:
    database = f"failover_{how.replace(' ', '_')}"
    connection = connect(three_nodes.uri, database, wait_max_s=20)
    create_missing(connection, MappingSettings())
    with MongoClient[Any](three_nodes.uri, tz_aware=True) as client:
        platform = Platform(client[database])
        campaign_id = platform.campaign(budget=3_300_000, remainingBudget=3_300_000)
        fields = {"impressions": 0, "clicks": 0, "estimatedEarnings": 0.0}
        members = [platform.participation(campaign_id, **fields, browserSourceToken=token) for token in TOKENS]
        # A deadline shorter than an election, so that clients do have to come again.
        recorder = make_recorder(connection, api__recording__deadline_s=0.5)
        fallen = three_nodes.primary_index()
        began = threading.Event()

        def fail_over() -> None:
            assert began.wait(60)
            if how == "kill":
                three_nodes.kill(fallen)
            else:
                three_nodes.step_down(seconds=5)

        failing = threading.Thread(target=fail_over)
        failing.start()
        acknowledged: list[Recorded] = []
        group = 0
        while failing.is_alive() or group < 120:
            reports = [impressions(token, 1, f"{how}-{group}-{token}") for token in TOKENS]
            acknowledged += _until_answered(recorder, reports)
            group += 1
            if group == 40:
                began.set()
        failing.join(60)
        three_nodes.wait_for_primary()
        again = alone(recorder, impressions(TOKENS[0], 1, f"{how}-3-{TOKENS[0]}"))
        counted = [platform.read("campaignparticipations", member)["impressions"] for member in members]
        left = platform.read("campaigns", campaign_id)["remainingBudget"]
    connection.close()
    if how == "kill":
        three_nodes.restart(fallen)

    assert counted == [group] * len(TOKENS)
    assert len(acknowledged) == group * len(TOKENS)
    assert round(left * 100) == 330_000_000 - 165 * group * len(TOKENS)
    assert isinstance(again, Recorded)
    assert again.replayed
    assert again.impressions == 4
