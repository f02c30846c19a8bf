"""Recording against a server that falls silent at one command: what was not committed is told to nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from reconciler.config.mapping import MappingSettings
from reconciler.devstack.mongod import MongodOptions
from reconciler.domain.recording import Recorded, RecordingRefusal, RefusedReport
from reconciler.mongo.connection import Connection, connect
from reconciler.mongo.indexes import create_missing
from tests.support.platform import Platform
from tests.support.recording import alone, impressions, make_recorder
from tests.support.servers import ReplicaSet

# One each: what a test leaves uncommitted keeps its documents for a minute.
TOKEN, LATE = "0123456789abcdef01234567", "76543210fedcba9876543210"
DEADLINE_S = 1.0


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    options = MongodOptions(parameters=("enableTestCommands=1",))
    with ReplicaSet(tmp_path_factory.mktemp("cut_off"), options) as replica_set:
        opened = connect(replica_set.uri, "cut_off", wait_max_s=20)
        create_missing(opened, MappingSettings())
        yield opened
        opened.close()


@pytest.fixture
def platform(connection: Connection) -> Platform:
    return Platform(connection.database)


@contextmanager
def _failing(connection: Connection, **how: Any) -> Iterator[None]:
    connection.client.admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": how})
    try:
        yield
    finally:
        connection.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def test_a_key_given_twice_in_a_group_of_unknown_outcome_is_unknown_twice(
    platform: Platform, connection: Connection
) -> None:
    participation_id = platform.participation(platform.campaign(), impressions=0, browserSourceToken=TOKEN)
    recorder = make_recorder(connection, api__recording__deadline_s=DEADLINE_S)

    with _failing(connection, failCommands=["commitTransaction"], closeConnection=True):
        outcomes = recorder.record([impressions(TOKEN, 1, "the-key"), impressions(TOKEN, 1, "the-key")])

    # Nothing was committed, so nobody may hear that it was.
    assert platform.read("campaignparticipations", participation_id)["impressions"] == 0
    assert outcomes == [RefusedReport(refusal=RecordingRefusal.OUTCOME_UNKNOWN)] * 2


def test_a_report_that_took_too_long_keeps_no_document_from_the_next_one(
    platform: Platform, connection: Connection
) -> None:
    platform.participation(platform.campaign(), impressions=0, browserSourceToken=LATE)
    recorder = make_recorder(connection, api__recording__deadline_s=DEADLINE_S)

    # The participation is written when the campaign's turn comes, so the transaction holds it.
    with _failing(
        connection,
        failCommands=["update"],
        namespace=f"{platform.database.name}.campaigns",
        blockConnection=True,
        blockTimeMS=int(DEADLINE_S * 1_500),
    ):
        late = alone(recorder, impressions(LATE))
    again = alone(recorder, impressions(LATE))

    assert late == RefusedReport(refusal=RecordingRefusal.UNAVAILABLE)
    assert isinstance(again, Recorded)
    assert again.impressions == 1
