"""A pool: when it is settled and by which rule, who shares it, how much it is, and what holds it up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations

import pytest

from reconciler.domain.decision import Policy, Reason, Rule, Scope, Settled
from reconciler.domain.earnings import Overdelivery, earnings
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.money import AMOUNT_MINOR_MAX
from reconciler.domain.settlement import decide_pool, largest_remainder
from tests.support.decisions import NOW, campaign, oid, terms
from tests.support.pools import POOLED, frozen, member, pool_of, refused, rule_of, shares

CAP, PAY = Overdelivery.CAP_AT_TARGET, Overdelivery.PAY
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)
ALL_RULES = replace(POOLED, rules=frozenset(Rule))


def only(rule: Rule, **changes: object) -> Policy:
    """Scope streamer, with a single rule switched on."""
    policy = Policy(overdelivery=CAP, rules=frozenset({rule}), scope=Scope.STREAMER)
    return replace(policy, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pool_minor", "weights", "expected"),
    [
        (0, [], []),
        (10, [1], [10]),
        (10, [1, 1], [5, 5]),
        (10, [1, 1, 1], [4, 3, 3]),  # a tie goes to the earlier one
        (11, [1, 1, 1], [4, 4, 3]),
        (10, [1, 2], [3, 7]),  # 3.33 and 6.67: the larger remainder, though it comes later
        (10, [2, 1], [7, 3]),
        (100, [5, 3, 3], [46, 27, 27]),  # 45.45, 27.27, 27.27
        (7, [0, 1, 0], [0, 7, 0]),
        (1, [0, 1, 1], [0, 1, 0]),
        (0, [3, 4], [0, 0]),
        (10, [0, 0, 0], [4, 3, 3]),  # without any weight all weigh the same
        (2**53, [10**12, 10**12, 1], [4503599627368244, 4503599627368244, 4504]),
    ],
)
def test_a_pool_is_divided_by_largest_remainder(pool_minor: int, weights: list[int], expected: list[int]) -> None:
    assert largest_remainder(pool_minor, weights) == expected
    assert sum(expected) == (pool_minor if weights else 0)


@pytest.mark.parametrize(
    ("changes", "impressions", "policy", "pool_minor"),
    [
        ({}, 2_000, CAP, 330_000),
        ({}, 2_001, CAP, 330_000),
        ({}, 2_500, CAP, 330_000),
        ({}, 1_999, CAP, 329_835),
        ({}, 0, CAP, 0),
        ({}, 2_001, PAY, 330_165),
        ({}, 2_500, PAY, 412_500),
        ({"target_impressions": 3_000}, 2_500, CAP, 412_500),
        ({"payment_rate": 5}, 1, CAP, 1),  # half a paisa: up
        ({"payment_rate": "4.999999999"}, 1, CAP, 0),
        ({"payment_rate": 25}, 1, CAP, 3),  # 2.5
        ({"payment_rate": "333.333333333"}, 3, CAP, 100),  # rounded once: three of 33.33 would be 99
        ({"currency": "JPY"}, 2_000, CAP, 3_300),
        ({"currency": "KWD"}, 2_000, CAP, 3_300_000),
        ({"payment_type": "fixed"}, 1, CAP, 165_000),
        ({"payment_type": "fixed"}, 10**12, CAP, 165_000),
        ({"payment_type": "fixed"}, 10**12, PAY, 165_000),
        ({"payment_type": "fixed", "currency": "JPY"}, 5, PAY, 1_650),
    ],
)
def test_what_a_pool_holds(changes: dict[str, object], impressions: int, policy: Overdelivery, pool_minor: int) -> None:
    assert earnings(terms(**changes), impressions, policy).gross_minor == pool_minor


@pytest.mark.parametrize(
    ("overdelivery", "pool_minor", "expected"),
    [(CAP, 330_000, {1: 188_571, 2: 141_429}), (PAY, 346_500, {1: 198_000, 2: 148_500})],
)
def test_a_settlement_is_frozen_whole(overdelivery: Overdelivery, pool_minor: int, expected: dict[int, int]) -> None:
    facts = pool_of([member(1, 1_200), member(2, 900)])
    due = frozen(decide_pool(facts, replace(POOLED, overdelivery=overdelivery)))

    assert (due.terms, due.rule, due.overdelivery) == (terms(), Rule.IMPRESSIONS_TARGET_REACHED, overdelivery)
    assert (due.impressions, due.pool_minor, shares(due)) == (2_100, pool_minor, expected)
    assert [line.impressions for line in due.lines] == [1_200, 900]
    assert [line.participation for line in due.lines] == [one.participation for one in facts.members]


@pytest.mark.parametrize("arrival", tuple(permutations(range(3))))
def test_ties_go_by_identity_whatever_the_order_of_arrival(arrival: tuple[int, ...]) -> None:
    text = DocumentId(IdKind.STRING, "f" * 24)
    members = [member(2, 700), member(9, 700), member(5, 700, id=text)]
    fixed = terms(payment_type="fixed", payment_rate=1, target_impressions=2_100)

    due = frozen(decide_pool(pool_of([members[at] for at in arrival], fixed), POOLED))

    # Strings come before ObjectIds, as in MongoDB.
    assert [(line.participation.participation_id, line.share_minor) for line in due.lines] == [
        (text, 34),
        (oid(2), 33),
        (oid(9), 33),
    ]


@pytest.mark.parametrize(
    ("impressions", "rule"),
    [((1_999,), None), ((1_000, 999), None), ((1_000, 1_000), 0), ((1_999, 1), 0), ((2_001,), 0)],
)
def test_the_sum_is_compared_with_the_target(impressions: tuple[int, ...], rule: int | None) -> None:
    facts = pool_of([member(number, count) for number, count in enumerate(impressions, start=1)])

    assert rule_of(facts, POOLED) is (None if rule is None else Rule.IMPRESSIONS_TARGET_REACHED)


def test_what_is_not_due_says_how_far_it_is() -> None:
    decision = refused(decide_pool(pool_of([member(1, 1_000), member(2, 999)]), POOLED))

    assert decision.reason is Reason.BELOW_TARGET
    assert decision.detail == "1999 of 2000 impressions together, and no other rule holds"


@pytest.mark.parametrize("first", range(len(Rule) + 1))
def test_the_first_rule_that_is_on_and_holds_is_the_reason(first: int) -> None:
    everything_holds = pool_of([member(1, 2_000, last_stream_date=NOW - 8 * DAY)], terms(end_date=NOW - DAY))
    rules = list(Rule)[first:]

    assert rule_of(everything_holds, replace(ALL_RULES, rules=frozenset(rules))) is (rules[0] if rules else None)


@pytest.mark.parametrize("rule", Rule)
def test_each_rule_that_is_off_settles_nothing(rule: Rule) -> None:
    only_this_holds = {
        Rule.IMPRESSIONS_TARGET_REACHED: pool_of([member(1, 100)], terms(budget=10**6, target_impressions=100)),
        Rule.BUDGET_EXHAUSTED: pool_of([member(1, 1_950)]),
        Rule.CAMPAIGN_ENDED: pool_of([member(1, 100)], terms(end_date=NOW - DAY)),
        Rule.CAMPAIGN_INACTIVE: pool_of([member(1, 100, last_stream_date=NOW - 8 * DAY)]),
    }[rule]

    assert rule_of(only_this_holds, ALL_RULES) is rule
    assert rule_of(only_this_holds, replace(ALL_RULES, rules=frozenset({rule}))) is rule
    assert rule_of(only_this_holds, replace(ALL_RULES, rules=frozenset(Rule) - {rule})) is None


def test_in_scope_streamer_the_target_settles_nobody_together() -> None:
    facts = pool_of([member(1, 1_000), member(2, 1_000)])

    assert rule_of(facts, only(Rule.IMPRESSIONS_TARGET_REACHED)) is None
    assert rule_of(facts, only(Rule.IMPRESSIONS_TARGET_REACHED, scope=Scope.CAMPAIGN)) is not None


@pytest.mark.parametrize(
    ("changes", "impressions", "paid_minor", "percent", "holds"),
    [
        # 95 percent of 3300.00 are 1,900 impressions of 1.65
        ({}, 1_900, 0, 95, True),
        ({}, 1_899, 0, 95, False),
        ({}, 900, 165_000, 95, True),  # what was paid counts as used
        ({}, 899, 165_000, 95, False),
        ({}, 0, 313_500, 95, True),
        ({}, 0, 313_499, 95, False),
        ({}, 1_000, 0, 50, True),
        ({}, 999, 0, 50, False),
        # of 3300.00, 100 impressions cost 165.00
        ({}, 1_901, 0, 100, True),
        ({}, 1_900, 0, 100, False),
        ({"budget": 100, "target_impressions": 9}, 0, 0, 95, True),  # never bought a hundred
        ({"budget": 165, "target_impressions": 9}, 0, 0, 95, False),
        # fixed: an impression costs nothing, and only what was paid is used
        ({"payment_type": "fixed"}, 10**12, 165_000, 95, False),
        ({"payment_type": "fixed"}, 0, 313_500, 95, True),
        ({"payment_type": "fixed"}, 10**12, 313_499, 95, False),
        ({"payment_type": "fixed"}, 0, 329_999, 100, False),
        ({"payment_type": "fixed"}, 0, 330_000, 100, True),
        ({"currency": "JPY"}, 1_900, 0, 95, True),
        ({"currency": "JPY"}, 1_899, 0, 95, False),
    ],
)
def test_a_budget_is_exhausted_by_percent_or_by_what_100_impressions_cost(
    changes: dict[str, object], impressions: int, paid_minor: int, percent: int, *, holds: bool
) -> None:
    facts = pool_of([member(1, impressions)], terms(**changes), paid_minor=paid_minor)
    policy = only(Rule.BUDGET_EXHAUSTED, budget_used_percent=percent)

    assert rule_of(facts, policy) is (Rule.BUDGET_EXHAUSTED if holds else None)


@pytest.mark.parametrize(
    ("end_date", "holds"),
    [
        (NOW - INSTANT, True),
        (NOW, False),
        (NOW + DAY, False),
        (None, False),
        ("2020-01-01", False),
        (datetime(2020, 1, 1), False),  # noqa: DTZ001  # without a zone nobody knows when
        (20200101, False),
    ],
)
def test_a_campaign_has_ended_only_by_a_date_that_can_be_read(end_date: object, *, holds: bool) -> None:
    facts = pool_of([member(1, 1_000), member(2, 10)], terms(end_date=end_date))

    assert rule_of(facts, only(Rule.CAMPAIGN_ENDED)) is (Rule.CAMPAIGN_ENDED if holds else None)


@pytest.mark.parametrize(
    ("streams", "holds"),
    [
        ([NOW - 7 * DAY - INSTANT], True),
        ([NOW - 7 * DAY], False),
        ([NOW - 30 * DAY, NOW - DAY], False),
        ([NOW - 8 * DAY, NOW - 30 * DAY], True),
        ([NOW - 8 * DAY, None], True),
        ([NOW - DAY, None], False),
        ([None], False),
        ([None, None], False),
        (["2020-01-01"], False),
    ],
)
def test_a_campaign_is_inactive_only_by_a_known_stream(streams: list[object], *, holds: bool) -> None:
    members = [member(number, 10, last_stream_date=stream) for number, stream in enumerate(streams, start=1)]

    assert rule_of(pool_of(members), only(Rule.CAMPAIGN_INACTIVE)) is (Rule.CAMPAIGN_INACTIVE if holds else None)


NO_MEMBERS: tuple[dict[str, object], ...] = (
    {"known": {"settled": Settled.PAID}},
    {"known": {"settled": Settled.REVERSED}},
    {"known": {"settled": Settled.REJECTED}},
    {"known": {"settled": Settled.ADOPTED}},
    {"final_earnings_transferred": True},
    {"status": "removed"},
    {"status": "left_early"},
    {"status": "paused"},
    {"earnings_forfeited": True},
    {"known": {"credited_elsewhere": True}},
    {"known": {"streamer_paid_for": "oid:7"}},
    {"known": {"campaign": None}},
    {"known": {"campaign": campaign(status="paused")}},
)


@pytest.mark.parametrize("impressions", [5_000, "many"], ids=["well-formed", "malformed"])
@pytest.mark.parametrize("changes", NO_MEMBERS, ids=str)
def test_who_is_settled_or_out_takes_no_part_and_holds_nothing_up(
    impressions: object, changes: dict[str, object]
) -> None:
    out = member(2, impressions, **changes)  # type: ignore[arg-type]

    assert shares(decide_pool(pool_of([member(1, 1_000), out, member(3, 1_000)]), POOLED)) == {1: 165_000, 3: 165_000}
    alone = refused(decide_pool(pool_of([out], terms(end_date=NOW - DAY)), ALL_RULES))
    assert alone.reason is Reason.BELOW_TARGET


MALFORMED: tuple[dict[str, object], ...] = (
    {"impressions": "many"},
    {"impressions": -1},
    {"status": None},
    {"earnings_forfeited": "no"},
    {"final_earnings_transferred": 0},
)


@pytest.mark.parametrize("changes", MALFORMED, ids=str)
def test_a_malformed_member_holds_the_settlement(changes: dict[str, object]) -> None:
    bad = member(2, 1_000, **changes)  # type: ignore[arg-type]
    decision = refused(decide_pool(pool_of([member(1, 2_000), bad]), POOLED))

    assert (decision.reason, decision.detail) == (Reason.POOL_INCOMPLETE, f"malformed members: {oid(2).value}")


def test_a_campaign_of_malformed_members_alone_waits_for_them_too() -> None:
    facts = pool_of([member(number, "x") for number in range(1, 13)], terms(end_date=NOW - DAY))
    decision = refused(decide_pool(facts, only(Rule.CAMPAIGN_ENDED)))

    assert decision.reason is Reason.POOL_INCOMPLETE
    assert decision.detail == "malformed members: " + ", ".join(oid(number).value for number in range(1, 11))


def test_below_the_target_a_malformed_member_is_no_matter_yet() -> None:
    assert refused(decide_pool(pool_of([member(1, 1_999), member(2, "x")]), POOLED)).reason is Reason.BELOW_TARGET


@pytest.mark.parametrize("arrival", tuple(permutations(range(3))))
def test_a_streamer_with_two_participations_takes_part_with_the_first(arrival: tuple[int, ...]) -> None:
    members = [member(1, 1_000, streamer=7), member(2, 900, streamer=7), member(3, 1_000)]

    due = frozen(decide_pool(pool_of([members[at] for at in arrival]), POOLED))

    assert (due.impressions, shares(due)) == (2_000, {1: 165_000, 3: 165_000})
    assert rule_of(pool_of([member(1, 1_000, streamer=7), member(2, 1_000, streamer=7)]), POOLED) is None


def test_a_campaign_without_members_settles_nothing() -> None:
    facts = pool_of([], terms(end_date=NOW - DAY), paid_minor=330_000)

    assert refused(decide_pool(facts, ALL_RULES)).reason is Reason.BELOW_TARGET


def test_impressions_of_nobody_share_a_fixed_pool_alike() -> None:
    fixed = terms(payment_type="fixed", payment_rate=1, end_date=NOW - DAY)
    members = [member(number, 0) for number in (3, 1, 2)]

    assert shares(decide_pool(pool_of(members, fixed), ALL_RULES)) == {1: 34, 2: 33, 3: 33}


def test_a_pool_is_not_frozen_in_another_currency_than_the_campaign_was_funded_in() -> None:
    members = [member(1, 1_000), member(2, 1_000, known={"pinned_currency": "USD"})]
    decision = refused(decide_pool(pool_of(members), POOLED))

    assert (decision.reason, decision.detail) == (Reason.CURRENCY_CHANGED, "funded in USD, now INR")
    same = [member(1, 1_000), member(2, 1_000, known={"pinned_currency": "INR"})]
    assert shares(decide_pool(pool_of(same), POOLED)) == {1: 165_000, 2: 165_000}


def test_the_largest_pool_is_frozen_and_one_more_is_not() -> None:
    largest = terms(currency="JPY", budget=2**53, payment_rate=2**53, target_impressions=1_000)
    pays_all = replace(POOLED, overdelivery=PAY)

    assert frozen(decide_pool(pool_of([member(1, 1_000)], largest), pays_all)).pool_minor == AMOUNT_MINOR_MAX
    decision = refused(decide_pool(pool_of([member(1, 1_000), member(2, 1)], largest), pays_all))
    assert decision.reason is Reason.MALFORMED
    assert decision.detail == "the impressions together earn more than 2^53 minor units"
