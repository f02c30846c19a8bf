"""What the overview says of what was found: a table in order of precedence, and what counts as stuck."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.watch.state import WatchState
from reconciler.api.pages.summary import Seen, summary_of
from reconciler.api.pages.words import BREAK_KINDS, HOLD_REASONS, STREAM_STATES
from reconciler.domain.batch import HELD
from reconciler.domain.breaks import BreakKind
from reconciler.ledger.operations.lease import LeaseState
from reconciler.ledger.operations.overview import LedgerOverview
from reconciler.ledger.reads.halts import HaltState
from reconciler.ports.outbox import OutboxCounts

NOW = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
INTERRUPTED = {"state": "backing_off", "why": "no primary"}
SWEPT: dict[str, dict[str, Any]] = {"sweep": {"last_finished_at": NOW}}
STREAMING: dict[str, dict[str, Any]] = SWEPT | {"stream": {"state": "streaming", "since": NOW, "why": ""}}
HALT = HaltState(decision_key="halt:1", since=NOW - timedelta(hours=1), cause="chain_broken: batch 7")
OVERVIEW = LedgerOverview(
    ledger_id="ledger",
    sequence=0,
    chain_head="",
    lease=LeaseState(holder="other:1", epoch=3, expires_at=LATER, expires_in_s=1.0),
    halt=None,
    last_sweep=None,
    last_check=None,
    running_check=None,
    open_breaks={},
    acknowledged_breaks_count=0,
    holds={},
    outbox=OutboxCounts(pending=0, blocked=0),
)


def overview(**changes: Any) -> LedgerOverview:
    return replace(OVERVIEW, **changes)


WELL = Seen(board=STREAMING, is_leader=True, is_paying_on=True, overview=overview())
FAILED: dict[str, dict[str, Any]] = {
    "sweep": {"last_finished_at": NOW, "last_failed_at": LATER, "last_error": "Outage"}
}

CASES = [
    (replace(WELL, overview=None, away="Its database does not answer."), "Ledger away", "critical"),
    (replace(WELL, overview=overview(halt=HALT)), "Halted", "critical"),
    (replace(WELL, overview=overview(halt=HALT), is_leader=False, is_paying_on=False), "Halted", "critical"),
    (replace(WELL, is_leader=False), "Standing by", "calm"),
    (replace(WELL, is_leader=False, is_paying_on=False), "Standing by", "calm"),
    (replace(WELL, is_leader=False, overview=overview(lease=None)), "Starting", "warn"),
    (replace(WELL, is_paying_on=False), "Not paying", "warn"),
    (replace(WELL, board=STREAMING | FAILED), "Sweep failed", "bad"),
    (replace(WELL, board={}), "Starting", "calm"),
    (replace(WELL, board=SWEPT | {"stream": INTERRUPTED | {"since": LATER}}), "Interrupted", "warn"),
    (replace(WELL, board=SWEPT | {"stream": INTERRUPTED | {"since": NOW}}), "Paying, slower", "warn"),
    (replace(WELL, board=SWEPT | {"stream": {"state": "degraded_polling"}}), "Paying, slower", "warn"),
    (replace(WELL, board=SWEPT), "Paying", "good"),
    (WELL, "Paying", "good"),
]


@pytest.mark.parametrize(("seen", "word", "tone"), CASES)
def test_the_gravest_is_said_first(seen: Seen, word: str, tone: str) -> None:
    headline = summary_of(seen).headline
    assert (headline.word, headline.tone) == (word, tone)


def test_it_is_not_called_paying_when_nothing_is_paid() -> None:
    for seen, word, _ in CASES:
        assert summary_of(seen).headline.sentence.startswith("Paying") == word.startswith("Paying")


def test_a_sweep_that_failed_before_the_last_good_one_is_forgotten() -> None:
    sweep = {"sweep": FAILED["sweep"] | {"last_finished_at": NOW + timedelta(seconds=2)}}
    assert summary_of(replace(WELL, board=STREAMING | sweep)).headline.word == "Paying"


def test_what_is_stuck_is_named_once_the_gravest_first_with_a_way_to_it() -> None:
    found = overview(
        open_breaks={"malformed": 3, "campaign_missing": 1, "held": 2, "effect_blocked": 6},
        holds={"over_budget": 2},
        outbox=OutboxCounts(pending=4, blocked=6),
    )
    endpoints = [{"endpoint": "crm", "dead": 1}, {"endpoint": "idle", "dead": 0}]
    stuck = summary_of(replace(WELL, overview=found, endpoints=endpoints)).stuck
    assert [(one.tone, one.what, one.link) for one in stuck] == [
        ("bad", "6 payouts MongoDB could not be told", "/payouts?status=pending"),
        ("bad", "1 break: campaign missing", "/breaks?kind=campaign_missing"),
        ("warn", "1 event that crm never took", "/webhooks?status=dead"),
        ("warn", "2 payouts on hold: over budget", "/holds"),
        ("warn", "3 breaks: malformed", "/breaks?kind=malformed"),
    ]
    assert all(one.why for one in stuck)


def test_a_kind_that_is_not_known_here_is_shown_all_the_same() -> None:
    [one] = summary_of(replace(WELL, overview=overview(open_breaks={"brand_new": 1}))).stuck
    assert one.what == "1 break: brand new"


def test_every_code_has_its_words() -> None:
    assert {one.value for one in BreakKind} <= BREAK_KINDS.keys()
    assert HOLD_REASONS.keys() == {one.value for one in HELD}
    assert STREAM_STATES.keys() == {one.value for one in WatchState}
