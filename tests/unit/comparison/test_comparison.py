"""The vectors clear a row only where the decision itself would, and count it as the decision does."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.comparison.partition import compare
from reconciler.domain.campaign import Campaign, CampaignTerms, MalformedCampaign, PaymentType
from reconciler.domain.decision import NotDue, ParticipationFacts, Policy, Reason, Rule, Scope, Settled, decide
from reconciler.domain.earnings import Overdelivery, earnings
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.parsing import parse_count
from reconciler.domain.participation import Participation
from reconciler.ports.population import LedgerPartition
from reconciler.ports.scanning import FactColumns
from tests.support.examples import examples
from tests.support.ledger import NOW

STREAMER = "5" * 24


def oid(number: int) -> DocumentId:
    return DocumentId(IdKind.OBJECT_ID, f"{number:024x}")


TERMS = CampaignTerms(
    campaign_id=oid(1),
    brand_id=oid(9),
    status="active",
    payment_type=PaymentType.CPM,
    rate=Fraction(1650),
    budget_minor=330_000,
    target_impressions=2_000,
    currency="INR",
    cooloff_hours=720,
    end_date=None,
    cooloff_was_read=True,
)
CAMPAIGNS: dict[str, Campaign] = {
    oid(1).tagged: TERMS,
    oid(2).tagged: replace(TERMS, campaign_id=oid(2), status="paused"),
    oid(3).tagged: MalformedCampaign(campaign_id=oid(3), status="active", problems=()),
    oid(4).tagged: MalformedCampaign(campaign_id=oid(4), status="draft", problems=()),
    oid(5).tagged: replace(TERMS, campaign_id=oid(5), payment_type=PaymentType.FIXED, currency="JPY"),
    oid(6).tagged: replace(TERMS, campaign_id=oid(6), rate=Fraction(1, 10**9), target_impressions=10**13),
    oid(7).tagged: replace(TERMS, campaign_id=oid(7), rate=Fraction(10**12), target_impressions=10**12),
}

rows = st.tuples(
    st.integers(1, 8),
    st.one_of(
        st.sampled_from([0, 1, 1_999, 2_000, 2_001, -1, 10**12, 10**12 + 1, 1_999.0, 1_999.5, math.nan, math.inf]),
        st.integers(0, 10**12),
    ),
    st.sampled_from(["active", "active", "completed", "paused", "removed", ""]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
policies = st.builds(
    Policy,
    overdelivery=st.sampled_from(list(Overdelivery)),
    rules=st.sampled_from([frozenset({Rule.IMPRESSIONS_TARGET_REACHED}), frozenset[Rule]()]),
    scope=st.sampled_from(list(Scope)),
)


def columns_of(found: list[Any]) -> FactColumns:
    columns = FactColumns()
    for number, (campaign, impressions, status, forfeited, marked, is_plain) in enumerate(found):
        columns.participation_ids.append(oid(100 + number).tagged)
        columns.campaign_ids.append(oid(campaign).tagged)
        columns.streamer_ids.append(STREAMER)
        columns.statuses.append(status)
        columns.impressions.append(impressions)
        columns.forfeited.append(forfeited)
        columns.marked_paid.append(marked)
        columns.completion_reasons.append("")
        columns.final_earnings.append(math.nan)
        columns.is_plain.append(is_plain)
    return columns


def ledger(*, adopted: frozenset[str] = frozenset(), special: frozenset[str] = frozenset()) -> LedgerPartition:
    return LedgerPartition(rows=(), special=special, adopted=adopted, pooled_campaigns=frozenset())


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(rows, max_size=12), policies, st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_what_is_cleared_is_what_the_decision_says(
    found: list[Any], policy: Policy, adopted_at: set[int], special_at: set[int]
) -> None:
    adopted = frozenset(oid(100 + one).tagged for one in adopted_at)
    special = frozenset(oid(100 + one).tagged for one in special_at)

    compared = compare(columns_of(found), ledger(adopted=adopted, special=special), CAMPAIGNS, policy, cut=0)

    remarkable, not_due, before = set(compared.remarkable), 0, 0
    accrued: Counter[str] = Counter()
    for number, (campaign, impressions, status, forfeited, marked, is_plain) in enumerate(found):
        tagged = oid(100 + number).tagged
        one = Participation(
            participation_id=oid(100 + number),
            campaign_id=oid(campaign),
            streamer_id=STREAMER,
            status=status,
            impressions=parse_count(impressions),
            forfeited=forfeited,
            marked_paid=marked,
            last_stream_at=NOW,
        )
        settled = Settled.ADOPTED if tagged in adopted else Settled.NOTHING
        terms = CAMPAIGNS.get(oid(campaign).tagged)
        decision = decide(ParticipationFacts(participation=one, campaign=terms, settled=settled), policy)
        if tagged in remarkable:
            continue
        # Whatever is due, cannot be read or was marked by others is looked at by itself, and so is what is special.
        assert is_plain and not marked and tagged not in special
        assert isinstance(decision, NotDue)
        if decision.reason is Reason.SETTLED_BEFORE_US:
            before += 1
            continue
        assert decision.reason in (
            Reason.BELOW_TARGET, Reason.CAMPAIGN_NOT_ACTIVE, Reason.PARTICIPATION_NOT_ACTIVE, Reason.FORFEITED
        )  # fmt: skip
        not_due += 1
        accrues = decision.reason is Reason.BELOW_TARGET and isinstance(one.impressions, int)
        if accrues and isinstance(terms, CampaignTerms) and terms.payment_type is PaymentType.CPM:
            assert isinstance(one.impressions, int)
            accrued[terms.campaign_id.tagged] += earnings(terms, one.impressions, policy.overdelivery).gross_minor
    assert (compared.not_due, compared.settled_before_us) == (not_due, before)
    assert compared.accrued_minor == +accrued


def test_what_accrued_beyond_int64_is_left_to_the_exact_path() -> None:
    found = [(7, 92_233_721, "active", False, False, True), (7, 1, "active", False, False, True)]
    policy = Policy(overdelivery=Overdelivery.PAY, rules=frozenset({Rule.IMPRESSIONS_TARGET_REACHED}))

    compared = compare(columns_of(found), ledger(), CAMPAIGNS, policy, cut=0)

    assert (compared.remarkable, compared.not_due) == ([oid(100).tagged], 1)


def test_plain_rows_below_their_target_are_cleared_and_do_not_all_go_the_long_way() -> None:
    policy = Policy(overdelivery=Overdelivery.CAP_AT_TARGET, rules=frozenset({Rule.IMPRESSIONS_TARGET_REACHED}))
    found = [(1, 1_999, "active", False, False, True), (1, 2_000, "active", False, False, True)]
    compared = compare(columns_of(found), ledger(), CAMPAIGNS, policy, cut=0)
    assert (compared.not_due, compared.remarkable) == (1, [oid(101).tagged])
    assert compared.accrued_minor == {oid(1).tagged: 329_835}
