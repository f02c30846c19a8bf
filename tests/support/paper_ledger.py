"""A ledger on paper: what the real one holds about campaigns, so that batch after batch can be planned without SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.domain.accounts import Entry, kind_of
from reconciler.domain.batch import PlannedBatch, PostingRules, plan_batch
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import (
    FrozenLine,
    Funding,
    HoldWithdrawal,
    LedgerSnapshot,
    OpenHold,
    PayoutRequest,
    Recent,
)
from reconciler.domain.plan import HoldEvent, NewDecision, NewFunding, NewPayout

FACTS_AGE_MAX = timedelta(minutes=5)
RULES = PostingRules(facts_age_max=FACTS_AGE_MAX)
HOUR = timedelta(hours=1)


class PaperLedger:
    """Plans and writes batches; refuses what the real ledger's constraints refuse.

    What people decide is set by the test: ``approved_minor``, ``rejected``, ``adopted``, ``adopted_minor``, ``pooled``,
    ``lines``.
    """

    def __init__(self, rules: PostingRules = RULES) -> None:
        self.rules = rules
        self.balances: Counter[tuple[str, str]] = Counter()
        self.fundings: dict[str, Funding] = {}
        self.payouts: dict[str, NewPayout] = {}
        self.open_holds: dict[str, OpenHold] = {}
        self.decisions: list[NewDecision] = []
        self.approved_minor: dict[str, int] = {}
        self.rejected: set[str] = set()
        self.adopted: set[str] = set()
        self.adopted_minor: dict[tuple[str, str], int] = {}
        self.pooled: set[str] = set()
        self.lines: dict[str, FrozenLine] = {}
        self._keys: set[str] = set()
        self._holds: Counter[str] = Counter()
        self._too_fast: set[str] = set()
        self._paid_at: dict[str, datetime] = {}

    def snapshot(self, now: datetime) -> LedgerSnapshot:
        return LedgerSnapshot(
            fingerprints={key: payout.request.fingerprint for key, payout in self.payouts.items()},
            paid_participations={
                (one.due.participation.campaign_id.tagged, one.due.participation.streamer_id): (
                    one.due.participation.participation_id.tagged
                )
                for one in (payout.request for payout in self.payouts.values())
            },
            numbers=self._numbers(),
            fundings=dict(self.fundings),
            escrow_minor={key: balance for key, balance in self.balances.items() if kind_of(key[0]) == "escrow"},
            balance_minor=dict(self.balances),
            open_holds=list(self.open_holds.values()),
            holds_count=dict(self._holds),
            approved_minor=dict(self.approved_minor),
            too_fast=frozenset(self._too_fast),
            lines=dict(self.lines),
            rejected=frozenset(self.rejected),
            adopted=frozenset(self.adopted),
            adopted_minor=dict(self.adopted_minor),
            pooled=frozenset(self.pooled),
            voids=frozenset(one.subject for one in self.decisions if one.kind == "void"),
            recent=self._recent(now),
        )

    def plan(
        self,
        requests: Iterable[PayoutRequest],
        withdrawals: Iterable[HoldWithdrawal] = (),
        *,
        now: datetime,
        voids: Iterable[DocumentId] = (),
    ) -> PlannedBatch:
        return plan_batch(requests, withdrawals, self.snapshot(now), self.rules, now, voids)

    def post(
        self,
        requests: Iterable[PayoutRequest],
        withdrawals: Iterable[HoldWithdrawal] = (),
        *,
        now: datetime,
        voids: Iterable[DocumentId] = (),
    ) -> PlannedBatch:
        planned = self.plan(requests, withdrawals, now=now, voids=voids)
        for item in planned.plan.posted:
            self._write_entry(item.entry)
            if isinstance(item, NewFunding):
                self._write_funding(item)
            else:
                assert isinstance(item, NewPayout), item
                self.payouts[item.entry.key] = item
                self._paid_at[item.entry.key] = now
        for event in planned.plan.hold_events:
            self._write_hold(event, now)
        for decision in planned.plan.decisions:
            self._write_key(decision.decision_key)
            self.decisions.append(decision)
        return planned

    def refund(self, campaign_id: str) -> None:
        """The rest of an escrow goes back to the brand, and the campaign is funded no more."""
        funding = self.fundings[campaign_id]
        self.fundings[campaign_id] = replace(funding, was_refunded=True)
        self.balances[f"campaign:{campaign_id}:escrow", funding.currency] = 0

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

    def _numbers(self) -> dict[tuple[str, str], dict[int, str | None]]:
        numbers: dict[tuple[str, str], dict[int, str | None]] = {}
        for request in (payout.request for payout in self.payouts.values()):
            one = request.due.participation
            numbers.setdefault((one.campaign_id.tagged, one.streamer_id), {})[request.n] = one.participation_id.tagged
        return numbers

    def _recent(self, now: datetime) -> Recent:
        recent = [payout for key, payout in self.payouts.items() if self._paid_at[key] > now - HOUR]
        paid_minor: Counter[str] = Counter()
        for payout in recent:
            paid_minor[payout.entry.currency] += payout.request.due.earned.gross_minor
        return Recent(payouts_count=len(recent), paid_minor=paid_minor)

    def _write_key(self, key: str) -> None:
        assert key not in self._keys, f"{key} is written twice"
        self._keys.add(key)

    def _write_entry(self, entry: Entry) -> None:
        self._write_key(entry.key)
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
            movements=[
                *(last.movements if last else ()),
                *[(one.account, -one.amount_minor) for one in new.entry.postings if kind_of(one.account) == "funding"],
            ],
        )

    def _write_hold(self, event: HoldEvent, now: datetime) -> None:
        if event.event == "closed":
            del self.open_holds[event.hold_key]
            return
        self._write_key(event.hold_key)
        self._too_fast |= {event.participation_id} if event.reason == "over_pace" else set()
        self._holds[event.participation_id] += 1
        others = [one for one in self.open_holds.values() if one.participation_id == event.participation_id]
        assert not others, f"{event.participation_id} is held twice"
        self.open_holds[event.hold_key] = OpenHold(
            hold_key=event.hold_key,
            participation_id=event.participation_id,
            campaign_id=event.campaign_id,
            streamer_id=event.streamer_id,
            opened_at=now,
            amount_minor=event.amount_minor,
            currency=event.currency,
            reason=event.reason,
        )
