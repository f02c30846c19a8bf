"""A ledger on paper: what the real one holds about campaigns, so that batch after batch can be planned without SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from reconciler.domain.accounts import Entry, kind_of
from reconciler.domain.batch import (
    BatchPlan,
    Funding,
    HoldEvent,
    HoldWithdrawal,
    LedgerView,
    NewFunding,
    NewPayout,
    OpenHold,
    PayoutRequest,
    plan_batch,
)

FACTS_AGE_MAX = timedelta(minutes=5)


class PaperLedger:
    """Plans and writes batches; refuses what the real ledger's constraints refuse."""

    def __init__(self) -> None:
        self.balances: Counter[tuple[str, str]] = Counter()
        self.fundings: dict[str, Funding] = {}
        self.payouts: dict[str, NewPayout] = {}
        self.open_holds: dict[str, OpenHold] = {}
        self._keys: set[str] = set()
        self._holds: Counter[str] = Counter()

    def view(self) -> LedgerView:
        return LedgerView(
            fingerprints={key: payout.request.fingerprint for key, payout in self.payouts.items()},
            paid_participations={
                (one.due.participation.campaign_id.tagged, one.due.participation.streamer_id): (
                    one.due.participation.participation_id.tagged
                )
                for one in (payout.request for payout in self.payouts.values())
            },
            fundings=dict(self.fundings),
            escrow_minor={key: balance for key, balance in self.balances.items() if kind_of(key[0]) == "escrow"},
            open_holds=list(self.open_holds.values()),
            holds_count=dict(self._holds),
        )

    def plan(
        self, requests: Iterable[PayoutRequest], withdrawals: Iterable[HoldWithdrawal] = (), *, now: datetime
    ) -> BatchPlan:
        return plan_batch(requests, withdrawals, self.view(), now=now, facts_age_max=FACTS_AGE_MAX)

    def post(
        self, requests: Iterable[PayoutRequest], withdrawals: Iterable[HoldWithdrawal] = (), *, now: datetime
    ) -> BatchPlan:
        plan = self.plan(requests, withdrawals, now=now)
        for item in plan.posted:
            self._write_entry(item.entry)
            if isinstance(item, NewFunding):
                self._write_funding(item)
            else:
                self.payouts[item.entry.key] = item
        for event in plan.hold_events:
            self._write_hold(event, now)
        return plan

    def escrow_minor(self, campaign_id: str) -> int:
        return sum(
            balance for (account, _), balance in self.balances.items() if account == f"campaign:{campaign_id}:escrow"
        )

    def paid_minor(self, campaign_id: str) -> int:
        return sum(
            payout.request.due.earned.gross_minor
            for payout in self.payouts.values()
            if payout.entry.campaign_id == campaign_id
        )

    def _write_entry(self, entry: Entry) -> None:
        assert entry.key not in self._keys, f"{entry.key} is posted twice"
        self._keys.add(entry.key)
        for posting in entry.postings:
            self.balances[posting.account, entry.currency] += posting.amount_minor
            if kind_of(posting.account) == "escrow":
                assert self.balances[posting.account, entry.currency] >= 0, f"{posting.account} is below zero"

    def _write_funding(self, new: NewFunding) -> None:
        last = self.fundings.get(new.campaign_id)
        assert new.n == (last.n + 1 if last else 1)
        self.fundings[new.campaign_id] = Funding(
            n=new.n,
            currency=new.currency,
            budget_minor=new.budget_minor,
            funded_minor=new.amount_minor + (last.funded_minor if last else 0),
            facts_at=new.facts_at,
        )

    def _write_hold(self, event: HoldEvent, now: datetime) -> None:
        if event.event == "closed":
            del self.open_holds[event.hold_key]
            return
        assert event.hold_key not in self._keys, f"{event.hold_key} is opened twice"
        self._keys.add(event.hold_key)
        self._holds[event.participation_id] += 1
        self.open_holds[event.hold_key] = OpenHold(
            hold_key=event.hold_key,
            participation_id=event.participation_id,
            campaign_id=event.campaign_id,
            streamer_id=event.streamer_id,
            opened_at=now,
            amount_minor=event.amount_minor,
            currency=event.currency,
        )
