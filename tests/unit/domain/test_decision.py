"""Who is due and what stands in the way: each reason alone, each before every later one, and no input that raises."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.campaign import parse_campaign
from reconciler.domain.decision import (
    Due,
    NotDue,
    ParticipationFacts,
    Policy,
    PoolShare,
    Reason,
    Rule,
    Scope,
    Settled,
    decide,
)
from reconciler.domain.earnings import Overdelivery
from reconciler.domain.money import AMOUNT_MINOR_MAX
from reconciler.domain.participation import Participation, parse_participation
from tests.support import decisions
from tests.support.decisions import CAMPAIGN_ID, CAP, DEFAULTS, PAY, campaign, participation, terms
from tests.support.values import campaign_records, participation_records

NO_MEMBER = PoolShare(settlement_key="settlement:oid:ca:1", rule=Rule.CAMPAIGN_ENDED, share_minor=None)
VOID = replace(NO_MEMBER, share_minor=330_000, impressions=2_000, is_void=True)
ANOTHERS = replace(VOID, is_void=False, frozen_for=(CAMPAIGN_ID.tagged, "another streamer"))


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """One thing in the way of the reference payment: what it changes, and what is to be told of it."""

    name: str
    reason: Reason
    campaign: dict[str, object] = field(default_factory=dict)
    participation: dict[str, object] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def touches(self) -> set[str]:
        return {*self.campaign, *self.participation, *self.facts}


IN_ORDER = (
    Obstacle(name="paid", reason=Reason.ALREADY_PAID, facts={"settled": Settled.PAID}),
    Obstacle(name="reversed", reason=Reason.REVERSED, facts={"settled": Settled.REVERSED}),
    Obstacle(name="rejected", reason=Reason.REJECTED_BY_PERSON, facts={"settled": Settled.REJECTED}),
    Obstacle(name="adopted", reason=Reason.SETTLED_BEFORE_US, facts={"settled": Settled.ADOPTED}),
    Obstacle(name="marked", reason=Reason.MARKED_PAID_ELSEWHERE, participation={"final_earnings_transferred": True}),
    Obstacle(name="no campaign", reason=Reason.CAMPAIGN_MISSING, facts={"campaign": None}),
    Obstacle(name="campaign of an unknown word", reason=Reason.STATUS_UNKNOWN, campaign={"status": "live"}),
    Obstacle(name="participation of an unknown word", reason=Reason.STATUS_UNKNOWN, participation={"status": "Active"}),
    Obstacle(name="campaign paused", reason=Reason.CAMPAIGN_NOT_ACTIVE, campaign={"status": "paused"}),
    Obstacle(name="removed", reason=Reason.PARTICIPATION_NOT_ACTIVE, participation={"status": "removed"}),
    Obstacle(name="forfeited", reason=Reason.FORFEITED, participation={"earnings_forfeited": True}),
    Obstacle(name="no budget", reason=Reason.MALFORMED, campaign={"budget": None}),
    Obstacle(name="flag of text", reason=Reason.MALFORMED, participation={"earnings_forfeited": "no"}),
    Obstacle(name="pool without it", reason=Reason.POOL_SETTLED, facts={"pool": NO_MEMBER}),
    Obstacle(name="void share", reason=Reason.FORFEITED, facts={"pool": VOID}),
    Obstacle(name="share of another", reason=Reason.POOL_MEMBER_CHANGED, facts={"pool": ANOTHERS}),
    Obstacle(name="below target", reason=Reason.BELOW_TARGET, participation={"impressions": 1999}),
    Obstacle(name="credited", reason=Reason.MARKED_PAID_ELSEWHERE, facts={"credited_elsewhere": True}),
    Obstacle(name="duplicate", reason=Reason.DUPLICATE_PARTICIPATION, facts={"streamer_paid_for": "oid:2"}),
    Obstacle(name="currency", reason=Reason.CURRENCY_CHANGED, facts={"pinned_currency": "USD"}),
    Obstacle(
        name="too much",
        reason=Reason.MALFORMED,
        campaign={"payment_rate": 90071992547409, "target_impressions": 2000},
    ),
)
"""In order of precedence. A foreign statement line is looked for only where a payment is otherwise due, since that
query is the dearest: so it comes after the target, and a mark on the document itself does not."""

PAIRS = [pair for pair in combinations(IN_ORDER, 2) if not pair[0].touches & pair[1].touches]


def decide_with(*obstacles: Obstacle, policy: Policy = CAP) -> Due | NotDue:
    of_campaign: dict[str, object] = {}
    of_participation: dict[str, object] = {}
    of_facts: dict[str, object] = {}
    for obstacle in obstacles:
        of_campaign |= obstacle.campaign
        of_participation |= obstacle.participation
        of_facts |= obstacle.facts
    facts = decisions.facts(participation(**of_participation), campaign(**of_campaign))
    return decide(replace(facts, **of_facts), policy)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", [CAP, PAY], ids=["cap", "pay"])
@pytest.mark.parametrize(
    ("impressions", "capped_minor", "all_minor"),
    [(2_000, 330_000, 330_000), (2_001, 330_000, 330_165), (2_500, 330_000, 412_500), ("2500", 330_000, 412_500)],
)
def test_the_reference_case_is_paid(impressions: object, capped_minor: int, all_minor: int, policy: Policy) -> None:
    decision = decide(decisions.facts(participation(impressions=impressions), campaign()), policy)

    assert isinstance(decision, Due)
    assert decision.impressions == int(str(impressions))
    assert decision.earned.gross_minor == (capped_minor if policy is CAP else all_minor)
    assert decision.rule is Rule.IMPRESSIONS_TARGET_REACHED
    assert decision.overdelivery is policy.overdelivery
    assert decision.terms == terms()


@pytest.mark.parametrize(
    ("changes", "impressions", "detail"),
    [
        ({}, 1_999, "1999 of 2000 impressions"),
        ({}, 0, "0 of 2000 impressions"),
        ({"budget": 1000}, 605, "605 of 606 impressions"),
        ({"target_impressions": 2001}, 2_000, "2000 of 2001 impressions"),
        ({"target_impressions": 10**13}, 10**12, "1000000000000 of 10000000000000 impressions"),
    ],
)
def test_below_the_target_nothing_is_paid(changes: dict[str, object], impressions: int, detail: str) -> None:
    decision = decide(decisions.facts(participation(impressions=impressions), campaign(**changes)), CAP)

    assert isinstance(decision, NotDue)
    assert (decision.reason, decision.detail) == (Reason.BELOW_TARGET, detail)


def test_a_smaller_budget_pays_its_own_target() -> None:
    decision = decide(decisions.facts(participation(impressions=606), campaign(budget=1000)), CAP)

    assert isinstance(decision, Due)
    assert decision.earned.gross_minor == 99_990


@pytest.mark.parametrize("of_campaign", ["active", "completed"])
@pytest.mark.parametrize("of_participation", ["active", "completed"])
def test_what_somebody_completed_by_hand_is_still_paid(of_campaign: str, of_participation: str) -> None:
    facts = decisions.facts(participation(status=of_participation), campaign(status=of_campaign))

    assert isinstance(decide(facts, CAP), Due)


@pytest.mark.parametrize("status", ["draft", "pending", "paused", "cancelled", "rejected"])
def test_a_campaign_of_another_status_pays_nobody(status: str) -> None:
    decision = decide(decisions.facts(participation(), campaign(status=status)), CAP)

    assert isinstance(decision, NotDue)
    assert (decision.reason, decision.detail) == (Reason.CAMPAIGN_NOT_ACTIVE, f"the campaign is {status}")


@pytest.mark.parametrize("status", ["paused", "rejected", "left_early", "removed", "participation_paused"])
def test_a_participation_of_another_status_is_not_paid(status: str) -> None:
    decision = decide(decisions.facts(participation(status=status), campaign()), CAP)

    assert isinstance(decision, NotDue)
    assert (decision.reason, decision.detail) == (Reason.PARTICIPATION_NOT_ACTIVE, f"the participation is {status}")


@pytest.mark.parametrize("word", ["Active", "ACTIVE", "active ", "live", "", "aktiv", "x" * 10_000])
def test_a_status_that_is_not_known_is_told_as_such_with_the_word(word: str) -> None:
    of_campaign = decide(decisions.facts(participation(), campaign(status=word)), CAP)
    of_participation = decide(decisions.facts(participation(status=word), campaign()), CAP)

    for decision, whose in ((of_campaign, "campaign"), (of_participation, "participation")):
        assert isinstance(decision, NotDue)
        assert decision.reason is Reason.STATUS_UNKNOWN
        assert decision.detail.startswith(f"the {whose}'s status {word[:40]!r}")
        assert len(decision.detail) < 120


@pytest.mark.parametrize("obstacle", IN_ORDER, ids=lambda obstacle: obstacle.name)
@pytest.mark.parametrize("policy", [CAP, PAY], ids=["cap", "pay"])
def test_each_obstacle_is_told_by_its_reason(obstacle: Obstacle, policy: Policy) -> None:
    decision = decide_with(obstacle, policy=policy)

    assert isinstance(decision, NotDue)
    assert decision.reason is obstacle.reason


@pytest.mark.parametrize(("first", "later"), PAIRS, ids=lambda obstacle: obstacle.name)
def test_each_obstacle_is_told_before_every_later_one(first: Obstacle, later: Obstacle) -> None:
    decision, alone = decide_with(first, later), decide_with(first)

    assert isinstance(decision, NotDue)
    assert isinstance(alone, NotDue)
    assert decision.reason is first.reason
    assert decision.detail == alone.detail
    assert decision.problems == alone.problems


def test_every_reason_that_needs_no_ledger_is_among_the_obstacles() -> None:
    of_the_ledger = {Reason.OVER_BUDGET, Reason.OVER_APPROVAL_THRESHOLD, Reason.ACCOUNT_FULL, Reason.OVER_PACE}

    # A pool that is incomplete is a campaign's affair: test_settlement.
    assert {obstacle.reason for obstacle in IN_ORDER} == set(Reason) - of_the_ledger - {Reason.POOL_INCOMPLETE}


def test_reasons_are_listed_in_order_of_precedence() -> None:
    told = list(dict.fromkeys(obstacle.reason for obstacle in IN_ORDER))

    assert told == [reason for reason in Reason if reason in told]


@pytest.mark.parametrize(
    ("of_participation", "of_campaign", "where", "problems"),
    [
        ({}, {"status": None, "budget": -1}, "campaign", ["status is not text", "budget is not more than zero"]),
        ({"impressions": "x"}, {"payment_rate": 0}, "campaign", ["payment_rate is not more than zero"]),
        ({"status": None}, {}, "participation", ["status is not text"]),
        (
            {"status": 1, "impressions": -1, "earnings_forfeited": 0, "final_earnings_transferred": "yes"},
            {},
            "participation",
            [
                "status is not text",
                "impressions is negative",
                "earnings_forfeited is a int, not a boolean",
                "final_earnings_transferred is a str, not a boolean",
            ],
        ),
    ],
)
def test_what_is_malformed_is_told_with_its_document_and_every_problem(
    of_participation: dict[str, object], of_campaign: dict[str, object], where: str, problems: list[str]
) -> None:
    decision = decide(decisions.facts(participation(**of_participation), campaign(**of_campaign)), CAP)

    assert isinstance(decision, NotDue)
    assert (decision.reason, decision.problems_in) == (Reason.MALFORMED, where)
    assert [str(problem) for problem in decision.problems] == problems


def test_an_unfinished_draft_is_not_active_rather_than_malformed() -> None:
    decision = decide(decisions.facts(participation(), campaign(status="draft", budget=None, payment_rate=None)), CAP)

    assert isinstance(decision, NotDue)
    assert decision.reason is Reason.CAMPAIGN_NOT_ACTIVE


def test_fields_that_are_not_used_for_money_never_stop_a_payment() -> None:
    assert isinstance(decide(decisions.facts(participation(clicks="x"), campaign(gkey_cooloff_hours=-1)), CAP), Due)


def test_the_pinned_currency_itself_is_no_obstacle() -> None:
    facts = replace(decisions.facts(participation(), campaign()), pinned_currency="INR")

    assert isinstance(decide(facts, CAP), Due)


def test_a_rule_that_is_off_pays_nobody() -> None:
    off = Policy(overdelivery=Overdelivery.PAY, rules=frozenset())
    decision = decide(decisions.facts(participation(), campaign()), off)

    assert isinstance(decision, NotDue)
    assert decision.reason is Reason.BELOW_TARGET


def test_the_largest_amount_is_paid_and_one_more_is_not() -> None:
    largest = terms(currency="JPY", budget=2**53, payment_rate=2**53, target_impressions=1000)
    at, above = participation(impressions=1000), participation(impressions=1001)

    assert decisions.due(at, largest, PAY).earned.gross_minor == AMOUNT_MINOR_MAX
    decision = decide(decisions.facts(above, largest), PAY)
    assert isinstance(decision, NotDue)
    assert [str(problem) for problem in decision.problems] == ["impressions earn more than 2^53 minor units"]
    assert decisions.due(above, largest, CAP).earned.gross_minor == AMOUNT_MINOR_MAX


@given(
    participation_records(),
    st.none() | campaign_records(),
    st.sampled_from(Settled),
    st.booleans(),
    st.sampled_from([None, "oid:2"]),
    st.sampled_from([None, "INR", "USD"]),
    st.none()
    | st.builds(
        PoolShare,
        settlement_key=st.just("settlement:oid:ca:1"),
        rule=st.sampled_from(Rule),
        share_minor=st.none() | st.integers(0, AMOUNT_MINOR_MAX),
        impressions=st.integers(0, 10**12),
        is_void=st.booleans(),
    ),
    st.builds(
        Policy,
        overdelivery=st.sampled_from(Overdelivery),
        rules=st.frozensets(st.sampled_from(Rule)),
        scope=st.sampled_from(Scope),
        fee_bps=st.integers(0, 10_000),
    ),
)
def test_no_record_makes_a_decision_raise(
    record: dict[str, object],
    of_campaign: dict[str, object] | None,
    settled: Settled,
    credited_elsewhere: bool,
    streamer_paid_for: str | None,
    pinned_currency: str | None,
    pool: PoolShare | None,
    policy: Policy,
) -> None:
    parsed = parse_participation(record)
    if not isinstance(parsed, Participation):
        return
    facts = ParticipationFacts(
        participation=parsed,
        campaign=None if of_campaign is None else parse_campaign(CAMPAIGN_ID, of_campaign, DEFAULTS),
        settled=settled,
        credited_elsewhere=credited_elsewhere,
        streamer_paid_for=streamer_paid_for,
        pinned_currency=pinned_currency,
        pool=pool,
    )

    decision = decide(facts, policy)

    assert decision.participation is parsed
    if isinstance(decision, NotDue):
        assert bool(decision.problems) is (decision.reason is Reason.MALFORMED)
        return
    assert settled is Settled.NOTHING
    assert not credited_elsewhere
    assert streamer_paid_for is None
    assert parsed.forfeited is False
    assert parsed.marked_paid is False
    assert 0 <= decision.earned.gross_minor <= AMOUNT_MINOR_MAX
    assert 0 <= decision.fee_minor <= decision.earned.gross_minor == decision.net_minor + decision.fee_minor
    if pool is not None:
        assert not pool.is_void
        assert (decision.earned.gross_minor, decision.impressions) == (pool.share_minor, pool.impressions)
        assert (decision.rule, decision.settlement_key) == (pool.rule, pool.settlement_key)
        return
    assert policy.scope is Scope.STREAMER
    assert Rule.IMPRESSIONS_TARGET_REACHED in policy.rules
    assert decision.settlement_key is None
    assert decision.impressions == parsed.impressions >= decision.terms.target_impressions  # type: ignore[operator]
