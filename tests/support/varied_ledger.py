"""A ledger with something of everything, written by the product's own writer batch after batch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from sqlalchemy.engine import Engine

from reconciler.domain import accounts
from reconciler.domain.accounts import Entry, Posting
from reconciler.domain.campaign import CampaignTerms, PaymentType
from reconciler.domain.decision import Due, Rule
from reconciler.domain.earnings import Earnings, Overdelivery, earnings
from reconciler.domain.entries import fund_entry, payout_entry, refund_entry, release_entry, reversal_entry
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.participation import Participation
from reconciler.domain.plan import (
    BatchPlan,
    HoldEvent,
    NewAdoption,
    NewDecision,
    NewFunding,
    NewPayout,
    NewReversal,
    NewSettlement,
    NewTransfer,
)
from reconciler.domain.posted import PayoutStatus, PostedPayout
from reconciler.domain.settlement import Line, PoolDue, largest_remainder
from reconciler.ledger.engine import writing
from reconciler.ledger.journal.writing import lock_head, write_batch
from reconciler.ports.journal import BatchStamp

BEGUN = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)


def oid(number: int) -> DocumentId:
    return DocumentId(IdKind.OBJECT_ID, f"{number:024x}")


def terms_of(
    number: int, *, payment_type: PaymentType = PaymentType.CPM, rate: str = "1650", currency: str = "INR"
) -> CampaignTerms:
    """Campaign ``number`` with a budget of 10,000 major units (of 100 minor ones) and a target of 2,000."""
    return CampaignTerms(
        campaign_id=oid(number),
        brand_id=oid(number + 1),
        status="active",
        payment_type=payment_type,
        rate=Fraction(rate),
        budget_minor=1_000_000,
        target_impressions=2000,
        currency=currency,
        cooloff_hours=720,
        end_date=None,
        cooloff_was_read=True,
    )


def participation_of(number: int, terms: CampaignTerms, impressions: int = 2000) -> Participation:
    return Participation(
        participation_id=oid(number),
        campaign_id=terms.campaign_id,
        streamer_id=f"{number + 0x1000:024x}",
        status="active",
        impressions=impressions,
        forfeited=False,
        marked_paid=False,
    )


def request_of(participation: Participation, terms: CampaignTerms, *, fee_bps: int = 0, n: int = 1) -> PayoutRequest:
    assert isinstance(participation.impressions, int)
    due = Due(
        participation=participation,
        terms=terms,
        impressions=participation.impressions,
        earned=earnings(terms, participation.impressions, Overdelivery.CAP_AT_TARGET),
        overdelivery=Overdelivery.CAP_AT_TARGET,
        rule=Rule.IMPRESSIONS_TARGET_REACHED,
        fee_bps=fee_bps,
    )
    return PayoutRequest(due=due, facts_at=BEGUN, n=n, decision_key=None if n == 1 else f"repay:{n}")


def funding_of(terms: CampaignTerms, n: int = 1, amount_minor: int = 1_000_000) -> NewFunding:
    return NewFunding(
        entry=fund_entry(terms, n, amount_minor),
        campaign_id=terms.campaign_id.tagged,
        n=n,
        currency=terms.currency,
        budget_minor=terms.budget_minor,
        amount_minor=amount_minor,
        facts_at=BEGUN,
    )


def payout_of(request: PayoutRequest, release_at: datetime | None = None) -> NewPayout:
    return NewPayout(
        entry=payout_entry(request, is_held=release_at is not None), request=request, release_at=release_at
    )


def posted_of(new: NewPayout, *, is_released: bool = False) -> PostedPayout:
    due = new.request.due
    held = PayoutStatus.RELEASED if is_released else PayoutStatus.HELD
    return PostedPayout(
        payout_key=new.request.key,
        sequence=0,
        kind="payout",
        n=new.request.n,
        participation_id=due.participation.participation_id.tagged,
        campaign_id=due.terms.campaign_id.tagged,
        streamer_id=due.participation.streamer_id,
        brand_id=due.terms.brand_id.tagged,
        impressions=due.impressions,
        target=due.terms.target_impressions,
        payment_type=due.terms.payment_type.value,
        rate=due.terms.rate_text,
        overdelivery=due.overdelivery.value,
        impressions_paid=due.earned.impressions_paid,
        rounding=due.earned.rounding,
        gross_minor=due.earned.gross_minor,
        fee_bps=due.fee_bps,
        fee_minor=due.fee_minor,
        amount_minor=due.net_minor,
        currency=due.terms.currency,
        rule=due.rule.value,
        trigger="sweep",
        run_id="run-1",
        facts_at=new.request.facts_at,
        created_at=BEGUN,
        release_at=new.release_at,
        settlement_key=due.settlement_key,
        reverses=None,
        decision_key=new.request.decision_key,
        status=PayoutStatus.PAID if new.release_at is None else held,
    )


def hold_of(participation: Participation, event: str, reason: str) -> HoldEvent:
    return HoldEvent(
        hold_key=f"hold:{participation.participation_id.tagged}:1",
        event=event,
        participation_id=participation.participation_id.tagged,
        campaign_id=participation.campaign_id.tagged,
        streamer_id=participation.streamer_id,
        reason=reason,
        detail="" if event == "closed" else "escrow holds less",
        amount_minor=330_000,
        currency="INR",
    )


def decision_of(key: str, kind: str, subject: str, amount_minor: int | None = None) -> NewDecision:
    return NewDecision(
        decision_key=key,
        kind=kind,
        subject=subject,
        decided_by="asha",
        reason="because it is right",
        state_before={"state": "before"},
        amount_minor=amount_minor,
        currency=None if amount_minor is None else "INR",
    )


@dataclass(slots=True)
class Writer:
    """Writes one batch after the other, a minute apart."""

    engine: Engine
    batches: int = 0

    def write(self, plan: BatchPlan, trigger: str = "sweep") -> None:
        self.batches += 1
        stamp = BatchStamp(run_id=f"run-{self.batches}", trigger=trigger)
        with writing(self.engine) as connection:
            now = BEGUN + timedelta(minutes=self.batches)
            write_batch(connection, lock_head(connection), plan, stamp, now)


def write_varied(engine: Engine) -> Writer:
    """Payouts with and without fee, held, released, reversed, repaid, of a pool; decisions, adoptions, holds."""
    writer = Writer(engine)
    plain, priced = terms_of(0x10), terms_of(0x20, rate="1.23456789")
    first, second, over = (participation_of(number, plain) for number in (0x31, 0x32, 0x33))
    first_paid, second_paid = (payout_of(request_of(one, plain)) for one in (first, second))
    writer.write(
        BatchPlan(
            posted=[funding_of(plain), first_paid, second_paid], hold_events=[hold_of(over, "opened", "over_budget")]
        )
    )
    release_at = BEGUN + timedelta(days=3)
    held = [
        payout_of(request_of(participation_of(number, priced, 2345), priced, fee_bps=1250), release_at)
        for number in (0x41, 0x42)
    ]
    writer.write(BatchPlan(posted=[funding_of(priced), *held]))
    writer.write(
        BatchPlan(
            posted=[NewTransfer(entry=release_entry(posted_of(held[0])), is_projected=True)],
            decisions=[decision_of("halt:1", "halt", "paying")],
        )
    )
    reversals = [
        NewReversal(
            entry=reversal_entry(posted_of(paid, is_released=paid is held[0]), reason="fraud"),
            payout=posted_of(paid),
            decision_key=f"reverse:{paid.request.key}",
        )
        for paid in (first_paid, held[0], held[1])
    ]
    writer.write(
        BatchPlan(
            posted=list(reversals),
            decisions=[decision_of(one.decision_key, "reverse", one.payout.payout_key, 330_000) for one in reversals],
        ),
        "person",
    )
    writer.write(
        BatchPlan(
            posted=[payout_of(request_of(first, plain, n=2))], decisions=[decision_of("repay:2", "repay", "p", 330_000)]
        ),
        "person",
    )
    _write_pool(writer)
    adopted = NewAdoption(
        participation_id=oid(0x77).tagged,
        campaign_id=plain.campaign_id.tagged,
        streamer_id="before-us",
        amount_minor=4_200,
        currency="INR",
        decision_key="adopt:1",
    )
    adjustment = Entry(
        key="adjustment:gift",
        kind="adjustment",
        currency="INR",
        reason="a gift",
        postings=(
            Posting(account=accounts.FEES, amount_minor=-1),
            Posting(account=accounts.wallet(first.streamer_id), amount_minor=1),
        ),
    )
    legs = [Posting(account=accounts.funding(plain.brand_id), amount_minor=340_000)]
    rest = refund_entry(accounts.escrow(plain.campaign_id), 1, legs, currency="INR", reason="campaign_over")
    writer.write(
        BatchPlan(
            posted=[
                NewTransfer(entry=adjustment),
                NewTransfer(entry=rest),
            ],
            hold_events=[hold_of(over, "closed", "no_longer_due")],
            decisions=[decision_of("adopt:1", "adopt", "1 participations")],
            adoptions=[adopted],
        ),
        "person",
    )
    return writer


def _write_pool(writer: Writer) -> None:
    """A pool of three, of whom two are paid and one is void."""
    terms = terms_of(0x50, rate="1000")
    members = [participation_of(number, terms, count) for number, count in ((0x61, 700), (0x62, 800), (0x63, 1000))]
    pool_minor = earnings(terms, 2500, Overdelivery.CAP_AT_TARGET).gross_minor
    shares = largest_remainder(pool_minor, [700, 800, 1000])
    due = PoolDue(
        terms=terms,
        rule=Rule.CAMPAIGN_ENDED,
        overdelivery=Overdelivery.CAP_AT_TARGET,
        impressions=2500,
        pool_minor=pool_minor,
        lines=tuple(
            Line(participation=member, impressions=count, share_minor=share)
            for member, count, share in zip(members, (700, 800, 1000), shares, strict=True)
        ),
    )
    key = f"settlement:{terms.campaign_id.tagged}:1"
    writer.write(BatchPlan(settlements=[NewSettlement(settlement_key=key, n=1, due=due, facts_at=BEGUN)]))
    requests = [
        PayoutRequest(
            due=Due(
                participation=member,
                terms=terms,
                impressions=count,
                earned=Earnings(gross_minor=share, impressions_paid=count, rounding="largest_remainder"),
                overdelivery=Overdelivery.CAP_AT_TARGET,
                rule=Rule.CAMPAIGN_ENDED,
                fee_bps=333,
                settlement_key=key,
            ),
            facts_at=BEGUN,
        )
        for member, count, share in zip(members[:2], (700, 800), shares[:2], strict=True)
    ]
    void = decision_of(f"void:{members[2].participation_id.tagged}", "void", members[2].participation_id.tagged)
    writer.write(BatchPlan(posted=[funding_of(terms), *(payout_of(one) for one in requests)], decisions=[void]))
