"""Which campaigns of a sample strand money: an oracle in plain fractions, which shares nothing with the product."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from reconciler.devstack.documents import Document

USED_UP = Fraction(95, 100)


def stranded_campaigns(campaigns: Iterable[Document], participations: Iterable[Document]) -> set[str]:
    """Identities of active cpm campaigns whose budget is used up while participations below target earned something.

    Used: the payment of everybody at or past target, and what the impressions of all others cost. Documents that cannot
    be read earn nothing.
    """
    counted: dict[Any, list[int]] = defaultdict(list)
    for participation in participations:
        impressions = participation.get("impressions")
        is_open = participation.get("status") == "active" and not participation.get("earningsForfeited")
        if is_open and isinstance(impressions, int) and impressions >= 0:
            counted[participation["campaignId"]].append(impressions)
    return {
        str(campaign["_id"])
        for campaign in campaigns
        if campaign.get("status") == "active"
        and campaign.get("paymentType") == "cpm"
        and _strands(campaign, counted[campaign["_id"]])
    }


def _strands(campaign: Document, impressions: list[int]) -> bool:
    numbers = (campaign.get("paymentRate"), campaign.get("budget"))
    if not all(isinstance(number, int | float) and 0 < number < 10**12 for number in numbers):
        return False
    rate, budget = (Fraction(str(number)) for number in numbers)
    target = campaign.get("targetImpressions") or int(budget / rate * 1000)
    accrued = sum((rate * count / 1000 for count in impressions if count < target), Fraction(0))
    paid = sum((rate * target / 1000 for count in impressions if count >= target), Fraction(0))
    return accrued > 0 and min(paid, budget) + accrued >= budget * USED_UP
