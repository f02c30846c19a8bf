"""The real ledger as the machine uses it: every door there is, each answer in the words of the bookkeeper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy.engine import Engine

from reconciler.domain.batch import PostingRules
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import HoldWithdrawal
from reconciler.domain.plan import NewAdoption, NewDecision
from reconciler.domain.settlement import PoolDue
from reconciler.errors import Halted, UsageError
from reconciler.ledger.journal.decisions import Adjustment, Decisions, Signature
from reconciler.ledger.journal.escrows import Treasury
from reconciler.ledger.journal.posting import SqlJournal, SqlPoster
from reconciler.ports.journal import BatchStamp, Posted, PostingBatch
from reconciler.ports.refunds import Escrow, Refund
from tests.support.ledger import ToldClock
from tests.support.model_ledger import FACTS_AGE_MAX, HALTED, REFUSED, ModelSettings
from tests.support.simulated_world import BEGUN, BRAND, Ask, Campaign, Member, request_of

Answer = TypeVar("Answer")

STAMP = BatchStamp(run_id="run", trigger="machine")


@dataclass(slots=True)
class Time:
    """A clock that stands still until it is moved."""

    now: datetime = BEGUN

    def __call__(self) -> datetime:
        return self.now

    def advance(self, delta: timedelta) -> None:
        self.now += delta


@dataclass(slots=True)
class LedgerDriver:
    """SqlJournal, treasury and decisions over one engine; settings may change as at a restart."""

    engine: Engine
    time: Time
    house: ModelSettings = field(default_factory=ModelSettings)

    def post(
        self, asks: Sequence[Ask], withdrawn: Iterable[Member] = (), voided: Iterable[Member] = ()
    ) -> dict[str, str] | str:
        return self._post_with(self._journal(), asks, withdrawn, voided)

    def rehearse(self, asks: Sequence[Ask]) -> dict[str, str] | str:
        with self._journal().rehearsal() as poster:
            return self._post_with(poster, asks, (), ())

    def repay(self, ask: Ask) -> dict[str, str] | str:
        assert ask.decision_key is not None
        decision = NewDecision(
            decision_key=ask.decision_key,
            kind="repay",
            subject=ask.key,
            decided_by="asha",
            reason="owed",
            amount_minor=ask.gross_minor,
            currency=ask.currency,
        )
        return _answered(lambda: _outcomes(self._journal().repay(request_of(ask), decision, STAMP)))

    def freeze(self, due: PoolDue, facts_at: datetime) -> bool | str:
        return _answered(lambda: self._journal().freeze(due, facts_at, STAMP))

    def approve(self, subject: str, by: str) -> str:
        return _answered(lambda: self._decisions().approve(subject, Signature(by=by, reason="right")))

    def reject(self, subject: str, by: str) -> str:
        return _answered(lambda: self._decisions().reject(subject, Signature(by=by, reason="wrong")))

    def reverse(self, payout_key: str, by: str, *, four_eyes: bool) -> str:
        signed = Signature(by=by, reason="fraud")
        return _answered(lambda: self._decisions(four_eyes=four_eyes).reverse(payout_key, signed))

    def adjust(self, adjustment: Adjustment) -> str:
        return _answered(lambda: self._decisions().adjust(adjustment, Signature(by="asha", reason="by hand")))

    def halt(self) -> None:
        self._decisions().halt("ledger_behind", "somebody said so")

    def resume(self) -> str:
        return _answered(lambda: self._decisions().resume(Signature(by="asha", reason="mended")))

    def adopt(self, found: Sequence[tuple[Member, int, str]], decision_key: str) -> int:
        adoptions = [
            NewAdoption(
                participation_id=member.tagged,
                campaign_id=member.campaign.tagged,
                streamer_id=member.streamer_id,
                amount_minor=amount_minor,
                currency=currency,
                decision_key=decision_key,
            )
            for member, amount_minor, currency in found
        ]
        return self._decisions().adopt(adoptions, Signature(by="asha", reason="history"), decision_key)

    def release(self) -> int | str:
        return _answered(lambda: self._treasury().release_due(STAMP))

    def refund(self, campaign: Campaign, currency: str) -> str:
        campaign_id = DocumentId.from_tagged(campaign.tagged)
        # What the escrow was seen to hold says nothing: under the lock it may be something else.
        escrow = Escrow(campaign_id=campaign_id, currency=currency, balance_minor=1)
        wanted = Refund(escrow=escrow, brand_id=DocumentId.from_tagged(BRAND), facts_at=self.time.now)
        return _answered(lambda: self._treasury().refund(wanted, STAMP).value)

    def _journal(self) -> SqlJournal:
        rules = PostingRules(
            facts_age_max=FACTS_AGE_MAX,
            hold_days=self.house.hold_days,
            approval_threshold_minor=self.house.threshold_minor,
            payouts_per_hour_max=self.house.payouts_per_hour_max,
            amount_per_hour_max_minor=self.house.amount_per_hour_max_minor,
        )
        return SqlJournal(self.engine, clock=ToldClock(self.time), rules=rules)

    def _decisions(self, *, four_eyes: bool = False) -> Decisions:
        return Decisions(self._journal(), run_id="person", four_eyes=four_eyes)

    def _treasury(self) -> Treasury:
        return Treasury(self.engine, self._journal(), clock=self.time)

    def _post_with(
        self, poster: SqlPoster, asks: Sequence[Ask], withdrawn: Iterable[Member], voided: Iterable[Member]
    ) -> dict[str, str] | str:
        batch = PostingBatch(
            requests=[request_of(ask) for ask in asks],
            withdrawals=[
                HoldWithdrawal(
                    participation_id=DocumentId.from_tagged(member.tagged),
                    campaign_id=DocumentId.from_tagged(member.campaign.tagged),
                    reason="forfeited",
                )
                for member in withdrawn
            ],
            voids=[DocumentId.from_tagged(member.tagged) for member in voided],
        )
        return _answered(lambda: _outcomes(poster.post(batch, STAMP)))


def _outcomes(posted: Posted) -> dict[str, str]:
    outcomes = {key: outcome.value for key, outcome in posted.outcomes.items()}
    assert len(posted.payout_sequences) == list(outcomes.values()).count("new")
    return outcomes


def _answered(ask: Callable[[], Answer]) -> Answer | str:
    try:
        return ask()
    except Halted:
        return HALTED
    except UsageError:
        return REFUSED
