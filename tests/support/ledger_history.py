"""A ledger with a history: payouts, releases, reversals, refunds, each booked at a time that the test sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from sqlalchemy.engine import Engine

from reconciler.domain.batch import PostingRules
from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.decision import Due, ParticipationFacts, Policy, Rule, Scope, Settled
from reconciler.domain.earnings import Earnings, Overdelivery, earnings
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.money import minor_per_major
from reconciler.domain.participation import Participation
from reconciler.domain.settlement import PoolDue, PoolFacts, decide_pool
from reconciler.ledger.journal.decisions import Adjustment, Decisions, Signature
from reconciler.ledger.journal.escrows import Treasury
from reconciler.ledger.journal.posting import SqlJournal
from reconciler.ports.journal import BatchStamp, Posted, PostingBatch
from reconciler.ports.refunds import Escrow, Refund
from tests.support.ledger import ToldClock

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
SIGNED = Signature(by="asha", reason="counted twice")
FULL = 330_000
"""What the reference case earns, in paise: rate 1650, target 2,000."""


def text_id(text: str) -> DocumentId:
    """``oid:…`` as it says; every other text is a string identity."""
    return DocumentId.from_tagged(text) if text.startswith("oid:") else DocumentId(IdKind.STRING, text)


def terms_of(campaign: str = "c1", *, brand: str = "b1", budget: int = 33_000, currency: str = "INR") -> CampaignTerms:
    """The reference case: cpm, rate 1650, target 2,000; the budget in major units."""
    return CampaignTerms(
        campaign_id=text_id(campaign),
        brand_id=text_id(brand),
        status="active",
        payment_type=PaymentType.CPM,
        rate=Fraction(1650),
        budget_minor=budget * minor_per_major(currency),
        target_impressions=2000,
        currency=currency,
        cooloff_hours=720,
        cooloff_was_read=True,
        end_date=None,
    )


def member(participation: str, streamer: str, campaign: str = "c1", impressions: int = 2000) -> Participation:
    """An active participation."""
    return Participation(
        participation_id=text_id(participation),
        campaign_id=text_id(campaign),
        streamer_id=streamer,
        status="active",
        impressions=impressions,
        forfeited=False,
        marked_paid=False,
    )


@dataclass(kw_only=True)
class LedgerHistory:
    """Posts through the real journal and people's real decisions, by a clock that stands still until it is moved."""

    engine: Engine
    now: datetime = START
    hold_days: int = 0
    approval_threshold_minor: dict[str, int] = field(default_factory=dict)

    @property
    def rules(self) -> PostingRules:
        return PostingRules(
            facts_age_max=timedelta(seconds=30),
            hold_days=self.hold_days,
            approval_threshold_minor=self.approval_threshold_minor,
        )

    @property
    def journal(self) -> SqlJournal:
        return SqlJournal(self.engine, clock=ToldClock(lambda: self.now), rules=self.rules)

    @property
    def decisions(self) -> Decisions:
        return Decisions(self.journal, run_id="by-hand", four_eyes=False)

    def later(self, **delta: float) -> datetime:
        """Move the clock; answers what it says then."""
        self.now += timedelta(**delta)
        return self.now

    def request(
        self, participation: str, streamer: str, *, terms: CampaignTerms | None = None, fee_bps: int = 0, n: int = 1
    ) -> PayoutRequest:
        """To pay a participation that reached the target."""
        terms = terms or terms_of()
        due = Due(
            participation=member(participation, streamer, terms.campaign_id.value),
            terms=terms,
            impressions=2000,
            earned=earnings(terms, 2000, Overdelivery.CAP_AT_TARGET),
            overdelivery=Overdelivery.CAP_AT_TARGET,
            rule=Rule.IMPRESSIONS_TARGET_REACHED,
            fee_bps=fee_bps,
        )
        return PayoutRequest(due=due, facts_at=self.now, n=n)

    def pay(
        self,
        participation: str,
        streamer: str,
        *,
        terms: CampaignTerms | None = None,
        fee_bps: int = 0,
        trigger: str = "sweep",
    ) -> str:
        """Pay it now; answers the payout's key."""
        request = self.request(participation, streamer, terms=terms, fee_bps=fee_bps)
        self.post([request], trigger)
        return request.key

    def post(self, requests: list[PayoutRequest], trigger: str = "sweep") -> Posted:
        return self.journal.post(PostingBatch(requests=requests), BatchStamp(run_id="run-1", trigger=trigger))

    def freeze_and_pay(self, impressions: dict[str, int], terms: CampaignTerms) -> str:
        """Freeze a campaign's pool and pay all its lines; participation → impressions. Answers the settlement's key."""
        campaign = terms.campaign_id.value
        members = [
            ParticipationFacts(
                participation=member(one, f"s-{one}", campaign, count), campaign=terms, settled=Settled.NOTHING
            )
            for one, count in impressions.items()
        ]
        policy = Policy(overdelivery=Overdelivery.CAP_AT_TARGET, rules=frozenset(Rule), scope=Scope.CAMPAIGN)
        due = decide_pool(PoolFacts(terms=terms, members=members, paid_minor=0, now=self.now), policy)
        assert isinstance(due, PoolDue)
        stamp, key = BatchStamp(run_id="run-1", trigger="sweep"), f"settlement:{terms.campaign_id.tagged}:1"
        assert self.journal.freeze(due, self.now, stamp)
        lines = [
            Due(
                participation=line.participation,
                terms=terms,
                impressions=line.impressions,
                earned=Earnings(
                    gross_minor=line.share_minor, impressions_paid=line.impressions, rounding="largest_remainder"
                ),
                overdelivery=due.overdelivery,
                rule=due.rule,
                settlement_key=key,
            )
            for line in due.lines
        ]
        self.post([PayoutRequest(due=line, facts_at=self.now) for line in lines])
        return key

    def reverse(self, payout_key: str) -> None:
        self.decisions.reverse(payout_key, SIGNED)

    def adjust(self, key: str, from_account: str, to_account: str, amount_minor: int, currency: str = "INR") -> None:
        adjustment = Adjustment(
            key=key, from_account=from_account, to_account=to_account, amount_minor=amount_minor, currency=currency
        )
        self.decisions.adjust(adjustment, SIGNED)

    def release(self) -> int:
        return self._treasury.release_due(BatchStamp(run_id="run-2", trigger="housekeeping"))

    def refund(self, terms: CampaignTerms, amount_minor: int) -> None:
        escrow = Escrow(campaign_id=terms.campaign_id, currency=terms.currency, balance_minor=amount_minor)
        wanted = Refund(escrow=escrow, brand_id=terms.brand_id, facts_at=self.now)
        self._treasury.refund(wanted, BatchStamp(run_id="run-3", trigger="housekeeping"))

    @property
    def _treasury(self) -> Treasury:
        return Treasury(self.engine, self.journal, clock=lambda: self.now)
