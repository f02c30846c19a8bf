"""What is remembered of a break: since when, how often, by whom it was called known, and when that lapses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.break_identity import fingerprint
from reconciler.domain.break_memory import (
    ACKNOWLEDGE,
    RESOLVE,
    BreakDecision,
    BreakRecord,
    CheckMark,
    ClearedBy,
    Remembered,
    note_of,
    remember,
    status_of,
)
from reconciler.domain.breaks import Break, BreakKind, BreakStatus

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, 3, 30, tzinfo=UTC)
HELD = Break(
    kind=BreakKind.HELD,
    reason="over_budget",
    participation_id="p1",
    campaign_id="c1",
    currency="INR",
    expected_minor=330_000,
    actual_minor=0,
)
STALE = Break(kind=BreakKind.PROJECTION_STALE, participation_id="p2", campaign_id="c2", payout_key="payout:str:p2:1")
OTHER = Break(kind=BreakKind.MALFORMED, reason="participation", participation_id="p3", campaign_id="c1")
IDENTITY = HELD.break_id


class Diary:
    """Checks one after the other, a day apart, with what is remembered between them."""

    def __init__(self) -> None:
        self.records: dict[str, BreakRecord] = {}
        self.decisions: dict[str, BreakDecision] = {}
        self.days = 0

    def check(self, *found: Break, is_whole: bool = True, began_days_ago: int = 0) -> Remembered:
        self.days += 1
        at = START + (self.days - began_days_ago) * DAY
        memory = self.look(found, CheckMark(report_id=f"r{self.days}", at=at, is_whole=is_whole))
        self.records |= {one.break_id: one for one in memory.changed}
        return memory

    def look(self, found: Sequence[Break], mark: CheckMark) -> Remembered:
        return remember(found, self.records, self.decisions, mark)

    def say(self, kind: str, identity: str = IDENTITY) -> None:
        record, at = self.records[identity], START + self.days * DAY + DAY / 2
        self.decisions[identity] = BreakDecision(
            kind=kind,
            by="asha",
            reason="known",
            at=at,
            appearance=record.appearances_count,
            fingerprint=record.fingerprint,
        )
        if kind == RESOLVE:
            self.records[identity] = replace(record, cleared_at=at, cleared_by=ClearedBy.PERSON.value)

    def status(self, identity: str = IDENTITY) -> BreakStatus:
        return status_of(self.records[identity], self.decisions.get(identity))

    def note(self, identity: str = IDENTITY) -> str:
        return note_of(self.records[identity], self.decisions.get(identity))


def counts(new: int, carried: int, cleared: int) -> Mapping[str, int]:
    return {"new": new, "carried": carried, "cleared": cleared}


def test_new_then_carried_then_cleared_then_back() -> None:
    diary = Diary()

    assert diary.check(HELD, OTHER).carried == counts(2, 0, 0)
    assert diary.check(HELD).carried == counts(0, 1, 1)
    assert diary.records[IDENTITY].first_seen == START + DAY
    assert diary.check().carried == counts(0, 0, 1)
    assert diary.status() is BreakStatus.CLEARED
    assert (diary.records[IDENTITY].cleared_at, diary.records[IDENTITY].cleared_by) == (START + 3 * DAY, "check")
    assert diary.check().carried == counts(0, 0, 0)
    back = diary.check(HELD)

    assert back.carried == counts(1, 0, 0)
    assert back.tracked[IDENTITY].first_seen == START + 5 * DAY
    record = diary.records[IDENTITY]
    assert (record.known_since, record.appearances_count, record.last_report) == (START + DAY, 2, "r5")
    assert diary.status() is BreakStatus.OPEN


def test_a_check_of_one_campaign_neither_clears_nor_counts_for_the_next_whole_one() -> None:
    diary = Diary()
    diary.check(HELD)

    of_another = diary.check(STALE, is_whole=False)

    assert of_another.carried == counts(1, 0, 0)
    assert diary.status() is BreakStatus.OPEN
    assert diary.check(HELD, STALE).carried == counts(1, 1, 0), "to the last whole check it is new"
    assert diary.records[STALE.break_id].first_seen == START + 2 * DAY, "but it was seen before"
    assert diary.check(STALE, is_whole=False).carried == counts(0, 1, 0)
    assert diary.check().carried == counts(0, 0, 2)


def test_a_repaired_break_is_closed_by_the_check_that_repaired_it() -> None:
    diary = Diary()
    repaired = replace(STALE, repaired=True)
    diary.check(STALE)

    assert diary.check(repaired).carried == counts(0, 1, 0)
    assert diary.records[STALE.break_id].cleared_by == "repair"
    assert diary.check().carried == counts(0, 0, 0), "it was not left open"
    assert diary.check(repaired).carried == counts(1, 0, 0)
    assert diary.records[STALE.break_id].appearances_count == 2


def test_one_of_two_with_the_same_identity_repaired_leaves_it_open() -> None:
    diary = Diary()
    diary.check(STALE, replace(STALE, repaired=True))
    assert diary.status(STALE.break_id) is BreakStatus.OPEN
    assert diary.records[STALE.break_id].found_count == 2


def test_an_acknowledgement_holds_while_nothing_changes() -> None:
    diary = Diary()
    diary.check(HELD)
    diary.say(ACKNOWLEDGE)

    tracked = diary.check(replace(HELD, detail="said in other words")).tracked[IDENTITY]

    assert (tracked.status, tracked.note) == (BreakStatus.ACKNOWLEDGED, "")
    assert tracked.decision is not None
    assert tracked.decision.by == "asha"
    assert tracked.first_seen == START + DAY


def test_an_acknowledgement_covers_the_amounts_seen() -> None:
    for change in ({"expected_minor": 330_001}, {"actual_minor": 1}, {"currency": "JPY"}):
        diary = Diary()
        diary.check(HELD)
        diary.say(ACKNOWLEDGE)

        tracked = diary.check(replace(HELD, **change)).tracked[IDENTITY]

        assert tracked.status is BreakStatus.OPEN, change
        assert tracked.decision is None
        assert tracked.note == (
            "the acknowledgement of asha of 2026-03-02 has lapsed: its severity or amounts have changed"
        )
        assert diary.check(HELD).tracked[IDENTITY].status is BreakStatus.ACKNOWLEDGED, "as it was seen, it is known"


def test_an_acknowledgement_lapses_when_the_break_goes_and_comes_back() -> None:
    diary = Diary()
    diary.check(HELD)
    diary.say(ACKNOWLEDGE)
    diary.check()

    tracked = diary.check(HELD).tracked[IDENTITY]

    assert tracked.status is BreakStatus.OPEN
    assert tracked.note == "the acknowledgement of asha of 2026-03-02 has lapsed: it was gone and came back"


def test_resolved_and_gone_stays_closed() -> None:
    diary = Diary()
    diary.check(HELD)
    diary.say(RESOLVE)
    resolved_at = diary.records[IDENTITY].cleared_at
    assert diary.status() is BreakStatus.CLEARED

    assert diary.check().carried == counts(0, 0, 1), "the last whole check had left it"
    assert (diary.records[IDENTITY].cleared_at, diary.records[IDENTITY].cleared_by) == (resolved_at, "check")
    assert diary.check().carried == counts(0, 0, 0)


def test_resolved_and_found_again_is_open_and_says_so() -> None:
    diary = Diary()
    diary.check(HELD)
    diary.say(RESOLVE)

    memory = diary.check(HELD)

    assert memory.carried == counts(0, 1, 0)
    assert diary.status() is BreakStatus.OPEN
    assert memory.tracked[IDENTITY].note == "asha resolved it on 2026-03-02, and a later check found it again"
    assert diary.note() == memory.tracked[IDENTITY].note
    assert memory.tracked[IDENTITY].first_seen == START + DAY, "it was never gone"
    diary.say(ACKNOWLEDGE)
    assert diary.check(HELD).tracked[IDENTITY].status is BreakStatus.ACKNOWLEDGED


def test_a_check_that_began_before_does_not_undo_what_came_later() -> None:
    diary = Diary()
    diary.check(HELD)
    diary.say(RESOLVE)
    late = diary.check(HELD, began_days_ago=1)
    assert diary.status() is BreakStatus.CLEARED, "it began before the person said so"
    assert late.tracked[IDENTITY].status is BreakStatus.OPEN, "but its own report has what it found"

    diary = Diary()
    diary.check(OTHER)
    diary.check(HELD, OTHER)
    assert diary.check(OTHER, began_days_ago=2).carried == counts(0, 1, 0), "it began before the break came up"
    assert diary.status() is BreakStatus.OPEN


def test_identity_leaves_out_what_moves_and_keeps_what_it_is_about() -> None:
    same = replace(HELD, expected_minor=1, actual_minor=2, detail="x", streamer_id="s", repaired=True)
    assert same.break_id == HELD.break_id
    others = [
        replace(HELD, kind=BreakKind.STRANDED),
        replace(HELD, reason="over_approval_threshold"),
        replace(HELD, participation_id="p9"),
        replace(HELD, campaign_id="c9"),
        replace(HELD, payout_key="payout:str:p1:1"),
    ]
    assert len({one.break_id for one in [HELD, *others]}) == 6
    assert HELD.break_id == "ed1a6a39fb532983", "people have written it down"
    assert fingerprint([HELD, OTHER]) == fingerprint([OTHER, HELD])
    assert fingerprint([HELD]) != fingerprint([HELD, HELD])


PLENTY = [replace(HELD, participation_id=f"p{number}") for number in range(5)]


@given(days=st.lists(st.tuples(st.sets(st.integers(0, 4)), st.booleans()), max_size=12))
def test_what_is_open_after_a_check_adds_up(days: list[tuple[set[int], bool]]) -> None:
    diary, left_open = Diary(), 0
    for numbers, is_whole in days:
        memory = diary.check(*(PLENTY[number] for number in numbers), is_whole=is_whole)
        assert memory.carried["new"] + memory.carried["carried"] == len(numbers)
        if is_whole:
            left_open += memory.carried["new"] - memory.carried["cleared"]
            assert left_open == len(numbers) == sum(one.counts_as_before for one in diary.records.values())
        else:
            assert memory.carried["cleared"] == 0
