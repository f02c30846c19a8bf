"""Which part of the whole each participation is, and which break it makes: every reason and every outcome."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.domain.batch import HELD, Outcome
from reconciler.domain.breaks import BreakKind
from reconciler.domain.decision import (
    Due,
    NotDue,
    ParticipationFacts,
    Policy,
    PoolShare,
    Reason,
    Rule,
    Settled,
    decide,
)
from reconciler.domain.earnings import Overdelivery
from reconciler.domain.judging import (
    Judgement,
    Part,
    judge_held,
    judge_malformed,
    judge_not_due,
    judge_outcome,
    judge_unreadable,
)
from reconciler.domain.participation import MalformedParticipation, parse_participation
from tests.support import decisions
from tests.support.decisions import CAP, campaign, participation

GROSS_MINOR = 330_000
SHARE = PoolShare(
    settlement_key="settlement:oid:ca:1", rule=Rule.CAMPAIGN_ENDED, share_minor=GROSS_MINOR, impressions=2_000
)
NO_MEMBER = replace(SHARE, share_minor=None, impressions=0)
OFF = Policy(overdelivery=Overdelivery.CAP_AT_TARGET, rules=frozenset({Rule.CAMPAIGN_ENDED}))


def facts(of_campaign: dict[str, object] | None = None, **of_participation: object) -> ParticipationFacts:
    return decisions.facts(participation(**({"impressions": 2_500} | of_participation)), campaign(**of_campaign or {}))


def judged(of: ParticipationFacts, policy: Policy = CAP) -> Judgement:
    decision = decide(of, policy)
    assert isinstance(decision, NotDue)
    return judge_not_due(decision, of, policy)


def due() -> Due:
    decision = decide(facts(), CAP)
    assert isinstance(decision, Due)
    return decision


@pytest.mark.parametrize(
    ("of", "part", "found"),
    [
        (facts(impressions=1_999), Part.NOT_DUE, None),
        (replace(facts(), settled=Settled.ADOPTED), Part.SETTLED_BEFORE_US, None),
        (facts(impressions=5, status="removed"), Part.NOT_DUE, None),
        (facts({"status": "paused"}, impressions=5), Part.NOT_DUE, None),
        (facts(impressions=5, earnings_forfeited=True), Part.NOT_DUE, None),
        (replace(facts(impressions=5), settled=Settled.REVERSED), Part.NOT_DUE, None),
        (replace(facts(), settled=Settled.REJECTED), Part.WITHHELD, None),
        (facts(status="removed"), Part.WITHHELD, None),
        (facts({"status": "cancelled"}), Part.WITHHELD, None),
        (facts(earnings_forfeited=True), Part.WITHHELD, None),
        (replace(facts(), settled=Settled.REVERSED), Part.WITHHELD, None),
        (replace(facts(), pool=NO_MEMBER), Part.WITHHELD, None),
        (replace(facts(), credited_elsewhere=True), Part.BROKEN, BreakKind.MARKED_PAID_ELSEWHERE),
        (facts(final_earnings_transferred=True), Part.BROKEN, BreakKind.MARKED_PAID_ELSEWHERE),
        (replace(facts(), campaign=None), Part.BROKEN, BreakKind.CAMPAIGN_MISSING),
        (replace(facts(), streamer_paid_for="oid:2"), Part.BROKEN, BreakKind.DUPLICATE_PARTICIPATION),
        (replace(facts(), pinned_currency="USD"), Part.BROKEN, BreakKind.DUE_BUT_INELIGIBLE),
        (replace(facts(), pool=replace(SHARE, frozen_for=("oid:x", "y"))), Part.BROKEN, BreakKind.DUE_BUT_INELIGIBLE),
        (facts(impressions="many"), Part.MALFORMED, BreakKind.MALFORMED),
        (facts({"budget": None}), Part.MALFORMED, BreakKind.MALFORMED),
    ],
)
def test_each_obstacle_has_its_part_and_its_break(of: ParticipationFacts, part: Part, found: BreakKind | None) -> None:
    judgement = judged(of)

    assert judgement.part is part
    assert [one.kind for one in judgement.breaks] == ([] if found is None else [found])
    assert judgement.due is None, "what is not to be paid adds nothing to what is due"
    if judgement.withheld is not None:
        assert judgement.withheld.gross_minor == GROSS_MINOR


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_judged(reason: Reason) -> None:
    of = facts(impressions=5)

    judgement = judge_not_due(NotDue(participation=of.participation, reason=reason), of, CAP)

    assert judgement.part is not None


@pytest.mark.parametrize("of", [facts(status="paused"), facts({"status": "paused"})], ids=["participation", "campaign"])
def test_a_frozen_share_behind_a_status_is_ineligible_and_a_void_one_is_not(of: ParticipationFacts) -> None:
    [found] = judged(replace(of, pool=SHARE)).breaks

    assert found.kind is BreakKind.DUE_BUT_INELIGIBLE
    assert found.detail.startswith(f"a share of {GROSS_MINOR} minor units in {SHARE.settlement_key} is unpaid")
    assert judged(replace(of, pool=replace(SHARE, is_void=True))).breaks == ()


@pytest.mark.parametrize(
    ("of", "side", "is_reached", "gross_minor"),
    [
        (facts(status="Active"), "participation", True, GROSS_MINOR),
        (facts(status="Active", impressions=5), "participation", False, 0),
        (facts(status="Active", impressions="many"), "participation", True, 0),
        (facts({"status": "live"}), "campaign", True, GROSS_MINOR),
        (facts({"status": "live", "budget": None}), "campaign", True, 0),
        (facts({"status": "live", "budget": None}, impressions=0), "campaign", False, 0),
    ],
)
def test_an_unknown_status_says_whether_money_hangs_on_it(
    of: ParticipationFacts, side: str, is_reached: bool, gross_minor: int
) -> None:
    judgement = judged(of)

    assert judgement.part is Part.BROKEN
    assert judgement.breaks == (), "a word is one break, however many have it"
    assert judgement.unknown is not None
    assert (judgement.unknown.side, judgement.unknown.is_reached) == (side, is_reached)
    assert judgement.unknown.gross_minor == gross_minor


@pytest.mark.parametrize(
    ("of", "policy", "accrued"),
    [
        (facts(impressions=1_000), CAP, (165_000, 1_000, False)),
        (facts(), Policy(overdelivery=Overdelivery.CAP_AT_TARGET, rules=frozenset()), (GROSS_MINOR, 2_500, True)),
        (facts({"status": "cancelled"}, impressions=1_000), CAP, (165_000, 1_000, False)),
        (facts({"status": "cancelled"}, impressions=1_000, status="removed"), CAP, None),
        (facts({"status": "paused"}, impressions=1_000), CAP, None),
        (facts({"payment_type": "fixed"}, impressions=1_000), CAP, None),
    ],
)
def test_what_may_still_be_paid_one_day_accrues(
    of: ParticipationFacts, policy: Policy, accrued: tuple[int, int, bool] | None
) -> None:
    found = judged(of, policy).accrual

    assert (found and (found.minor, found.impressions, found.is_reached)) == accrued


def test_a_rule_that_is_off_withholds_where_another_one_settles() -> None:
    kept = judged(facts(), OFF).withheld

    assert kept is not None
    assert (kept.reason, kept.gross_minor) == ("rule_off", GROSS_MINOR)


@pytest.mark.parametrize(
    ("outcome", "part", "found"),
    [
        (Outcome.EXISTS, None, None),
        (Outcome.REJECTED_BY_PERSON, Part.NOT_DUE, None),
        (Outcome.SETTLED_BEFORE_US, Part.SETTLED_BEFORE_US, None),
        (Outcome.EXISTS_DIFFERENT, Part.BROKEN, BreakKind.EXISTS_DIFFERENT),
        (Outcome.DUPLICATE_PARTICIPATION, Part.BROKEN, BreakKind.DUPLICATE_PARTICIPATION),
        (Outcome.CURRENCY_CHANGED, Part.BROKEN, BreakKind.DUE_BUT_INELIGIBLE),
        (Outcome.POOL_MEMBER_CHANGED, Part.BROKEN, BreakKind.DUE_BUT_INELIGIBLE),
        *((one, Part.HELD, BreakKind.HELD) for one in sorted(HELD)),
    ],
)
@pytest.mark.parametrize("pays", [True, False])
def test_each_outcome_has_its_part_and_its_break(
    outcome: Outcome, part: Part | None, found: BreakKind | None, pays: bool
) -> None:
    judgement = judge_outcome(due(), outcome, pays=pays)

    assert judgement.part is part
    assert [(one.kind, one.reason) for one in judgement.breaks] == ([] if found is None else [(found, outcome.value)])
    assert (judgement.due is None) is (found is None), "what stays unpaid and due explains a difference"


@pytest.mark.parametrize(("pays", "part", "actual_minor"), [(True, None, GROSS_MINOR), (False, Part.BROKEN, 0)])
def test_what_the_check_pays_is_repaired_and_what_it_rehearses_is_not(
    pays: bool, part: Part | None, actual_minor: int
) -> None:
    judgement = judge_outcome(due(), Outcome.NEW, pays=pays)
    [found] = judgement.breaks

    assert (judgement.part, found.kind, found.repaired) == (part, BreakKind.DUE_BUT_UNPAID, pays)
    assert (found.expected_minor, found.actual_minor) == (GROSS_MINOR, actual_minor)
    assert (judgement.due is None) is pays


def test_every_outcome_but_the_stale_one_is_judged() -> None:
    for outcome in set(Outcome) - {Outcome.STALE}:
        judge_outcome(due(), outcome, pays=True)
    with pytest.raises(KeyError):
        judge_outcome(due(), Outcome.STALE, pays=True)


def test_held_and_malformed_are_named_with_what_keeps_them() -> None:
    held = judge_held(due(), "over_budget")
    assert (held.part, held.breaks[0].reason, held.breaks[0].expected_minor) == (Part.HELD, "over_budget", GROSS_MINOR)

    unread = participation(impressions="many")
    assert judge_malformed(unread).breaks[0].detail == "; ".join(map(str, unread.problems))


def test_a_document_without_a_usable_identity_is_named_as_it_is_shown() -> None:
    unreadable = parse_participation({})
    assert isinstance(unreadable, MalformedParticipation)

    judgement = judge_unreadable(unreadable)

    assert judgement.part is Part.MALFORMED
    assert judgement.breaks[0].participation_id == unreadable.shown_id
