"""Whatever the weights, members and records: shares sum to the pool, order makes no difference, and nothing raises."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.campaign import CampaignTerms, parse_campaign
from reconciler.domain.decision import ParticipationFacts, Policy, Reason, Rule, Scope, Settled
from reconciler.domain.earnings import Overdelivery, earnings
from reconciler.domain.ids import tie_break
from reconciler.domain.money import AMOUNT_MINOR_MAX
from reconciler.domain.participation import Participation, parse_participation
from reconciler.domain.settlement import PoolDue, PoolFacts, decide_pool, largest_remainder
from tests.support.decisions import CAMPAIGN_ID, DEFAULTS, NOW, terms
from tests.support.pools import POOLED, frozen, member, pool_of
from tests.support.values import campaign_records, participation_records

POOLS_MINOR = st.integers(0, 10**6) | st.integers(0, AMOUNT_MINOR_MAX)
WEIGHTS = st.lists(st.integers(0, 20) | st.integers(0, 10**12), min_size=1, max_size=20)
POLICIES = st.builds(
    Policy,
    overdelivery=st.sampled_from(Overdelivery),
    rules=st.frozensets(st.sampled_from(Rule)),
    scope=st.sampled_from(Scope),
    budget_used_percent=st.integers(1, 100),
)


def members() -> st.SearchStrategy[list[ParticipationFacts]]:
    """Up to eight well-formed participations of four streamers, of whom some were paid or are out."""
    return st.lists(
        st.builds(
            lambda number, impressions, settled, status: member(
                number, impressions, streamer=number % 4, status=status, known={"settled": settled}
            ),
            st.integers(1, 50),
            st.integers(0, 10) | st.integers(0, 10**6),
            st.sampled_from([Settled.NOTHING, Settled.NOTHING, Settled.NOTHING, Settled.PAID]),
            st.sampled_from(["active", "active", "completed", "removed"]),
        ),
        max_size=8,
        unique_by=lambda one: one.participation.participation_id,
    )


@given(POOLS_MINOR, WEIGHTS)
def test_shares_sum_to_the_pool_and_lie_within_one_of_the_exact_ones(pool_minor: int, weights: list[int]) -> None:
    shares = largest_remainder(pool_minor, weights)

    assert sum(shares) == pool_minor
    total = sum(weights)
    for share, weight in zip(shares, weights, strict=True):
        exact = Fraction(pool_minor * weight, total) if total else Fraction(pool_minor, len(weights))
        assert abs(share - exact) < 1
        assert share == 0 or weight or not total


@given(POOLS_MINOR, WEIGHTS)
def test_who_weighs_more_never_gets_less_and_ties_go_to_the_earlier(pool_minor: int, weights: list[int]) -> None:
    shares = largest_remainder(pool_minor, weights)

    for earlier, share in enumerate(shares):
        for later in range(earlier + 1, len(shares)):
            if weights[earlier] == weights[later]:
                assert 0 <= share - shares[later] <= 1
            else:
                assert (share >= shares[later]) or weights[earlier] < weights[later]
                assert (share <= shares[later]) or weights[earlier] > weights[later]


@given(members(), st.sampled_from(Overdelivery), st.sampled_from(["cpm", "fixed"]), st.randoms(use_true_random=False))
def test_the_order_of_arrival_makes_no_difference(
    arrived: list[ParticipationFacts], overdelivery: Overdelivery, payment_type: str, random: Random
) -> None:
    campaign = terms(payment_type=payment_type, target_impressions=5)
    policy = Policy(overdelivery=overdelivery, rules=POOLED.rules, scope=Scope.CAMPAIGN)
    shuffled = random.sample(arrived, len(arrived))

    decision = decide_pool(pool_of(arrived, campaign), policy)

    assert decide_pool(pool_of(shuffled, campaign), policy) == decision
    # Which of them are members, found in another way: the first of each streamer that nothing stands in the way of.
    eligible = [
        one.participation
        for one in sorted(arrived, key=lambda one: tie_break(one.participation.participation_id.tagged))
        if one.settled is Settled.NOTHING and one.participation.status != "removed"
    ]
    first = {one.streamer_id: one for one in reversed(eligible)}
    impressions = sum(int(str(one.impressions)) for one in first.values())
    assert isinstance(decision, PoolDue) is (impressions >= 5)
    if isinstance(decision, PoolDue):
        assert {line.participation for line in decision.lines} == set(first.values())
        assert decision.impressions == sum(line.impressions for line in decision.lines) == impressions
        assert decision.pool_minor == sum(line.share_minor for line in decision.lines)
        assert decision.pool_minor == earnings(campaign, impressions, overdelivery).gross_minor


@given(members(), members())
def test_who_was_paid_or_is_out_changes_nobody_s_share(
    in_it: list[ParticipationFacts], others: list[ParticipationFacts]
) -> None:
    campaign = terms(payment_type="fixed", target_impressions=1)
    alone = decide_pool(pool_of(in_it, campaign), POOLED)
    if not isinstance(alone, PoolDue):
        return
    known = {one.participation.participation_id for one in in_it}
    # Another streamer each: who is paid makes all else of the same streamer a duplicate.
    paid = [
        member(1_000 + at, one.participation.impressions, known={"settled": Settled.PAID})
        for at, one in enumerate(others)
        if one.participation.participation_id not in known
    ]

    assert frozen(decide_pool(pool_of([*in_it, *paid], campaign), POOLED)).lines == alone.lines


@given(
    campaign_records(),
    st.lists(
        st.tuples(
            participation_records(),
            st.sampled_from(Settled),
            st.booleans(),
            st.sampled_from([None, "oid:2"]),
            st.sampled_from([None, "INR", "USD"]),
        ),
        max_size=6,
    ),
    st.integers(0, AMOUNT_MINOR_MAX),
    POLICIES,
)
def test_no_record_makes_a_settlement_raise(
    of_campaign: dict[str, object],
    records: list[tuple[dict[str, object], Settled, bool, str | None, str | None]],
    paid_minor: int,
    policy: Policy,
) -> None:
    campaign = parse_campaign(CAMPAIGN_ID, of_campaign, DEFAULTS)
    if not isinstance(campaign, CampaignTerms):
        return
    members = [
        ParticipationFacts(
            participation=parsed,
            campaign=campaign,
            settled=settled,
            credited_elsewhere=credited,
            streamer_paid_for=paid_for,
            pinned_currency=pinned,
        )
        for record, settled, credited, paid_for, pinned in records
        if isinstance(parsed := parse_participation(record), Participation)
    ]

    decision = decide_pool(PoolFacts(terms=campaign, members=members, paid_minor=paid_minor, now=NOW), policy)

    if not isinstance(decision, PoolDue):
        assert decision.detail
        assert decision.reason in {
            Reason.BELOW_TARGET,
            Reason.POOL_INCOMPLETE,
            Reason.CURRENCY_CHANGED,
            Reason.MALFORMED,
        }
        return
    assert decision.rule in policy.rules
    assert 0 <= decision.pool_minor <= AMOUNT_MINOR_MAX
    assert sum(line.share_minor for line in decision.lines) == decision.pool_minor
    streamers = [line.participation.streamer_id for line in decision.lines]
    assert len(set(streamers)) == len(streamers) > 0
