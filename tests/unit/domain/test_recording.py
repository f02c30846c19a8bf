"""Recording, as arithmetic: costs follow from the counter, milestones from an interval, refusals from an order."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.campaign import CampaignTerms, MalformedCampaign, PaymentType
from reconciler.domain.earnings import Overdelivery, earnings
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.parsing import IMPRESSIONS_MAX, FieldProblem, Unreadable
from reconciler.domain.participation import MalformedParticipation, Participation
from reconciler.domain.recording import (
    COUNT_MAX,
    Counters,
    MilestoneStep,
    Recorded,
    RecordingKind,
    RecordingPolicy,
    RecordingRefusal,
    RefusedReport,
    Subject,
    ViewerReport,
    accrued_minor,
    affordable_count,
    budget_drift_minor,
    cost_minor,
    needs_check,
    parse_milestones,
    reaches_milestone,
    record,
)

STEPS = (MilestoneStep(50, 1_000), MilestoneStep(100, 10_000), MilestoneStep(500, None))
POLICY = RecordingPolicy(milestones=STEPS)
ID = DocumentId(IdKind.STRING, "p")
TERMS = CampaignTerms(
    campaign_id=DocumentId(IdKind.STRING, "c"),
    brand_id=DocumentId(IdKind.STRING, "b"),
    status="active",
    payment_type=PaymentType.CPM,
    rate=Fraction(1650),
    budget_minor=3300_00,
    target_impressions=2000,
    currency="INR",
    cooloff_hours=720,
    end_date=None,
    cooloff_was_read=True,
)
FIXED = replace(TERMS, payment_type=PaymentType.FIXED)
ACTIVE = Participation(
    participation_id=ID,
    campaign_id=TERMS.campaign_id,
    streamer_id="s",
    status="active",
    impressions=0,
    forfeited=False,
    marked_paid=False,
)
SUBJECT = Subject(participation=ACTIVE, campaign=TERMS)
FRESH = Counters(impressions=0, clicks=0, remaining_minor=3300_00)
BROKEN = (FieldProblem(field="x", why="is missing"),)

cpm_terms = st.builds(
    lambda rate, budget, currency: replace(TERMS, rate=Fraction(rate, 10**9), budget_minor=budget, currency=currency),
    st.integers(1, 5 * 10**12),
    st.integers(1, 10**7),
    st.sampled_from(["INR", "JPY", "KWD"]),
)
counts = st.integers(1, COUNT_MAX)


def _impressions(count: int = 1) -> ViewerReport:
    return ViewerReport(token="t" * 24, kind=RecordingKind.IMPRESSION, count=count)


def _clicks(count: int = 1) -> ViewerReport:
    return ViewerReport(token="t" * 24, kind=RecordingKind.CLICK, count=count)


@given(terms=cpm_terms, start=st.integers(0, 10**9), counts=st.lists(counts, max_size=30))
def test_many_small_reports_cost_what_one_large_one_costs(terms: CampaignTerms, start: int, counts: list[int]) -> None:
    passed = [start]
    for count in counts:
        passed.append(passed[-1] + count)
    costs = [cost_minor(terms, before, after) for before, after in pairwise(passed)]

    assert sum(costs) == cost_minor(terms, start, passed[-1])
    assert all(cost >= 0 for cost in costs)


@given(terms=cpm_terms, impressions=st.integers(0, IMPRESSIONS_MAX))
def test_what_accrues_is_rounded_as_what_is_paid(terms: CampaignTerms, impressions: int) -> None:
    paid = earnings(terms, impressions, Overdelivery.PAY)
    assert accrued_minor(terms, impressions) == paid.gross_minor


def test_a_fraction_of_a_minor_unit_is_neither_lost_nor_charged_twice() -> None:
    terms = replace(TERMS, rate=Fraction(1, 2))  # a twentieth of a paisa each
    costs = [cost_minor(terms, n, n + 1) for n in range(100)]
    assert sum(costs) == 5
    assert max(costs) == 1
    assert costs.index(1) == 9


def test_the_reference_case_uses_its_budget_exactly() -> None:
    assert accrued_minor(TERMS, 2000) == 3300_00
    assert affordable_count(TERMS, 0, 3300_00) == 2000
    assert affordable_count(TERMS, 1990, 16_50) == 10
    assert affordable_count(TERMS, 2000, 0) == 0


@given(terms=cpm_terms, impressions=st.integers(0, 10**6), remaining=st.integers(0, 10**6))
def test_what_is_affordable_fits_and_one_more_does_not(terms: CampaignTerms, impressions: int, remaining: int) -> None:
    count = affordable_count(terms, impressions, remaining)
    assert cost_minor(terms, impressions, impressions + count) <= remaining
    assert cost_minor(terms, impressions, impressions + count + 1) > remaining


@given(terms=cpm_terms, reports=st.lists(st.tuples(st.integers(0, 2), st.booleans(), counts), max_size=40))
def test_budget_is_conserved_and_never_below_zero(terms: CampaignTerms, reports: list[tuple[int, bool, int]]) -> None:
    """Three participations share one budget, in whatever order."""
    subject = Subject(participation=ACTIVE, campaign=terms)
    remaining: int | Unreadable = terms.budget_minor
    members = [replace(FRESH, remaining_minor=remaining) for _ in range(3)]
    said = [0, 0, 0]
    for member, click, count in reports:
        before = replace(members[member], remaining_minor=remaining)
        report = _clicks(count) if click else _impressions(count)
        outcome, members[member] = record(subject, report, before, POLICY)
        remaining = members[member].remaining_minor
        assert isinstance(remaining, int)
        assert remaining >= 0
        if isinstance(outcome, Recorded):
            said[member] += 0 if click else count
            assert outcome.impressions == said[member]
        else:
            assert outcome.refusal is RecordingRefusal.BUDGET_EXHAUSTED
            assert outcome.affordable_count is not None
            assert outcome.affordable_count < count
            assert members[member] == before
    assert isinstance(remaining, int)
    assert budget_drift_minor(terms, remaining, said) == 0


def test_drift_says_which_side_is_short() -> None:
    assert budget_drift_minor(TERMS, 3300_00 - 1_65, [0]) == -1_65
    assert budget_drift_minor(TERMS, 3300_00, [1]) == 1_65
    assert budget_drift_minor(FIXED, 12, [1, 2, 3]) == 0


def test_a_report_that_costs_nothing_needs_nothing_left() -> None:
    terms = replace(TERMS, rate=Fraction(1, 2), budget_minor=1, target_impressions=20)
    subject = Subject(participation=ACTIVE, campaign=terms)
    outcome, counters = record(subject, _impressions(20), replace(FRESH, remaining_minor=1), POLICY)
    assert isinstance(outcome, Recorded)
    assert outcome.completed
    # 20 come to one paisa exactly, and so do the nine that follow.
    assert isinstance(record(subject, _impressions(9), counters, POLICY)[0], Recorded)
    assert isinstance(record(subject, _impressions(10), counters, POLICY)[0], RefusedReport)


def test_a_count_beyond_the_budget_is_refused_whole_and_told_what_fits() -> None:
    outcome, counters = record(SUBJECT, _impressions(10), replace(FRESH, remaining_minor=8_25), POLICY)
    assert outcome == RefusedReport(refusal=RecordingRefusal.BUDGET_EXHAUSTED, affordable_count=5)
    assert counters.impressions == 0


def test_fixed_impressions_are_free_and_look_at_no_budget() -> None:
    subject = Subject(participation=ACTIVE, campaign=FIXED)
    broken = replace(FRESH, remaining_minor=Unreadable("is missing"), estimate_problem=Unreadable("is text"))
    outcome, counters = record(subject, _impressions(7), broken, POLICY)
    assert isinstance(outcome, Recorded)
    assert counters == replace(broken, impressions=7)


def test_clicks_change_clicks_only_and_ask_for_no_check() -> None:
    outcome, counters = record(SUBJECT, _clicks(50), FRESH, POLICY)
    assert outcome == Recorded(participation_id=ID, impressions=0, clicks=50, remaining=2000, completed=False)
    assert counters == replace(FRESH, clicks=50)


def test_unreadable_clicks_stop_clicks_and_no_impression() -> None:
    broken = replace(FRESH, clicks=Unreadable("is missing"))
    refused, _ = record(SUBJECT, _clicks(), broken, POLICY)
    outcome, _ = record(SUBJECT, _impressions(), broken, POLICY)
    assert refused == RefusedReport(
        refusal=RecordingRefusal.PARTICIPATION_MALFORMED, problems=(FieldProblem(field="clicks", why="is missing"),)
    )
    assert isinstance(outcome, Recorded)
    assert outcome.clicks is None


def test_under_a_campaigns_target_an_own_one_is_not_told() -> None:
    policy = replace(POLICY, own_target=False)
    outcome, _ = record(SUBJECT, _impressions(1000), replace(FRESH, impressions=1000), policy)
    assert isinstance(outcome, Recorded)
    assert outcome.remaining is None
    assert not outcome.completed
    assert outcome.needs_check


MALFORMED_PARTICIPATION = MalformedParticipation(participation_id=ID, shown_id="p", problems=BROKEN)
MALFORMED_CAMPAIGN = MalformedCampaign(campaign_id=TERMS.campaign_id, status="active", problems=BROKEN)


@pytest.mark.parametrize(
    ("subject", "counters", "wanted"),
    [
        (
            Subject(participation=MALFORMED_PARTICIPATION, campaign=None),
            FRESH,
            RefusedReport(refusal=RecordingRefusal.PARTICIPATION_MALFORMED, problems=BROKEN),
        ),
        (
            Subject(participation=replace(ACTIVE, status="completed"), campaign=None),
            FRESH,
            RefusedReport(refusal=RecordingRefusal.PARTICIPATION_NOT_ACTIVE),
        ),
        (
            Subject(participation=replace(ACTIVE, status=None), campaign=TERMS),
            FRESH,
            RefusedReport(refusal=RecordingRefusal.PARTICIPATION_NOT_ACTIVE),
        ),
        (Subject(participation=ACTIVE, campaign=None), FRESH, RefusedReport(refusal=RecordingRefusal.CAMPAIGN_MISSING)),
        (
            Subject(participation=ACTIVE, campaign=replace(MALFORMED_CAMPAIGN, status="draft")),
            FRESH,
            RefusedReport(refusal=RecordingRefusal.CAMPAIGN_NOT_ACTIVE),
        ),
        (
            Subject(participation=ACTIVE, campaign=replace(TERMS, status="paused")),
            FRESH,
            RefusedReport(refusal=RecordingRefusal.CAMPAIGN_NOT_ACTIVE),
        ),
        (
            Subject(participation=ACTIVE, campaign=MALFORMED_CAMPAIGN),
            FRESH,
            RefusedReport(refusal=RecordingRefusal.CAMPAIGN_MALFORMED, problems=BROKEN),
        ),
        (
            Subject(participation=ACTIVE, campaign=replace(MALFORMED_CAMPAIGN, status=None)),
            FRESH,
            RefusedReport(refusal=RecordingRefusal.CAMPAIGN_MALFORMED, problems=BROKEN),
        ),
        (
            SUBJECT,
            replace(FRESH, impressions=Unreadable("is negative")),
            RefusedReport(
                refusal=RecordingRefusal.PARTICIPATION_MALFORMED,
                problems=(FieldProblem(field="impressions", why="is negative"),),
            ),
        ),
        (
            SUBJECT,
            replace(FRESH, impressions=IMPRESSIONS_MAX),
            RefusedReport(
                refusal=RecordingRefusal.PARTICIPATION_MALFORMED,
                problems=(FieldProblem(field="impressions", why=f"would be more than {IMPRESSIONS_MAX}"),),
            ),
        ),
        (
            SUBJECT,
            replace(FRESH, estimate_problem=Unreadable("is a dict, not a number")),
            RefusedReport(
                refusal=RecordingRefusal.PARTICIPATION_MALFORMED,
                problems=(FieldProblem(field="estimated_earnings", why="is a dict, not a number"),),
            ),
        ),
        (
            SUBJECT,
            replace(FRESH, remaining_minor=Unreadable("is missing")),
            RefusedReport(
                refusal=RecordingRefusal.CAMPAIGN_MALFORMED,
                problems=(FieldProblem(field="remaining_budget", why="is missing"),),
            ),
        ),
        (
            SUBJECT,
            replace(FRESH, remaining_minor=-5),
            RefusedReport(refusal=RecordingRefusal.BUDGET_EXHAUSTED, affordable_count=0),
        ),
    ],
)
def test_refusals_in_order_of_precedence(subject: Subject, counters: Counters, wanted: RefusedReport) -> None:
    assert record(subject, _impressions(), counters, POLICY) == (wanted, counters)


class TestMilestones:
    @pytest.mark.parametrize(
        ("before", "after", "reached"),
        [
            (0, 1, False),
            (49, 50, True),
            (50, 51, False),
            (99, 100, True),
            (999, 1000, True),
            (1000, 1050, False),
            (1049, 1099, False),
            (1099, 1100, True),
            (9_999, 10_000, True),
            (10_000, 10_100, False),
            (10_000, 10_499, False),
            (10_499, 10_500, True),
            (960, 1_040, True),
            (980, 1_120, True),
            (10_450, 11_449, True),
            (7, 7, False),
        ],
    )
    def test_table(self, before: int, after: int, *, reached: bool) -> None:
        assert reaches_milestone(before, after, STEPS) is reached

    @given(before=st.integers(0, 30_000), count=st.integers(0, COUNT_MAX))
    def test_agrees_with_looking_at_every_number(self, before: int, count: int) -> None:
        def is_milestone(n: int) -> bool:
            return n % (50 if n <= 1_000 else 100 if n <= 10_000 else 500) == 0

        wanted = any(is_milestone(n) for n in range(before + 1, before + count + 1))
        assert reaches_milestone(before, before + count, STEPS) is wanted

    @given(before=st.integers(0, 10**9), count=counts, target=st.integers(1, 10**9))
    def test_crossing_the_target_always_asks_for_a_check(self, before: int, count: int, target: int) -> None:
        after = before + count
        assert needs_check(before, after, target, ()) is (before < target <= after)
        assert needs_check(before, after, target, STEPS) is (
            before < target <= after or reaches_milestone(before, after, STEPS)
        )

    @given(
        before=st.integers(0, 20_000), counts=st.lists(counts, min_size=1, max_size=20), target=st.integers(1, 40_000)
    )
    def test_no_way_of_counting_skips_one(self, before: int, counts: list[int], target: int) -> None:
        passed = [before]
        for count in counts:
            passed.append(passed[-1] + count)
        each = any(needs_check(low, high, target, STEPS) for low, high in pairwise(passed))
        assert each is needs_check(before, passed[-1], target, STEPS)

    def test_reading(self) -> None:
        assert parse_milestones("50:1000, 100:10000, 500") == STEPS
        assert parse_milestones("7") == (MilestoneStep(7, None),)
        assert parse_milestones("7:70") == (MilestoneStep(7, 70),)
        assert parse_milestones("  ") == ()

    @pytest.mark.parametrize(
        "text", ["0", "50:", "a", "50:1000:3", "-5", "5,,6", "50,100", "50:1000,100:1000", "5.5", "٣", "1" * 40]
    )
    def test_refusing(self, text: str) -> None:
        assert isinstance(parse_milestones(text), Unreadable)


@pytest.mark.parametrize("count", [0, -1, COUNT_MAX + 1])
def test_a_report_counts_within_limits(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        _impressions(count)


def test_neither_token_nor_key_shows() -> None:
    report = ViewerReport(token="the-token-itself", kind=RecordingKind.CLICK, key="the-key-itself")
    assert "itself" not in repr(report)
