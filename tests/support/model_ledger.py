"""The oracle of the ledger's machine: a ledger on paper, written from DOMAIN.md 2-4 and DESIGN.md 1-5.

It shares no code with the product and knows no SQL: dictionaries of whole numbers, changed by one action at a time.
Where it and the ledger differ, one of them is wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta

from reconciler.domain.campaign import PaymentType
from tests.support.simulated_world import BRAND, MEMBERS, Ask, Campaign, Member, turn

FACTS_AGE_MAX = timedelta(seconds=30)
FEES = "platform:fees"
FUNDING = f"brand:{BRAND}:funding"

HALTED = "halted"
REFUSED = "refused"


def escrow_of(campaign: str) -> str:
    return f"campaign:{campaign}:escrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The settings in force. None is no limit."""

    hold_days: int = 0
    threshold_minor: dict[str, int] = field(default_factory=dict)
    payouts_per_hour_max: int | None = None
    amount_per_hour_max_minor: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Paid:
    """A payout and what became of it."""

    ask: Ask
    created_at: datetime
    release_at: datetime | None
    is_released: bool = False
    is_reversed: bool = False

    @property
    def net_minor(self) -> int:
        return self.ask.gross_minor - self.ask.fee_minor

    @property
    def lies_in(self) -> str:
        place = "held" if self.release_at is not None and not self.is_released else "wallet"
        return f"streamer:{self.ask.member.streamer_id}:{place}"


@dataclass(slots=True)
class Waiting:
    """An open hold."""

    member: Member
    reason: str
    opened_at: datetime
    amount_minor: int
    currency: str

    @property
    def order(self) -> tuple[datetime, tuple[bool, str]]:
        return self.opened_at, turn(self.member.tagged)


@dataclass(slots=True)
class Funded:
    """The last budget seen of a campaign, and the sum of what all of them moved."""

    currency: str
    budget_minor: int
    facts_at: datetime
    moved_minor: int
    is_refunded: bool = False


@dataclass(frozen=True, slots=True)
class Pool:
    """A frozen settlement."""

    currency: str
    impressions: dict[str, int]
    shares: dict[str, int]


@dataclass(slots=True)
class ModelLedger:
    """What the ledger must hold."""

    house: ModelSettings = field(default_factory=ModelSettings)
    balances: dict[tuple[str, str], int] = field(default_factory=dict)
    payouts: dict[str, Paid] = field(default_factory=dict)
    holds: dict[str, Waiting] = field(default_factory=dict)
    fundings: dict[str, Funded] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    voids: set[str] = field(default_factory=set)
    approved: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Payout key → the amount approved last, and its currency."""
    rejected: set[str] = field(default_factory=set)
    adopted: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    asked_by: dict[str, str] = field(default_factory=dict)
    """Payout key → who asked for its reversal and waits for another person."""
    adjustments: set[str] = field(default_factory=set)
    is_halted: bool = False

    def copy(self) -> ModelLedger:
        """What does not change is shared."""
        return ModelLedger(
            house=self.house,
            balances=dict(self.balances),
            payouts={key: replace(paid) for key, paid in self.payouts.items()},
            holds={key: replace(hold) for key, hold in self.holds.items()},
            fundings={key: replace(funded) for key, funded in self.fundings.items()},
            pools=dict(self.pools),
            voids=set(self.voids),
            approved=dict(self.approved),
            rejected=set(self.rejected),
            adopted=dict(self.adopted),
            asked_by=dict(self.asked_by),
            adjustments=set(self.adjustments),
            is_halted=self.is_halted,
        )

    # Posting

    def post(
        self, asks: Sequence[Ask], now: datetime, withdrawn: Iterable[Member] = (), voided: Iterable[Member] = ()
    ) -> dict[str, str] | str:
        """One batch: all of it, or a halt and nothing of it."""
        if self.is_halted:
            return HALTED
        after = self.copy()
        outcomes = after._post(asks, now, withdrawn, voided)
        if after._exceeds_a_limit(set(after.payouts) - set(self.payouts), now):
            self.is_halted = True
            return HALTED
        self._become(after)
        return outcomes

    def rehearse(self, asks: Sequence[Ask], now: datetime) -> dict[str, str] | str:
        """What posting would answer if nobody had halted it; nothing of it stays."""
        rehearsed = self.copy()
        rehearsed.is_halted = False
        return rehearsed.post(asks, now)

    def repay(self, ask: Ask, now: datetime) -> dict[str, str] | str:
        """One payout that a person decided, or nothing at all."""
        if self.is_halted:
            return HALTED
        after = self.copy()
        outcomes = after._post([ask], now, (), ())
        if after._exceeds_a_limit(set(after.payouts) - set(self.payouts), now):
            self.is_halted = True
            return HALTED
        if outcomes[ask.key] == "new":
            self._become(after)
        return outcomes

    def _become(self, after: ModelLedger) -> None:
        for one in fields(self):
            setattr(self, one.name, getattr(after, one.name))

    def _post(
        self, asks: Sequence[Ask], now: datetime, withdrawn: Iterable[Member], voided: Iterable[Member]
    ) -> dict[str, str]:
        for member in withdrawn:
            self.holds.pop(member.tagged, None)
        # What a person forfeited is void unless it was paid before.
        self.voids |= {member.tagged for member in voided if not self.payouts_of(member)}
        newest: dict[str, Ask] = {}
        for ask in asks:
            if ask.key not in newest or ask.facts_at > newest[ask.key].facts_at:
                newest[ask.key] = ask
        by_campaign: dict[str, list[Ask]] = defaultdict(list)
        for ask in newest.values():
            by_campaign[ask.member.campaign.tagged].append(ask)
        existing = set(self.payouts)
        outcomes: dict[str, str] = {}
        for campaign_asks in by_campaign.values():
            campaign_asks.sort(key=lambda ask: self._turn(ask, now))
            able = [ask for ask in campaign_asks if self._obstacle(ask, now, existing) is None]
            if able:
                self._fund(max(able, key=lambda ask: ask.facts_at))
            for ask in campaign_asks:
                obstacle = self._obstacle(ask, now, existing)
                if obstacle is not None and obstacle != "stale":
                    self.holds.pop(ask.member.tagged, None)
                outcomes[ask.key] = obstacle or self._pay(ask, now)
        return outcomes

    def _turn(self, ask: Ask, now: datetime) -> tuple[bool, datetime, tuple[bool, str]]:
        """Who waits for budget comes first, in the order of waiting; everybody else after them."""
        hold = self.holds.get(ask.member.tagged)
        waits = hold is not None and hold.reason == "over_budget"
        return not waits, hold.opened_at if hold and waits else now, turn(ask.member.tagged)

    def _obstacle(self, ask: Ask, now: datetime, existing: set[str]) -> str | None:
        """What stands in the way whatever the budget: DOMAIN.md 2, in order of precedence."""
        member, campaign = ask.member, ask.member.campaign.tagged
        if ask.key in existing:
            return "exists" if self.payouts[ask.key].ask.currency == ask.currency else "exists_different"
        if ask.decision_key is None and ask.key in self.rejected:
            return "rejected_by_person"
        if ask.decision_key is None and member.tagged in self.adopted:
            return "settled_before_us"
        of_pair = [
            paid
            for paid in self.payouts.values()
            if (paid.ask.member.campaign.tagged, paid.ask.member.streamer_id) == (campaign, member.streamer_id)
        ]
        others = [paid for paid in of_pair if paid.ask.member.tagged != member.tagged]
        if any(ask.decision_key is None or not paid.is_reversed for paid in (others if ask.decision_key else of_pair)):
            return "duplicate_participation"
        if ask.settlement_key is not None:
            pool = self.pools.get(campaign)
            if pool is None or pool.shares.get(member.tagged) != ask.gross_minor:
                return "pool_member_changed"
        pinned = {self.fundings[campaign].currency} if campaign in self.fundings else set()
        if ask.settlement_key is not None:
            pinned.add(self.pools[campaign].currency)
        if pinned - {ask.currency}:
            return "currency_changed"
        before = self.payouts_of(member)
        is_overtaken = ask.decision_key is None and campaign in self.pools and ask.settlement_key is None
        is_void = ask.settlement_key is not None and member.tagged in self.voids
        has_standing = any(not paid.is_reversed for paid in before) or any(paid.ask.n == ask.n for paid in others)
        if now - ask.facts_at > FACTS_AGE_MAX or is_overtaken or is_void or has_standing:
            return "stale"
        return None

    def _fund(self, ask: Ask) -> None:
        campaign = ask.member.campaign.tagged
        last = self.fundings.get(campaign)
        before_us = sum(
            minor for of, minor, currency in self.adopted.values() if (of, currency) == (campaign, ask.currency)
        )
        if last is None:
            last = self.fundings[campaign] = Funded(ask.currency, ask.budget_minor, ask.facts_at, 0)
            amount_minor = max(ask.budget_minor - before_us, 0)
        elif last.is_refunded or ask.budget_minor == last.budget_minor or ask.facts_at <= last.facts_at:
            return
        else:
            left_minor = self.balances[escrow_of(campaign), ask.currency]
            amount_minor = max(ask.budget_minor - before_us - last.moved_minor, -left_minor)
        last.budget_minor, last.facts_at = ask.budget_minor, ask.facts_at
        last.moved_minor += amount_minor
        self._move(ask.currency, {FUNDING: -amount_minor, escrow_of(campaign): amount_minor})

    def _pay(self, ask: Ask, now: datetime) -> str:
        own = self.holds.get(ask.member.tagged)
        threshold_minor = self.house.threshold_minor.get(ask.currency)
        is_large = threshold_minor is not None and ask.gross_minor >= threshold_minor
        if is_large and ask.decision_key is None:
            covered = self._approved_part(ask)
            if covered is None:
                if own is None or not self._goes_on_waiting(own, ask, now):
                    self._wait(ask, "over_approval_threshold", now)
                return "over_approval_threshold"
            ask = covered
        campaign = ask.member.campaign.tagged
        before_it = [
            hold
            for hold in self.holds.values()
            if hold.member.campaign.tagged == campaign
            and hold.reason == "over_budget"
            and (own is None or own.reason != "over_budget" or hold.order < own.order)
        ]
        if before_it or ask.gross_minor > self.balances.get((escrow_of(campaign), ask.currency), 0):
            if own is None or own.reason != "over_budget":
                self._wait(ask, "over_budget", now)
            return "over_budget"
        self.holds.pop(ask.member.tagged, None)
        release_at = now + timedelta(days=self.house.hold_days) if self.house.hold_days else None
        paid = self.payouts[ask.key] = Paid(ask=ask, created_at=now, release_at=release_at)
        self._move(
            ask.currency,
            {escrow_of(campaign): -ask.gross_minor, paid.lies_in: paid.net_minor}
            | ({FEES: ask.fee_minor} if ask.fee_minor else {}),
        )
        return "new"

    def _approved_part(self, ask: Ask) -> Ask | None:
        """What the last approval covers: all that is due, or the most impressions that earn no more."""
        amount_minor, currency = self.approved.get(ask.key, (None, ""))
        if amount_minor is None or currency != ask.currency:
            return None
        if ask.gross_minor <= amount_minor:
            return ask
        campaign, impressions = ask.member.campaign, ask.impressions
        if ask.settlement_key is not None or campaign.payment_type is not PaymentType.CPM:
            return None
        while impressions > 0 and campaign.gross_minor(impressions, currency) > amount_minor:
            impressions -= 1
        gross_minor = campaign.gross_minor(impressions, currency)
        return (
            replace(ask, impressions=impressions, gross_minor=gross_minor) if impressions >= campaign.target else None
        )

    def _goes_on_waiting(self, own: Waiting, ask: Ask, now: datetime) -> bool:
        """For a person, in the same hold: its amount stands for ten minutes while views raise it."""
        if (own.reason, own.currency) != ("over_approval_threshold", ask.currency):
            return False
        is_young = own.amount_minor <= ask.gross_minor and now - own.opened_at < timedelta(minutes=10)
        return own.amount_minor == ask.gross_minor or is_young

    def _wait(self, ask: Ask, reason: str, now: datetime) -> None:
        self.holds[ask.member.tagged] = Waiting(ask.member, reason, now, ask.gross_minor, ask.currency)

    def _exceeds_a_limit(self, new: set[str], now: datetime) -> bool:
        """Whether the new payouts of a batch exceed what may be paid within an hour."""
        recent = [paid for paid in self.payouts.values() if paid.created_at > now - timedelta(hours=1)]
        if not new:
            return False
        minor: Counter[str] = Counter()
        for paid in recent:
            minor[paid.ask.currency] += paid.ask.gross_minor
        count_max = self.house.payouts_per_hour_max
        limits = self.house.amount_per_hour_max_minor
        return (count_max is not None and len(recent) > count_max) or any(minor[one] > limits[one] for one in limits)

    def freeze(self, campaign: Campaign, pool: Pool, facts_at: datetime, now: datetime) -> bool | str:
        if self.is_halted:
            return HALTED
        if campaign.tagged in self.pools or now - facts_at > FACTS_AGE_MAX:
            return False
        members = set(pool.shares)
        settled = {one.ask.member for one in self.payouts.values()}
        streamers = {one.streamer_id for one in MEMBERS if one.tagged in members}
        if any(one.campaign == campaign and one.streamer_id in streamers for one in settled):
            return False
        if members & set(self.adopted) or any(f"payout:{one}:1" in self.rejected for one in members):
            return False
        if campaign.tagged in self.fundings and self.fundings[campaign.tagged].currency != pool.currency:
            return False
        self.pools[campaign.tagged] = pool
        return True

    # People

    def approve(self, key: str, by: str) -> str:
        payout_key = key.removeprefix("reversal:")
        if payout_key in self.asked_by and payout_key != key:
            if self.asked_by[payout_key] == by or self.payouts[payout_key].is_reversed:
                return REFUSED
            del self.asked_by[payout_key]
            self._reverse(self.payouts[payout_key])
            return "reversed"
        hold = self._waits_for_approval(key)
        if hold is None:
            return REFUSED
        self.approved[key] = (hold.amount_minor, hold.currency)
        return "approved"

    def reject(self, key: str) -> str:
        payout_key = key.removeprefix("reversal:")
        if payout_key in self.asked_by and payout_key != key:
            del self.asked_by[payout_key]
            return "rejected"
        hold = self._waits_for_approval(key)
        if hold is None:
            return REFUSED
        del self.holds[hold.member.tagged]
        self.rejected.add(key)
        return "rejected"

    def reverse(self, key: str, by: str, *, four_eyes: bool) -> str:
        paid = self.payouts.get(key)
        if paid is None or paid.is_reversed or (four_eyes and key in self.asked_by):
            return REFUSED
        if four_eyes:
            self.asked_by[key] = by
            return "requested"
        self._reverse(paid)
        return "reversed"

    def adjust(self, key: str, from_account: str, to_account: str, amount_minor: int, currency: str) -> str:
        held_minor = self.balances.get((from_account, currency))
        is_covered = held_minor is not None and (from_account == FUNDING or held_minor >= amount_minor)
        if key in self.adjustments or not is_covered or (to_account, currency) not in self.balances:
            return REFUSED
        if from_account == to_account or amount_minor <= 0:
            return REFUSED
        self.adjustments.add(key)
        self._move(currency, {from_account: -amount_minor, to_account: amount_minor})
        return "adjusted"

    def halt(self) -> None:
        self.is_halted = True

    def resume(self) -> str:
        if not self.is_halted:
            return REFUSED
        self.is_halted = False
        return "resumed"

    def adopt(self, found: Iterable[tuple[Member, int, str]]) -> int:
        """What this ledger paid is never adopted, and nothing twice."""
        new = {
            member.tagged: (member.campaign.tagged, minor, currency)
            for member, minor, currency in found
            if member.tagged not in self.adopted and not self.payouts_of(member)
        }
        self.adopted |= new
        return len(new)

    # Time

    def release(self, now: datetime) -> int | str:
        if self.is_halted:
            return HALTED
        ready = [
            paid
            for paid in self.payouts.values()
            if paid.release_at is not None and paid.release_at <= now and not (paid.is_released or paid.is_reversed)
        ]
        for paid in ready:
            from_account, minor = paid.lies_in, paid.net_minor
            paid.is_released = True
            self._move(paid.ask.currency, {from_account: -minor, paid.lies_in: minor})
        return len(ready)

    def refund(self, campaign: Campaign, currency: str) -> str:
        if self.is_halted:
            return HALTED
        name = escrow_of(campaign.tagged)
        left_minor = self.balances.get((name, currency), 0)
        if left_minor <= 0:
            return "nothing_left"
        if any(hold.member.campaign.tagged == campaign.tagged for hold in self.holds.values()):
            return "something_is_open"
        if self.unposted_lines(campaign):
            return "something_is_open"
        self._move(currency, {name: -left_minor, FUNDING: left_minor})
        if campaign.tagged in self.fundings:
            self.fundings[campaign.tagged].is_refunded = True
        return "refunded"

    # Reading

    def payouts_of(self, member: Member) -> list[Paid]:
        return [paid for paid in self.payouts.values() if paid.ask.member.tagged == member.tagged]

    def unposted_lines(self, campaign: Campaign) -> list[str]:
        """Shares of a pool that somebody may still have to be paid."""
        pool = self.pools.get(campaign.tagged)
        paid = {one.ask.member.tagged for one in self.payouts.values()}
        rejected = {key.removeprefix("payout:").rpartition(":")[0] for key in self.rejected}
        return sorted(set(pool.shares) - paid - self.voids - rejected - set(self.adopted)) if pool else []

    def _waits_for_approval(self, key: str) -> Waiting | None:
        """Only a first payout ever waits: what a person decides to repay needs no approval."""
        waiting = [hold for hold in self.holds.values() if key == f"payout:{hold.member.tagged}:1"]
        return waiting[0] if waiting and waiting[0].reason == "over_approval_threshold" else None

    def _reverse(self, paid: Paid) -> None:
        legs = {escrow_of(paid.ask.member.campaign.tagged): paid.ask.gross_minor, paid.lies_in: -paid.net_minor}
        self._move(paid.ask.currency, legs | ({FEES: -paid.ask.fee_minor} if paid.ask.fee_minor else {}))
        paid.is_reversed = True

    def _move(self, currency: str, legs: dict[str, int]) -> None:
        assert sum(legs.values()) == 0
        for account, minor in legs.items():
            self.balances[account, currency] = self.balances.get((account, currency), 0) + minor
