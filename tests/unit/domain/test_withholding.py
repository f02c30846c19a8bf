"""Who is withheld: only those who reached their target, and only by what somebody decided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.domain.decision import NotDue, ParticipationFacts, Policy, PoolShare, Reason, Rule, Scope, decide
from reconciler.domain.earnings import Overdelivery
from reconciler.domain.withholding import BY_DECISION, reached_minor, withheld
from tests.support import decisions
from tests.support.decisions import CAP, PAY, campaign, participation

VOID = PoolShare(
    settlement_key="settlement:oid:ca:1", rule=Rule.CAMPAIGN_ENDED, share_minor=7, impressions=5, is_void=True
)
WHOLE = replace(CAP, scope=Scope.CAMPAIGN)
OFF = Policy(overdelivery=Overdelivery.CAP_AT_TARGET, rules=frozenset({Rule.CAMPAIGN_ENDED}))
NOTHING_ON = Policy(overdelivery=Overdelivery.CAP_AT_TARGET, rules=frozenset())


def facts(impressions: object = 2_500, status: str = "active", of_campaign: str = "active") -> ParticipationFacts:
    return decisions.facts(participation(impressions=impressions, status=status), campaign(status=of_campaign))


@pytest.mark.parametrize(
    ("of", "reason", "status"),
    [
        (facts(status="paused"), "participation_not_active", "paused"),
        (facts(status="left_early"), "participation_not_active", "left_early"),
        (facts(of_campaign="cancelled"), "campaign_not_active", "cancelled"),
        (facts(of_campaign="paused", status="removed"), "campaign_not_active", "paused"),
        (replace(facts(), participation=participation(impressions=2_500, earnings_forfeited=True)), "forfeited", ""),
    ],
)
def test_a_decision_keeps_what_was_reached_with_its_reason_and_word(
    of: ParticipationFacts, reason: str, status: str
) -> None:
    decision = decide(of, CAP)
    assert isinstance(decision, NotDue)

    kept = withheld(decision, of, CAP)

    assert kept is not None
    assert (kept.reason, kept.status, kept.currency, kept.gross_minor) == (reason, status, "INR", 330_000)


def test_below_target_nothing_is_withheld() -> None:
    of = facts(1_999, status="paused")
    decision = decide(of, CAP)

    assert isinstance(decision, NotDue)
    assert withheld(decision, of, CAP) is None


def test_it_is_what_would_be_paid_that_is_withheld() -> None:
    assert (reached_minor(facts(), CAP), reached_minor(facts(), PAY)) == (330_000, 412_500)
    assert reached_minor(replace(facts(10), pool=VOID), CAP) == 7
    assert reached_minor(facts("many"), CAP) is None
    assert reached_minor(facts(), WHOLE) is None
    assert reached_minor(replace(facts(), campaign=None), CAP) is None


@pytest.mark.parametrize("reason", sorted(set(Reason) - BY_DECISION - {Reason.BELOW_TARGET}))
def test_what_nobody_decided_is_never_withheld(reason: Reason) -> None:
    of = facts()

    assert withheld(NotDue(participation=of.participation, reason=reason), of, CAP) is None


def test_a_rule_that_is_off_withholds_only_while_another_one_will_settle() -> None:
    of = facts()
    kept = withheld(NotDue(participation=of.participation, reason=Reason.BELOW_TARGET), of, OFF)

    assert kept is not None
    assert kept.reason == "rule_off"
    assert withheld(NotDue(participation=of.participation, reason=Reason.BELOW_TARGET), of, NOTHING_ON) is None
