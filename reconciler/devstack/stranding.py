"""Which campaigns of a sample strand money: an oracle in plain fractions, which shares nothing with the product."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from reconciler.devstack.documents import Document

QUIET_DAYS = timedelta(days=7)


def stranded_campaigns(
    campaigns: Iterable[Document], participations: Iterable[Document], now: datetime
) -> dict[str, str]:
    """Campaigns (cpm) in which participations below target earned something that will never be paid → why.

    It is over, or what is left of its budget does not buy one impression, or its end has passed, or nobody streamed for
    seven days. Left: the budget less what those at or past target are paid of it and what the impressions of all others
    cost. Documents that cannot be read earn nothing.
    """
    counted: dict[Any, list[int]] = defaultdict(list)
    streamed: dict[Any, datetime] = {}
    for participation in participations:
        impressions, campaign = participation.get("impressions"), participation["campaignId"]
        at = participation.get("lastStreamDate")
        if at is not None and participation.get("status") in ("active", "completed"):
            streamed[campaign] = max(at, streamed.get(campaign, at))
        is_open = participation.get("status") == "active" and not participation.get("earningsForfeited")
        if is_open and isinstance(impressions, int) and impressions >= 0:
            counted[campaign].append(impressions)
    found = {}
    for campaign in campaigns:
        why = _why(campaign, counted[campaign["_id"]], streamed.get(campaign["_id"], now), now)
        if why:
            found[str(campaign["_id"])] = why
    return found


def _why(campaign: Document, impressions: list[int], streamed: datetime, now: datetime) -> str:
    numbers = (campaign.get("paymentRate"), campaign.get("budget"))
    is_readable = all(isinstance(number, int | float) and 0 < number < 10**12 for number in numbers)
    if campaign.get("paymentType") != "cpm" or not is_readable:
        return ""
    rate, budget = (Fraction(str(number)) for number in numbers)
    target = campaign.get("targetImpressions") or int(budget / rate * 1000)
    below = sum(count for count in impressions if count < target)
    status = campaign.get("status")
    if not below or status not in ("active", "completed", "cancelled", "rejected"):
        return ""
    if status in ("cancelled", "rejected"):
        return f"campaign_{status}"
    each = rate * target / 1000
    paid = each * min(sum(count >= target for count in impressions), budget // each)
    if budget - paid - rate * below / 1000 < rate / 1000:
        return "budget_exhausted"
    if campaign.get("endDate") and campaign["endDate"] < now:
        return "campaign_ended"
    if streamed < now - QUIET_DAYS:
        return "campaign_inactive"
    return "campaign_completed" if status == "completed" else ""
