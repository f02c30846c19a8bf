"""Who is not paid: which part of the whole each is, and what a person has to be told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from jobs.check.tally import Tally, key_of, words_of
from reconciler.domain.breaks import Break, BreakKind
from reconciler.domain.campaign import STATUSES, CampaignTerms, MalformedCampaign, PaymentType
from reconciler.domain.decision import NotDue, ParticipationFacts, Policy, Reason, shown_word
from reconciler.domain.earnings import earnings
from reconciler.domain.money import format_minor
from reconciler.domain.participation import STATUSES_THAT_PAY, MalformedParticipation, Participation
from reconciler.domain.stranding import STATUSES_OVER
from reconciler.domain.withholding import reached_minor, withheld

WORDS_NAMED_MAX = 50
"""Unknown status words that get a break each; the rarer ones share one."""

_PART_OF_REASON = {
    Reason.BELOW_TARGET: "not_due",
    Reason.CAMPAIGN_NOT_ACTIVE: "not_due",
    Reason.PARTICIPATION_NOT_ACTIVE: "not_due",
    Reason.FORFEITED: "not_due",
    Reason.REVERSED: "not_due",
    Reason.REJECTED_BY_PERSON: "not_due",
    Reason.SETTLED_BEFORE_US: "settled_before_us",
    Reason.POOL_INCOMPLETE: "held",
    Reason.POOL_SETTLED: "not_due",
    Reason.MALFORMED: "malformed",
    Reason.OVER_BUDGET: "held",
}
"""Every other reason is a disagreement: the participation is ``broken``."""

_BREAK_OF_REASON = {
    Reason.MARKED_PAID_ELSEWHERE: BreakKind.MARKED_PAID_ELSEWHERE,
    Reason.CAMPAIGN_MISSING: BreakKind.CAMPAIGN_MISSING,
    Reason.DUPLICATE_PARTICIPATION: BreakKind.DUPLICATE_PARTICIPATION,
    Reason.CURRENCY_CHANGED: BreakKind.DUE_BUT_INELIGIBLE,
    Reason.POOL_MEMBER_CHANGED: BreakKind.DUE_BUT_INELIGIBLE,
}
_INELIGIBLE = (Reason.PARTICIPATION_NOT_ACTIVE, Reason.CAMPAIGN_NOT_ACTIVE)


def count_not_due(checked: Tally, decision: NotDue, facts: ParticipationFacts, policy: Policy) -> None:
    """Count one that is not to be paid, and name what a person has to know of it."""
    pool, kind = facts.pool, _BREAK_OF_REASON.get(decision.reason)
    keeps_a_share = pool is not None and pool.share_minor is not None and not pool.is_void
    if decision.reason in _INELIGIBLE and keeps_a_share:
        _count_unpaid_share(checked, decision, facts)
    elif kind is not None:
        checked.parts["broken"] += 1
        checked.breaks.append(_about(decision.participation, kind, decision.reason.value, decision.detail))
    elif decision.reason is Reason.STATUS_UNKNOWN:
        _count_unknown(checked, facts, policy)
    elif decision.participation.problems or (decision.reason is Reason.MALFORMED and _is_its_own(decision)):
        problems = decision.problems or decision.participation.problems
        count_malformed(checked, decision.participation, "; ".join(map(str, problems)))
    elif isinstance(facts.campaign, MalformedCampaign) and facts.participation.impressions != 0:
        # Whatever stands in the way: without terms nobody can say that its target is not reached.
        checked.parts["malformed"] += 1
        checked.breaks.append(break_of_campaign(facts.campaign))
    else:
        _count_in_order(checked, decision, facts, policy)


def _count_in_order(checked: Tally, decision: NotDue, facts: ParticipationFacts, policy: Policy) -> None:
    kept = withheld(decision, facts, policy)
    if kept is None:
        checked.parts[_PART_OF_REASON.get(decision.reason, "broken")] += 1
        _count_accrued(checked, decision, facts, policy)
        return
    key = key_of(kept.reason, kept.status, kept.currency)
    checked.parts["withheld"] += 1
    checked.withheld_count[key] += 1
    checked.withheld_minor[key] += kept.gross_minor


def count_malformed(checked: Tally, participation: Participation, why: str = "") -> None:
    """Count one of which a field cannot be read, whatever else is known of it."""
    checked.parts["malformed"] += 1
    detail = why or "; ".join(map(str, participation.problems))
    checked.breaks.append(_about(participation, BreakKind.MALFORMED, "participation", detail))


def count_unreadable(checked: Tally, malformed: MalformedParticipation) -> None:
    """Count one that cannot even be tied to a campaign and a streamer."""
    checked.parts["malformed"] += 1
    checked.breaks.append(
        Break(
            kind=BreakKind.MALFORMED,
            reason="participation",
            participation_id=malformed.shown_id,
            detail="; ".join(map(str, malformed.problems)),
        )
    )


def break_of_campaign(campaign: MalformedCampaign) -> Break:
    """A campaign whose terms cannot be read: one break, however many take part in it."""
    return Break(
        kind=BreakKind.MALFORMED,
        reason="campaign",
        campaign_id=str(campaign.campaign_id),
        detail="; ".join(map(str, campaign.problems)),
    )


def breaks_of_statuses(tally: Tally, campaigns: Mapping[str, int]) -> list[Break]:
    """A break for each status that is not known. ``campaigns``: word, as it is shown → campaigns that have it."""
    counts = Counter(tally.unknown_count)
    counts.update({key_of("campaign", word): 0 for word in campaigns})
    weights = {key: counts[key] + campaigns.get(words_of(key)[1], 0) for key in counts}
    keys = sorted(counts, key=lambda key: (-weights[key], key))
    named, rest = keys[:WORDS_NAMED_MAX], keys[WORDS_NAMED_MAX:]
    found = [_break_of_status(tally, [key], campaigns) for key in named]
    return [*found, _break_of_status(tally, rest, campaigns)] if rest else found


def _break_of_status(tally: Tally, keys: list[str], campaigns: Mapping[str, int]) -> Break:
    sides = [words_of(key) for key in keys]
    word = f"{sides[0][0]} {sides[0][1]}" if len(keys) == 1 else "others"
    count, reached = (sum(of[key] for key in keys) for of in (tally.unknown_count, tally.unknown_reached))
    of_campaigns = sum(campaigns.get(word, 0) for side, word in sides if side == "campaign")
    minor: Counter[str] = Counter()
    for key, amount in tally.unknown_minor.items():
        *side, currency = words_of(key)
        minor[currency] += amount if side in sides else 0
    shown = [f"{format_minor(amount, currency)} {currency}" for currency, amount in sorted(minor.items()) if amount]
    told = [f"{of_campaigns} campaigns have it"] if of_campaigns else []
    told += [f"{count} unpaid participations {'are in them' if of_campaigns else 'have it'}"] if count else []
    how_much = " and ".join(shown) or "nobody knows how much"
    told += [f"{reached} of them at or past target: {how_much}"] if reached else []
    only = next(iter(+minor)) if len(+minor) == 1 else ""
    return Break(
        kind=BreakKind.STATUS_UNKNOWN,
        reason=word,
        currency=only,
        expected_minor=minor[only] if only else None,
        actual_minor=0 if only else None,
        detail=f"the status {', '.join(word for _, word in sides[:10])} is not known: {', '.join(told)}",
        is_worse=reached > 0,
    )


def _count_unknown(checked: Tally, facts: ParticipationFacts, policy: Policy) -> None:
    participation, campaign = facts.participation, facts.campaign
    assert campaign is not None
    side, word = "participation", participation.status or ""
    if campaign.status is not None and campaign.status not in STATUSES:
        side, word = "campaign", campaign.status
    key = key_of(side, shown_word(word))
    checked.parts["broken"] += 1
    checked.unknown_count[key] += 1
    gross_minor = reached_minor(facts, policy)
    if isinstance(campaign, CampaignTerms) and gross_minor is not None:
        checked.unknown_reached[key] += 1
        checked.unknown_minor[key_of(side, shown_word(word), campaign.currency)] += gross_minor
    elif participation.problems or (isinstance(campaign, MalformedCampaign) and participation.impressions != 0):
        # Nobody can say, so nobody may say that it is below its target.
        checked.unknown_reached[key] += 1


def _count_accrued(checked: Tally, decision: NotDue, facts: ParticipationFacts, policy: Policy) -> None:
    terms, impressions = facts.campaign, facts.participation.impressions
    if not isinstance(terms, CampaignTerms) or not _accrues(decision, facts, terms):
        return
    is_reached = reached_minor(facts, policy) is not None
    if isinstance(impressions, int) and (terms.payment_type is PaymentType.CPM or is_reached):
        campaign_id = facts.participation.campaign_id.tagged
        checked.accrued_minor[campaign_id] += earnings(terms, impressions, policy.overdelivery).gross_minor
        checked.accrued_count[campaign_id] += 1
        checked.accrued_impressions[campaign_id] += impressions
        checked.reached_count[campaign_id] += is_reached


def _accrues(decision: NotDue, facts: ParticipationFacts, terms: CampaignTerms) -> bool:
    """Whether impressions may still be paid one day, or would have been had the campaign not been called off."""
    if decision.reason is Reason.BELOW_TARGET:
        return True
    takes_part = facts.participation.status in STATUSES_THAT_PAY and not facts.participation.forfeited
    return decision.reason is Reason.CAMPAIGN_NOT_ACTIVE and terms.status in STATUSES_OVER and takes_part


def _count_unpaid_share(checked: Tally, decision: NotDue, facts: ParticipationFacts) -> None:
    """A frozen share waits behind a status that does not pay: only forfeiture makes it void."""
    pool = facts.pool
    assert pool is not None
    detail = f"a share of {pool.share_minor} minor units in {pool.settlement_key} is unpaid: {decision.detail}"
    checked.parts["broken"] += 1
    checked.breaks.append(_about(decision.participation, BreakKind.DUE_BUT_INELIGIBLE, decision.reason.value, detail))


def _is_its_own(decision: NotDue) -> bool:
    return decision.problems_in == "participation"


def _about(participation: Participation, kind: BreakKind, reason: str, detail: str) -> Break:
    return Break(
        kind=kind,
        reason=reason,
        participation_id=str(participation.participation_id),
        campaign_id=str(participation.campaign_id),
        streamer_id=participation.streamer_id,
        detail=detail,
    )
