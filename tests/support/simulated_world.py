"""A small world for the ledger's machine: campaigns whose documents change, and what a reader would ask to be paid.

Amounts are computed here by DOMAIN.md 3 in plain fractions, and only handed to the product, never taken from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.decision import Due, ParticipationFacts, Policy, Rule, Scope, Settled
from reconciler.domain.earnings import Earnings, Overdelivery
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.participation import Participation
from reconciler.domain.settlement import PoolDue, PoolFacts, decide_pool

BEGUN = datetime(2026, 3, 1, 12, 0, 0, 125_000, tzinfo=UTC)
BRAND = "str:brand"
DIGITS = {"INR": 2, "JPY": 0, "KWD": 3}
"""Of ISO 4217, by hand: the product reads them from a package."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """What never changes of a campaign's document."""

    tagged: str
    payment_type: PaymentType
    rate: Fraction
    target: int
    currency: str

    def __repr__(self) -> str:
        return self.tagged

    def gross_minor(self, impressions: int, currency: str) -> int:
        """What a participation with so many impressions earns; what is over the target is paid too."""
        major = self.rate if self.payment_type is PaymentType.FIXED else self.rate * impressions / 1000
        return half_up(major * 10 ** DIGITS[currency])


@dataclass(frozen=True, slots=True)
class Member:
    """A participation: who takes part where."""

    tagged: str
    campaign: Campaign
    streamer_id: str

    def __repr__(self) -> str:
        return self.tagged


RUPEES = Campaign("str:rupees", PaymentType.CPM, Fraction(1650), 2000, "INR")
YEN = Campaign("oid:64b0000000000000000000c1", PaymentType.CPM, Fraction("1234.567891"), 777, "JPY")
DINARS = Campaign("str:dinars", PaymentType.FIXED, Fraction("12.345"), 100, "KWD")
CAMPAIGNS = (RUPEES, YEN, DINARS)


def _members(campaign: Campaign, letter: str) -> tuple[Member, ...]:
    """Three streamers, whom all campaigns share, and the first of them a second time."""
    return (
        Member(f"str:{letter}-one", campaign, "streamer-1"),
        Member(f"oid:64b00000000000000000{ord(letter):02x}02", campaign, "streamer-2"),
        Member(f"str:{letter}-three", campaign, "streamer-3"),
        Member(f"str:{letter}-again", campaign, "streamer-1"),
    )


MEMBERS = (*_members(RUPEES, "r"), *_members(YEN, "y"), *_members(DINARS, "d"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A wish to be paid, as data: the product gets it as a request, the bookkeeper reads it as it is."""

    member: Member
    impressions: int
    gross_minor: int
    fee_bps: int
    currency: str
    budget_minor: int
    facts_at: datetime
    n: int = 1
    decision_key: str | None = None
    settlement_key: str | None = None

    @property
    def key(self) -> str:
        return f"payout:{self.member.tagged}:{self.n}"

    @property
    def fee_minor(self) -> int:
        return half_up(Fraction(self.gross_minor * self.fee_bps, 10_000))


@dataclass(slots=True)
class World:
    """The documents, with their history: facts read at a time show what stood there at that time."""

    history: dict[str, list[tuple[datetime, int, str]]] = field(default_factory=dict)
    """Tagged campaign → (since, budget in minor units, currency), in order of time."""

    def write(self, campaign: Campaign, now: datetime, budget_minor: int, currency: str) -> None:
        self.history.setdefault(campaign.tagged, []).append((now, budget_minor, currency))

    def read(self, campaign: Campaign, at: datetime) -> tuple[int, str]:
        """Budget and currency as they stood."""
        known = [(budget, currency) for since, budget, currency in self.history[campaign.tagged] if since <= at]
        return known[-1] if known else self.history[campaign.tagged][0][1:]

    def ask(self, member: Member, *, over: int, facts_at: datetime, fee_bps: int) -> Ask:
        """To be paid for the target and ``over`` impressions more."""
        budget_minor, currency = self.read(member.campaign, facts_at)
        impressions = member.campaign.target + over
        return Ask(
            member=member,
            impressions=impressions,
            gross_minor=member.campaign.gross_minor(impressions, currency),
            fee_bps=fee_bps,
            currency=currency,
            budget_minor=budget_minor,
            facts_at=facts_at,
        )


def terms_of(campaign: Campaign, budget_minor: int, currency: str) -> CampaignTerms:
    return CampaignTerms(
        campaign_id=DocumentId.from_tagged(campaign.tagged),
        brand_id=DocumentId.from_tagged(BRAND),
        status="active",
        payment_type=campaign.payment_type,
        rate=campaign.rate,
        budget_minor=budget_minor,
        target_impressions=campaign.target,
        currency=currency,
        cooloff_hours=720,
        end_date=None,
        cooloff_was_read=True,
    )


def participation_of(member: Member, impressions: int) -> Participation:
    return Participation(
        participation_id=DocumentId.from_tagged(member.tagged),
        campaign_id=DocumentId.from_tagged(member.campaign.tagged),
        streamer_id=member.streamer_id,
        status="active",
        impressions=impressions,
        forfeited=False,
        marked_paid=False,
    )


def request_of(ask: Ask) -> PayoutRequest:
    """The product's form of it."""
    rounding = "half_up" if ask.member.campaign.payment_type is PaymentType.CPM else "none"
    due = Due(
        participation=participation_of(ask.member, ask.impressions),
        terms=terms_of(ask.member.campaign, ask.budget_minor, ask.currency),
        impressions=ask.impressions,
        earned=Earnings(
            gross_minor=ask.gross_minor,
            impressions_paid=ask.impressions,
            rounding="largest_remainder" if ask.settlement_key else rounding,
        ),
        overdelivery=Overdelivery.PAY,
        rule=Rule.IMPRESSIONS_TARGET_REACHED,
        fee_bps=ask.fee_bps,
        settlement_key=ask.settlement_key,
    )
    return PayoutRequest(due=due, facts_at=ask.facts_at, n=ask.n, decision_key=ask.decision_key)


def pool_of(campaign: Campaign, counts: dict[Member, int], budget_minor: int, currency: str) -> PoolDue:
    """The product's decision to settle a campaign whose members have so many impressions each."""
    terms = terms_of(campaign, budget_minor, currency)
    facts = PoolFacts(
        terms=terms,
        members=[
            ParticipationFacts(participation=participation_of(member, count), campaign=terms, settled=Settled.NOTHING)
            for member, count in counts.items()
        ],
        paid_minor=0,
        now=BEGUN + timedelta(days=1),
    )
    policy = Policy(overdelivery=Overdelivery.PAY, rules=frozenset(Rule), scope=Scope.CAMPAIGN)
    due = decide_pool(facts, policy)
    assert isinstance(due, PoolDue), due
    return due


def shares_of(campaign: Campaign, counts: dict[Member, int], currency: str) -> dict[str, int]:
    """Hamilton's method by hand: floors, and the rest one by one to the largest remainders, ties by identity."""
    total = sum(counts.values())
    pool_minor = campaign.gross_minor(total, currency)
    exact = {member.tagged: Fraction(pool_minor * count, total) for member, count in counts.items()}
    shares = {tagged: int(share) for tagged, share in exact.items()}
    in_turn = sorted(exact, key=lambda tagged: (shares[tagged] - exact[tagged], turn(tagged)))
    for tagged in in_turn[: pool_minor - sum(shares.values())]:
        shares[tagged] += 1
    return shares


def turn(tagged: str) -> tuple[bool, str]:
    """MongoDB's order of ``_id``: texts before ObjectIds."""
    return tagged.startswith("oid:"), tagged


def half_up(amount: Fraction) -> int:
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)
