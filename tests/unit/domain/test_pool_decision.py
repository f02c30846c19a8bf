"""What a frozen settlement answers for each participation, and what the platform keeps of a payout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.decision import SETTLE_ALL_RULES, Due, NotDue, PoolShare, Reason, Rule, Scope, decide
from reconciler.domain.earnings import Earnings, platform_fee
from reconciler.domain.money import AMOUNT_MINOR_MAX
from tests.support import decisions
from tests.support.decisions import CAP, campaign, participation, terms
from tests.support.pools import POOLED, SETTLEMENT_KEY, pool_share


def decided(pool: PoolShare | None, *, policy: object = CAP, **changes: object) -> Due | NotDue:
    """About a participation of 1,999 impressions, one below its target."""
    facts = decisions.facts(participation(impressions=1_999), campaign())
    return decide(replace(facts, pool=pool, **changes), policy)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", [CAP, POOLED], ids=["scope streamer", "scope campaign"])
def test_a_line_is_paid_as_it_was_frozen_whatever_was_counted_since(policy: object) -> None:
    # 1,200 impressions stand in the line; by now there are 1,999, and the target of 2,000 was never reached.
    decision = decided(pool_share(123_457), policy=policy)

    assert isinstance(decision, Due)
    assert decision.earned == Earnings(gross_minor=123_457, impressions_paid=1_200, rounding="largest_remainder")
    assert (decision.impressions, decision.rule) == (1_200, Rule.CAMPAIGN_ENDED)
    assert (decision.settlement_key, decision.terms) == (SETTLEMENT_KEY, terms())


def test_a_share_of_nothing_is_paid_too() -> None:
    decision = decided(pool_share(0))

    assert isinstance(decision, Due)
    assert (decision.earned.gross_minor, decision.net_minor) == (0, 0)


@pytest.mark.parametrize(
    ("pool", "changes", "reason", "detail"),
    [
        (pool_share(None), {}, Reason.POOL_SETTLED, f"the campaign was settled by {SETTLEMENT_KEY} without it"),
        (pool_share(None, is_void=True), {}, Reason.POOL_SETTLED, None),
        (pool_share(None), {"credited_elsewhere": True}, Reason.POOL_SETTLED, None),
        (pool_share(5, is_void=True), {}, Reason.FORFEITED, "its share is void"),
        (pool_share(5, is_void=True), {"credited_elsewhere": True}, Reason.FORFEITED, None),
        (pool_share(5), {"credited_elsewhere": True}, Reason.MARKED_PAID_ELSEWHERE, None),
        (pool_share(5), {"streamer_paid_for": "oid:2"}, Reason.DUPLICATE_PARTICIPATION, None),
        (pool_share(5), {"pinned_currency": "USD"}, Reason.CURRENCY_CHANGED, None),
    ],
)
def test_what_stands_in_the_way_of_a_line(
    pool: PoolShare, changes: dict[str, object], reason: Reason, detail: str | None
) -> None:
    decision = decided(pool, **changes)

    assert isinstance(decision, NotDue)
    assert decision.reason is reason
    assert detail in (None, decision.detail)


def test_a_line_forfeited_since_is_not_paid() -> None:
    facts = decisions.facts(participation(earnings_forfeited=True), campaign())
    decision = decide(replace(facts, pool=pool_share(5)), CAP)

    assert isinstance(decision, NotDue)
    assert decision.reason is Reason.FORFEITED


def test_who_joins_after_the_settlement_is_not_paid_for_a_target_of_its_own() -> None:
    facts = decisions.facts(participation(impressions=2_000), campaign())

    assert isinstance(decide(facts, CAP), Due)
    decision = decide(replace(facts, pool=pool_share(None)), CAP)
    assert isinstance(decision, NotDue)
    assert decision.reason is Reason.POOL_SETTLED


def test_in_scope_campaign_nobody_is_paid_for_a_target_of_its_own() -> None:
    decision = decide(decisions.facts(participation(impressions=10**6), campaign()), POOLED)

    assert isinstance(decision, NotDue)
    assert decision.reason is Reason.BELOW_TARGET
    assert decision.detail == "the campaign is settled as a whole, and its target is not reached"


@pytest.mark.parametrize("rule", Rule)
def test_campaigns_are_settled_as_a_whole_by_scope_or_by_a_rule_that_settles_all(rule: Rule) -> None:
    alone = replace(CAP, rules=frozenset({rule}))

    assert alone.has_pools is (rule in SETTLE_ALL_RULES) is (rule is not Rule.IMPRESSIONS_TARGET_REACHED)
    assert replace(alone, scope=Scope.CAMPAIGN).has_pools


@pytest.mark.parametrize(
    ("gross_minor", "fee_bps", "fee_minor"),
    [
        (330_000, 0, 0),
        (330_000, 10_000, 330_000),
        (330_000, 250, 8_250),
        (1, 0, 0),
        (1, 4_999, 0),
        (1, 5_000, 1),  # half a minor unit: up, and the streamer gets nothing of it
        (1, 10_000, 1),
        (3, 5_000, 2),  # 1.5
        (5, 5_000, 3),  # 2.5: half-even would keep 2
        (99_990, 333, 3_330),  # 3329.667
        (150, 33, 0),  # 0.495
        (50, 100, 1),  # 0.5
        (49, 100, 0),
        (0, 10_000, 0),
        (2**53, 1, 900_719_925_474),  # 900719925474.0992
        (2**53, 9_999, 9_006_298_534_815_518),  # …517.9008
    ],
)
def test_the_fee_is_rounded_half_up_and_net_and_fee_are_the_gross(
    gross_minor: int, fee_bps: int, fee_minor: int
) -> None:
    assert platform_fee(gross_minor, fee_bps) == fee_minor
    decision = decided(pool_share(gross_minor), policy=replace(CAP, fee_bps=fee_bps))
    assert isinstance(decision, Due)
    assert (decision.fee_minor, decision.net_minor) == (fee_minor, gross_minor - fee_minor)


@given(st.integers(0, AMOUNT_MINOR_MAX), st.integers(0, 10_000))
def test_a_fee_is_the_nearest_whole_one_and_a_tie_is_the_platform_s(gross_minor: int, fee_bps: int) -> None:
    fee_minor = platform_fee(gross_minor, fee_bps)

    assert 0 <= fee_minor <= gross_minor
    assert -5_000 <= gross_minor * fee_bps - fee_minor * 10_000 < 5_000


def test_the_policy_s_fee_is_taken_from_a_payout_of_its_own_too() -> None:
    facts = decisions.facts(participation(), campaign())
    decision = decide(facts, replace(CAP, fee_bps=1_000))

    assert isinstance(decision, Due)
    assert (decision.earned.gross_minor, decision.fee_minor, decision.net_minor) == (330_000, 33_000, 297_000)
