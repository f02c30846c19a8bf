"""A projector that is held up between reading its tasks and writing: what it brings late takes nothing back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pytest
from bson.objectid import ObjectId

from app.parts import Parts
from reconciler.domain.effects import ProjectionResult, ProjectionTask, WalletPosition
from reconciler.domain.ids import DocumentId
from reconciler.errors import Outage
from tests.support.invariants import opening, violations
from tests.support.platform import Platform


class HeldUp:
    """A projection that gets its tasks and goes no further."""

    def __init__(self) -> None:
        self.tasks: list[ProjectionTask] = []

    def apply(self, tasks: Sequence[ProjectionTask]) -> ProjectionResult:
        self.tasks += tasks
        raise Outage("mongodb", "held up")

    def show_positions(self, positions: Sequence[WalletPosition]) -> ProjectionResult:
        raise NotImplementedError

    def negative_wallets(self, streamer_ids: Iterable[str]) -> list[str]:
        raise NotImplementedError

    def find_stale(self, tasks: Sequence[ProjectionTask]) -> Mapping[int, str]:
        raise NotImplementedError

    def complete_campaigns(self, totals: Mapping[DocumentId, tuple[int, str]]) -> list[DocumentId]:
        raise NotImplementedError


def test_what_comes_late_takes_nothing_back(platform: Platform, parts: Parts) -> None:
    """The streamer is paid for a second campaign meanwhile, so the tasks that come late know of half their money."""
    streamer_id = ObjectId()
    platform.participation(platform.campaign(), 2000, streamerId=streamer_id)
    later = platform.participation(platform.campaign(), 1999, streamerId=streamer_id)
    before = opening(parts.engine, platform.database)
    held_up = HeldUp()
    with pytest.raises(Outage):
        replace(parts.sweep, projector=replace(parts.projector, projection=held_up)).step("test")
    platform.database["campaignparticipations"].update_one({"_id": later}, {"$inc": {"impressions": 1}})
    parts.sweep.step("test")
    assert violations(parts.engine, platform.database, before) == []

    for _ in range(2):
        parts.outbox.settle(parts.projection.apply(held_up.tasks))
        assert violations(parts.engine, platform.database, before) == []

    assert [task.position.version for task in held_up.tasks] == [1]
    wallet = platform.wallet_of(later)
    assert (wallet["balance"], wallet["ledger"]["INR"]["version"]) == (150.25 + 2 * 3300, 2)
