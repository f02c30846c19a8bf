"""Break records on both databases: what it keeps, who may say what about it, and two who say it at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy.engine import Engine

from reconciler.domain.break_memory import CheckMark, Remembered
from reconciler.domain.breaks import Break, BreakKind, BreakStatus
from reconciler.errors import UsageError
from reconciler.ledger import schema
from reconciler.ledger.engine import open_engine
from reconciler.ledger.journal.decisions import Signature
from reconciler.ledger.operations.break_decisions import BreakDecisions
from reconciler.ledger.operations.break_records import BreakFilter, BreakLine, SqlBreakRecords
from reconciler.ledger.proof.verify import SqlVerifier
from tests.support.ledger import NOW, SetClock, chain_is_sound, everything, journal_of, rows_of

ASHA = Signature(by="asha", reason="the brand pays tomorrow")
BIREN = Signature(by="biren", reason="I saw it too")
HELD = Break(
    kind=BreakKind.HELD,
    reason="over_budget",
    participation_id="p1",
    campaign_id="c1",
    streamer_id="s1",
    currency="INR",
    expected_minor=330_000,
    actual_minor=0,
    detail="2000 of 2000 impressions",
)
MALFORMED = Break(kind=BreakKind.MALFORMED, reason="participation", participation_id="p2", campaign_id="c2")
BROKEN = Break(kind=BreakKind.CHAIN_BROKEN, detail="batch 3")


class BreakChecks:
    """Checks a day apart over one ledger, and what people decide about breaks."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = SetClock()
        self.records = SqlBreakRecords(engine)
        self.checks = 0

    def check(self, *found: Break, is_whole: bool = True) -> Remembered:
        self.checks += 1
        at = self.clock.advance(timedelta(days=1))
        mark = CheckMark(report_id=f"r{self.checks}", at=at, is_whole=is_whole)
        memory = self.records.compare(found, mark)
        self.records.record(found, mark)
        return memory

    def decide(self) -> BreakDecisions:
        self.clock.advance(timedelta(seconds=1))
        return BreakDecisions(journal_of(self.engine, self.clock), run_id="by-hand")

    def line(self, found: Break = HELD) -> BreakLine:
        [line] = [one for one in self.records.lines(BreakFilter()) if one.record.break_id == found.break_id]
        return line

    def decisions(self) -> list[dict[str, Any]]:
        return rows_of(self.engine, schema.decisions)


@pytest.fixture
def checks(engine: Engine) -> BreakChecks:
    return BreakChecks(engine)


def test_what_a_check_found_is_read_back(checks: BreakChecks) -> None:
    memory = checks.check(HELD, MALFORMED)

    assert memory.carried == {"new": 2, "carried": 0, "cleared": 0}
    line = checks.line()
    record = line.record
    assert (record.kind, record.reason, record.severity) == ("held", "over_budget", "warning")
    assert (record.participation_id, record.campaign_id, record.streamer_id) == ("p1", "c1", "s1")
    assert (record.expected_minor, record.actual_minor, record.currency) == (330_000, 0, "INR")
    assert (record.first_seen, record.last_seen, record.last_report) == (checks.clock.now, checks.clock.now, "r1")
    assert (line.status, line.decision, line.note) == (BreakStatus.OPEN, None, "")


def test_comparing_writes_nothing(checks: BreakChecks) -> None:
    checks.check(HELD)
    before = everything(checks.engine)
    mark = CheckMark(report_id="dry", at=checks.clock.advance(timedelta(days=1)), is_whole=True)

    memory = checks.records.compare([MALFORMED], mark)

    assert memory.carried == {"new": 1, "carried": 0, "cleared": 1}
    assert everything(checks.engine) == before


def test_lines_by_status_kind_and_campaign(checks: BreakChecks) -> None:
    gone = replace(HELD, participation_id="gone")
    checks.check(gone, MALFORMED)
    checks.check(HELD, MALFORMED, BROKEN)
    checks.decide().acknowledge([MALFORMED.break_id], ASHA)

    def found(**chosen: Any) -> list[str]:
        return [one.record.break_id for one in checks.records.lines(BreakFilter(**chosen))]

    assert found()[0] == BROKEN.break_id
    assert (set(found()[1:3]), found()[3]) == ({gone.break_id, MALFORMED.break_id}, HELD.break_id), "then the oldest"
    assert found(status=BreakStatus.OPEN) == [BROKEN.break_id, HELD.break_id], "the worst first"
    assert found(status=BreakStatus.ACKNOWLEDGED) == [MALFORMED.break_id]
    assert found(status=BreakStatus.CLEARED) == [gone.break_id]
    assert found(kind="held", status=BreakStatus.OPEN) == [HELD.break_id]
    assert found(campaign_id="c2") == [MALFORMED.break_id]
    assert found(campaign_id="C2") == []


def test_an_acknowledgement_is_a_row_of_the_chain_with_what_was_seen(checks: BreakChecks) -> None:
    checks.check(HELD)

    assert checks.decide().acknowledge([HELD.break_id], ASHA) == [HELD.break_id]

    [row] = checks.decisions()
    assert (row["kind"], row["subject"]) == ("acknowledge", f"break:{HELD.break_id}")
    assert (row["decided_by"], row["reason"], row["occurred_at"]) == (ASHA.by, ASHA.reason, checks.clock.now)
    assert (row["amount_minor"], row["currency"]) == (-330_000, "INR")
    seen = json.loads(row["state_before"])
    assert (seen["state"], seen["severity"], seen["report"]) == ("open", "warning", "r1")
    assert (seen["expected_minor"], seen["actual_minor"]) == (330_000, 0)
    assert checks.line().status is BreakStatus.ACKNOWLEDGED
    chain_is_sound(checks.engine)
    assert SqlVerifier(checks.engine).verify().faults == ()
    assert checks.check(HELD).tracked[HELD.break_id].status is BreakStatus.ACKNOWLEDGED
    assert checks.check(replace(HELD, expected_minor=340_000)).tracked[HELD.break_id].status is BreakStatus.OPEN


def test_resolved_until_it_is_found_again(checks: BreakChecks) -> None:
    checks.check(HELD, MALFORMED)
    checks.decide().acknowledge([HELD.break_id], ASHA)

    assert checks.decide().resolve([HELD.break_id, MALFORMED.break_id], BIREN) == [HELD.break_id, MALFORMED.break_id]

    assert {line.status for line in checks.records.lines(BreakFilter())} == {BreakStatus.CLEARED}
    assert (checks.line().record.cleared_by, checks.line().record.cleared_at) == ("person", checks.clock.now)
    memory = checks.check(HELD)
    assert memory.carried == {"new": 0, "carried": 1, "cleared": 1}
    line = checks.line()
    assert (line.status, line.record.appearances_count) == (BreakStatus.OPEN, 2)
    assert line.note == "biren resolved it on 2026-03-02, and a later check found it again"
    assert checks.line(MALFORMED).record.cleared_by == "check"
    chain_is_sound(checks.engine)


@pytest.mark.parametrize(
    ("act", "named", "sentence"),
    [
        ("acknowledge", [HELD, "0123456789abcdef"], "no check ever found a break 0123456789abcdef"),
        ("acknowledge", ["../../etc/passwd"], "is not a break's id: that is 16 hex digits"),
        ("acknowledge", [BROKEN], "is critical .chain_broken. and cannot be acknowledged: the ledger contradicts"),
        ("acknowledge", [HELD, MALFORMED], "was acknowledged by biren on 2026-03-03"),
        ("acknowledge", ["gone"], "is cleared: there is nothing to acknowledge"),
        ("resolve", [BROKEN], "is critical .chain_broken. and cannot be resolved by a person's word"),
        ("resolve", ["gone"], "is cleared already"),
        ("resolve", [HELD, "fedcba9876543210"], "no check ever found a break fedcba9876543210"),
    ],
)
def test_what_is_refused_writes_nothing(checks: BreakChecks, act: str, named: list[Any], sentence: str) -> None:
    gone = replace(HELD, participation_id="gone")
    checks.check(gone)
    checks.check(HELD, MALFORMED, BROKEN)
    checks.decide().acknowledge([MALFORMED.break_id], BIREN)
    ids = [one.break_id if isinstance(one, Break) else gone.break_id if one == "gone" else one for one in named]
    before = everything(checks.engine)

    with pytest.raises(UsageError, match=sentence):
        getattr(checks.decide(), act)(ids, ASHA)

    assert everything(checks.engine) == before


def test_one_named_twice_is_decided_once(checks: BreakChecks) -> None:
    checks.check(HELD)
    checks.decide().acknowledge([HELD.break_id] * 2, ASHA)
    assert len(checks.decisions()) == 1


def test_two_who_acknowledge_at_once(checks: BreakChecks, ledger_url: str) -> None:
    checks.check(HELD)
    barrier = Barrier(2)

    def acknowledge(signed: Signature) -> str:
        engine = open_engine(ledger_url)
        try:
            decide = BreakDecisions(journal_of(engine, SetClock(NOW + timedelta(days=2))), run_id=signed.by)
            barrier.wait()
            decide.acknowledge([HELD.break_id], signed)
        except UsageError as refused:
            return str(refused)
        finally:
            engine.dispose()
        return ""

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(acknowledge, [ASHA, BIREN]))

    [row] = checks.decisions()
    other = answers[1] if answers[0] == "" else answers[0]
    assert min(answers) == "", "one of them was first"
    assert other == f"{HELD.break_id} was acknowledged by {row['decided_by']} on 2026-03-03"
    chain_is_sound(checks.engine)


def test_text_that_postgresql_cannot_hold_is_remembered_all_the_same(checks: BreakChecks) -> None:
    odd = replace(HELD, participation_id="a\x00b", detail="x\x00y")
    checks.check(odd)
    assert checks.check(odd).carried == {"new": 0, "carried": 1, "cleared": 0}
    assert checks.line(odd).record.detail == "x�y"


def test_more_than_one_statement_takes(checks: BreakChecks) -> None:
    many = [replace(HELD, participation_id=f"p{number}") for number in range(6001)]
    checks.check(*many)
    assert checks.check(*many[1:]).carried == {"new": 0, "carried": 6000, "cleared": 1}
    assert len(checks.records.lines(BreakFilter(status=BreakStatus.OPEN))) == 6000
