"""The sample's regular part: a platform at work, where nothing is wrong.

Campaigns are planned first, each with a payment chosen before its rate, target and budget, so that what is due and
what it pays is known by construction and not by the rules under test. Everything else is made from the plans one
document at a time: memory grows with the number of campaigns, not of participations.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from reconciler.devstack.documents import CATEGORIES, Document, Forge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson import ObjectId

BRANDS_COUNT = 12
CURRENCIES = ("INR", "JPY", "KWD")
# One campaign in twenty each, from the fourth and the eighth on, so that forty campaigns have two of either.
FOREIGN = {3: "JPY", 7: "KWD"}
FOREIGN_PERIOD = 20
QUIET_STATUSES = ("draft", "pending", "paused", "completed", "cancelled", "rejected")
QUIET_PERIOD = 7
TITLES = ("Summer Sale", "New Flavour", "Season Pass", "Launch Week", "Festival of Lights", "Back to School")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a campaign promises, and the payment of one due participation that follows, worked out by hand.

    `due_max` is how many such payments the terms can be made to allow; a derived cpm target spends the budget on
    the first.
    """

    payment_type: str
    rate: float
    target: int
    payment_minor: int
    explicit_target: bool
    budget: float
    due_max: int = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One campaign, and which numbers its participations and their streamers have."""

    number: int
    status: str
    currency: str
    terms: Terms
    participations_first: int
    participations_count: int
    streamers_first: int
    streamers_count: int  # of its whole currency: numbers wrap around at it
    due_count: int

    def streamer_number(self, place: int) -> int:
        return (self.streamers_first + place) % self.streamers_count


def plan_campaigns(campaigns_count: int, participations_count: int, due_percent: int) -> tuple[Plan, ...]:
    """The campaigns of a regular platform; the counts are met exactly, the share of due participations about."""
    sizes = _sizes(campaigns_count, participations_count)
    pools = {currency: _pool_size(currency, sizes) for currency in CURRENCIES}
    taken = dict.fromkeys(CURRENCIES, 0)
    plans: list[Plan] = []
    first = 0
    for number, size in enumerate(sizes):
        currency = currency_of(number)
        quiet = number % QUIET_PERIOD == QUIET_PERIOD - 1
        wanted = 0 if quiet else size * due_percent // 100
        terms = _terms(number, currency, wanted)
        plans.append(
            Plan(
                number=number,
                status=QUIET_STATUSES[number // QUIET_PERIOD % len(QUIET_STATUSES)] if quiet else "active",
                currency=currency,
                terms=terms,
                participations_first=first,
                participations_count=size,
                streamers_first=taken[currency],
                streamers_count=pools[currency],
                due_count=min(wanted, terms.due_max),
            )
        )
        first += size
        taken[currency] += size
    return tuple(plans)


def currency_of(number: int) -> str:
    return FOREIGN.get(number % FOREIGN_PERIOD, "INR")


def brand_id(forge: Forge, number: int) -> ObjectId:
    return forge.object_id("brand", number % BRANDS_COUNT)


def campaign_id(forge: Forge, plan: Plan) -> ObjectId:
    return forge.object_id("campaign", plan.number)


def streamer_id(forge: Forge, plan: Plan, place: int) -> ObjectId:
    return forge.object_id(f"streamer-{plan.currency}", plan.streamer_number(place))


def campaigns(forge: Forge, plans: tuple[Plan, ...]) -> Iterator[Document]:
    for plan in plans:
        terms = plan.terms
        yield forge.campaign(
            campaign_id(forge, plan),
            title=f"{TITLES[plan.number % len(TITLES)]} {plan.number + 1}",
            brandId=brand_id(forge, plan.number),
            status=plan.status,
            paymentType=terms.payment_type,
            paymentRate=terms.rate,
            budget=terms.budget,
            # Null, 0 and absent all mean "derive it"; absent is the campaign of the reference case.
            targetImpressions=terms.target if terms.explicit_target else (None, 0)[plan.number % 2],
            currency=plan.currency,
            gKeyCooloffHours=(720, 24, 168)[plan.number % 3],
        )


def participations(forge: Forge, plans: tuple[Plan, ...]) -> Iterator[Document]:
    """Per campaign: one exactly at target, the rest of the due ones past it, then the ones below.

    Quiet campaigns have only these
    """
    for plan in plans:
        random = Random(f"{forge.seed}:participations:{plan.number}")
        for place in range(plan.participations_count):
            yield _participation(forge, plan, place, random)


def wallets(forge: Forge, plans: tuple[Plan, ...]) -> Iterator[Document]:
    """One for each brand and each streamer, in use: what the platform itself has put in and taken out."""
    random = Random(f"{forge.seed}:wallets")
    for number in range(BRANDS_COUNT):
        deposited = round(random.uniform(50_000, 500_000), 2)
        yield forge.wallet(
            forge.object_id("brand-wallet", number),
            brand_id(forge, number),
            walletType="brand",
            balance=deposited,
            withdrawableBalance=0.0,
            totalSpent=round(deposited * 0.4, 2),
        )
    for currency, count in streamers(plans).items():
        for number in range(count):
            yield _streamer_wallet(forge, currency, number, random)


def transactions(forge: Forge, plans: tuple[Plan, ...]) -> Iterator[Document]:
    """Lines of others: withdrawals, and earnings of campaigns long gone, which must not be taken for ours."""
    for currency, count in streamers(plans).items():
        random = Random(f"{forge.seed}:transactions:{currency}")
        for number in range(0, count, 2):
            earned = number % 4 == 0
            yield forge.transaction(
                forge.object_id(f"transaction-{currency}", number),
                forge.object_id(f"wallet-{currency}", number),
                forge.object_id(f"streamer-{currency}", number),
                transactionType="earnings_credit" if earned else "withdrawal",
                amount=_amount(random, currency, 2_000),
                currency=currency,
                campaignId=forge.object_id("campaign-long-gone", number % 50) if earned else None,
                description="Earnings of a finished campaign" if earned else "Withdrawal to bank account",
            )


def gkeys(forge: Forge, plans: tuple[Plan, ...]) -> Iterator[Document]:
    """Two for each participation: one its campaign locked, and one locked by it too, by another campaign, or free."""
    for plan in plans:
        if plan.status == "active":
            for place in range(plan.participations_count):
                yield from _gkeys_of(forge, plan, place)


def streamers(plans: tuple[Plan, ...]) -> dict[str, int]:
    """How many streamers there are of each currency."""
    return {plan.currency: plan.streamers_count for plan in plans}


def _participation(forge: Forge, plan: Plan, place: int, random: Random) -> Document:
    target = plan.terms.target
    if place < plan.due_count:
        impressions = target if place == 0 else target + random.randint(1, target)
    else:
        impressions = random.randrange(target) if plan.status == "active" else random.randrange(target // 10 + 1)
    number = plan.participations_first + place
    document = forge.participation(
        forge.object_id("participation", number),
        campaignId=campaign_id(forge, plan),
        streamerId=streamer_id(forge, plan, place),
        impressions=impressions,
        clicks=impressions // 40,
        estimatedEarnings=round(impressions * plan.terms.rate / 1000, 2) if plan.terms.payment_type == "cpm" else 0.0,
        uniqueViewers=impressions * 2 // 3,
        chatClicks=impressions // 150,
        qrScans=impressions // 300,
        linkClicks=impressions // 60,
        lastStreamDate=forge.now - timedelta(minutes=random.randrange(14 * 24 * 60)),
        browserSourceToken=forge.token("participation", number),
    )
    # Old documents lack the field: absent means the same as false.
    if number % 3:
        document["finalEarningsTransferred"] = False
    return document


def _streamer_wallet(forge: Forge, currency: str, number: int, random: Random) -> Document:
    balance = _amount(random, currency, 5_000)
    return forge.wallet(
        forge.object_id(f"wallet-{currency}", number),
        forge.object_id(f"streamer-{currency}", number),
        balance=balance,
        withdrawableBalance=balance,
        totalEarnings=round(balance + _amount(random, currency, 20_000), 2),
        currency=currency,
    )


def _gkeys_of(forge: Forge, plan: Plan, place: int) -> Iterator[Document]:
    number = (plan.participations_first + place) * 2
    streamer = streamer_id(forge, plan, place)
    campaign = campaign_id(forge, plan)
    first: Document = {"category": CATEGORIES[plan.number * 2 % len(CATEGORIES)], "usageCount": place % 4}
    if place % 5 == 0:
        # The same brand had this key last and asked for more than this campaign does: the larger cool-off counts.
        first |= {"lastBrandId": brand_id(forge, plan.number), "lastBrandCooloffHours": 1440}
    yield forge.gkey(forge.object_id("gkey", number), streamer, **first, **forge.locked_by(campaign))
    second: Document = {"category": CATEGORIES[(plan.number * 2 + 1) % len(CATEGORIES)]}
    if place % 3 == 0:
        second |= forge.locked_by(campaign)
    elif place % 3 == 1:
        second |= forge.locked_by(forge.object_id("campaign-elsewhere", plan.number))
    yield forge.gkey(forge.object_id("gkey", number + 1), streamer, **second)


def _amount(random: Random, currency: str, size: int) -> float:
    return float(random.randrange(size)) if currency == "JPY" else round(random.uniform(0, size), 2)


def _terms(number: int, currency: str, due_count: int) -> Terms:
    """Budgets pay all that is due and two more, so that nothing here is ever over budget."""
    payments = due_count + 2
    explicit: dict[str, Any] = {"explicit_target": True}
    if currency == "JPY":
        return Terms(
            payment_type="cpm", rate=150, target=10_000, payment_minor=1_500, budget=1_500 * payments, **explicit
        )
    if currency == "KWD":
        return Terms(
            payment_type="fixed", rate=2.125, target=4_000, payment_minor=2_125, budget=2.125 * payments, **explicit
        )
    match number % 4:
        case 0:  # 120.50 per thousand, 4,000 ordered: 482.00 each
            return Terms(
                payment_type="cpm", rate=120.5, target=4_000, payment_minor=48_200, budget=482.0 * payments, **explicit
            )
        case 1:
            return Terms(
                payment_type="fixed",
                rate=250.0,
                target=2_500,
                payment_minor=25_000,
                budget=250.0 * payments,
                **explicit,
            )
        case 2:  # 1500 / 250 * 1000 = 6,000 impressions, which cost the budget
            return Terms(
                payment_type="cpm",
                rate=250,
                target=6_000,
                payment_minor=150_000,
                budget=1_500,
                explicit_target=False,
                due_max=1,
            )
        case _:  # a fixed campaign's derived target is a thousand impressions for each unit of budget
            budget = 15 * payments
            return Terms(
                payment_type="fixed",
                rate=15,
                target=budget * 1_000,
                payment_minor=1_500,
                budget=budget,
                explicit_target=False,
            )


def _sizes(campaigns_count: int, participations_count: int) -> list[int]:
    """Uneven shares: campaigns differ in size; the last takes what rounding leaves."""
    weights = [2 + number % 5 for number in range(campaigns_count)]
    sizes = [participations_count * weight // sum(weights) for weight in weights]
    sizes[-1] += participations_count - sum(sizes)
    return sizes


def _pool_size(currency: str, sizes: list[int]) -> int:
    """Streamers take part in several campaigns each, but never twice in one: that is planted elsewhere, on purpose."""
    own = [size for number, size in enumerate(sizes) if currency_of(number) == currency]
    return max([1, sum(own) // 4, *own])
