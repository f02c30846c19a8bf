"""Facts and decisions of the reference case (rate 1650, budget 3300, target 2000), changed where a test says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from reconciler.domain.campaign import Campaign, CampaignDefaults, CampaignTerms, parse_campaign
from reconciler.domain.decision import Due, ParticipationFacts, Policy, Rule, Settled, decide
from reconciler.domain.earnings import Overdelivery
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.participation import Participation, parse_participation

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEFAULTS = CampaignDefaults(currency="INR", fixed_impressions_per_unit=1000)
CAP = Policy(overdelivery=Overdelivery.CAP_AT_TARGET, rules=frozenset(Rule))
PAY = Policy(overdelivery=Overdelivery.PAY, rules=frozenset(Rule))


def oid(number: int) -> DocumentId:
    return DocumentId(IdKind.OBJECT_ID, f"{number:024x}")


CAMPAIGN_ID = oid(0xCA)
BRAND_ID = oid(0xB0)


class Absent:
    """The value of a field that a record is to lack."""


def campaign_record(**changes: object) -> dict[str, object]:
    record: dict[str, object] = {
        "brand_id": BRAND_ID,
        "status": "active",
        "payment_type": "cpm",
        "payment_rate": 1650,
        "budget": 3300,
    }
    return _without_absent(record | changes)


def campaign(campaign_id: DocumentId = CAMPAIGN_ID, /, **changes: object) -> Campaign:
    return parse_campaign(campaign_id, campaign_record(**changes), DEFAULTS)


def terms(campaign_id: DocumentId = CAMPAIGN_ID, /, **changes: object) -> CampaignTerms:
    parsed = campaign(campaign_id, **changes)
    assert isinstance(parsed, CampaignTerms), parsed
    return parsed


def participation_record(**changes: object) -> dict[str, object]:
    record: dict[str, object] = {
        "id": oid(1),
        "campaign_id": CAMPAIGN_ID,
        "streamer_id": oid(0x51),
        "status": "active",
        "impressions": 2000,
    }
    return _without_absent(record | changes)


def participation(**changes: object) -> Participation:
    parsed = parse_participation(participation_record(**changes))
    assert isinstance(parsed, Participation), parsed
    return parsed


def facts(participation: Participation, campaign: Campaign | None) -> ParticipationFacts:
    return ParticipationFacts(participation=participation, campaign=campaign, settled=Settled.NOTHING)


def due(participation: Participation, terms: CampaignTerms, policy: Policy = CAP) -> Due:
    decision = decide(facts(participation, terms), policy)
    assert isinstance(decision, Due), decision
    return decision


def request(
    number: int, terms: CampaignTerms, *, streamer: int | None = None, facts_at: datetime = NOW, n: int = 1
) -> PayoutRequest:
    """To pay participation ``number`` of the campaign; its streamer has the same number unless given."""
    reached = participation(
        id=oid(number),
        campaign_id=terms.campaign_id,
        streamer_id=oid(number if streamer is None else streamer),
        impressions=terms.target_impressions,
    )
    return PayoutRequest(due=due(reached, terms), facts_at=facts_at, n=n)


def of_amount(asked: PayoutRequest, gross_minor: int) -> PayoutRequest:
    """The same request for another amount: where it comes from makes no difference to what fits."""
    return replace(asked, due=replace(asked.due, earned=replace(asked.due.earned, gross_minor=gross_minor)))


def _without_absent(record: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in record.items() if value is not Absent}
