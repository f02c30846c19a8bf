"""Money in waiting and money by day: what finance plans with, as rows of the report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from jobs.check.tally import Tally, words_of
from reconciler.clock import utc_text
from reconciler.deciding import Deciding
from reconciler.domain.breaks import Break
from reconciler.domain.campaign import STATUSES_THAT_PAY, CampaignTerms
from reconciler.domain.decision import NotDue
from reconciler.domain.ids import DocumentId, payout_key, plain_id
from reconciler.domain.judging import judge_not_due
from reconciler.domain.ledger_snapshot import OpenHold
from reconciler.domain.stranding import Accrued, stranded
from reconciler.ports.population import PopulationReads
from reconciler.ports.scanning import FactScan
from reconciler.reports.model import Waiting

DAYS = 31
CAMPAIGNS_BY_DAY_MAX = 20
_CAMPAIGNS_A_PAGE = 500
_WAITING = ("accrued_minor", "held_minor", "stranded_minor")
_SUMMED = ("payouts", "gross_minor", "fee_minor", "amount_minor", "reversed_minor")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyInWaiting:
    """``timezone`` cuts days off; ``rows_max`` limits each list, never its totals."""

    deciding: Deciding
    scan: FactScan
    reads: PopulationReads
    timezone: str
    rows_max: int

    def waiting(self, tally: Tally, now: datetime, campaign_id: str | None) -> tuple[Waiting, list[Break]]:
        """What accrued, what is held and what is stranded; the breaks name the last."""
        accrued, breaks = [], list[Break]()
        totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for campaign, title, money in self._accruing(tally):
            if campaign.status in STATUSES_THAT_PAY:
                accrued.append(
                    {
                        "campaign_id": campaign.campaign_id.value,
                        "title": title,
                        "currency": campaign.currency,
                        "participations": tally.accrued_count[campaign.campaign_id.tagged],
                        "accrued_minor": money.minor,
                    }
                )
                totals[campaign.currency]["accrued_minor"] += money.minor
            found = stranded(campaign, money, self.deciding.policy, now)
            if found is not None:
                found = self._still_stranded(campaign, money, now)
            if found is not None:
                breaks.append(found)
                totals[campaign.currency]["stranded_minor"] += found.expected_minor or 0
        holds = [one for one in self.deciding.ledger.open_holds() if campaign_id in (None, plain_id(one.campaign_id))]
        for hold in holds:
            totals[hold.currency]["held_minor"] += hold.amount_minor
        waiting = Waiting(
            accrued=accrued[: self.rows_max],
            held=[_hold_row(one, now) for one in holds[: self.rows_max]],
            stranded=[_stranded_row(one) for one in breaks[: self.rows_max]],
            totals=[
                {
                    "currency": currency,
                    **{name: sums[name] for name in ("accrued_minor", "held_minor", "stranded_minor")},
                }
                for currency, sums in sorted(totals.items())
            ],
        )
        return waiting, breaks

    def _accruing(self, tally: Tally) -> Iterator[tuple[CampaignTerms, str, Accrued]]:
        """Campaigns in which something accrued, each with its title and money: the most first."""
        wanted = [DocumentId.from_tagged(tagged) for tagged, minor in tally.accrued_minor.most_common() if minor]
        for start in range(0, len(wanted), _CAMPAIGNS_A_PAGE):
            ids = wanted[start : start + _CAMPAIGNS_A_PAGE]
            campaigns, counters = self.deciding.facts.campaigns(ids), self.scan.counters(ids, {})
            paid, streamed = self.reads.gross_paid(ids), self.scan.last_streams(ids)
            for tagged in (one.tagged for one in ids):
                terms = campaigns.get(tagged)
                if isinstance(terms, CampaignTerms):
                    money = Accrued(
                        minor=tally.accrued_minor[tagged],
                        impressions=tally.accrued_impressions[tagged],
                        paid_minor=paid.get(tagged, 0),
                        reached_count=tally.reached_count[tagged],
                        streamed_at=streamed.get(tagged),
                    )
                    yield terms, counters[tagged].title if tagged in counters else "", money

    def _still_stranded(self, campaign: CampaignTerms, money: Accrued, now: datetime) -> Break | None:
        """By a reading of now: whoever was below target when the check came by may be paid, and the campaign over."""
        page, again = self.deciding.facts.read_campaign(campaign.campaign_id), Tally()
        decided = self.deciding.decide(page)
        for facts, decision in zip(decided.facts, decided.decisions, strict=True):
            if isinstance(decision, NotDue):
                again.count(judge_not_due(decision, facts, self.deciding.policy))
        tagged = campaign.campaign_id.tagged
        terms = page.campaigns.get(tagged)
        if not isinstance(terms, CampaignTerms):
            return None
        fresh = replace(
            money,
            minor=again.accrued_minor[tagged],
            impressions=again.accrued_impressions[tagged],
            reached_count=again.reached_count[tagged],
            paid_minor=self.deciding.ledger.gross_paid_minor(campaign.campaign_id),
        )
        return stranded(terms, fresh, self.deciding.policy, now)

    def paid_by_day(self, now: datetime, campaign_id: str | None) -> list[Row]:
        """The last days in the reports' time zone; campaigns beyond the largest summed up under no identity."""
        found = self.reads.paid_by_day(days_until(now, self.timezone), campaign_id)
        by_campaign: Counter[str] = Counter()
        for one in found:
            by_campaign[one.campaign_id] += one.gross_minor
        largest = {campaign for campaign, _ in by_campaign.most_common(CAMPAIGNS_BY_DAY_MAX)}
        sums: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        for one in found:
            shown = plain_id(one.campaign_id) if one.campaign_id in largest else ""
            for name in _SUMMED:
                sums[one.day, shown, one.currency][name] += getattr(one, name)
        return [
            {"day": day, "campaign_id": campaign, "currency": currency, **{name: row[name] for name in _SUMMED}}
            for (day, campaign, currency), row in sorted(sums.items())
        ]

    def settled_before(self, campaign_id: str | None) -> list[Row]:
        """What was settled before this ledger began."""
        return [asdict(one) for one in self.reads.settled_before(campaign_id)]


def withheld_rows(tally: Tally) -> list[Row]:
    """Who reached their target and is not paid because somebody decided so: the most money first."""
    rows = []
    for key, count in tally.withheld_count.items():
        reason, status, currency = words_of(key)
        rows.append(
            {
                "reason": reason,
                "status": status,
                "currency": currency,
                "participations": count,
                "gross_minor": tally.withheld_minor[key],
            }
        )
    return sorted(rows, key=lambda row: (-row["gross_minor"], row["reason"], row["status"], row["currency"]))


def days_until(now: datetime, timezone: str) -> list[tuple[str, datetime, datetime]]:
    """The last days to that of ``now``, each with its beginning and end in UTC: a day has 23 to 25 hours."""
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()

    def begins(back: int) -> datetime:
        return datetime.combine(today - timedelta(days=back), time(), tzinfo=zone).astimezone(now.tzinfo)

    return [
        ((today - timedelta(days=back)).isoformat(), begins(back), begins(back - 1)) for back in reversed(range(DAYS))
    ]


def _hold_row(hold: OpenHold, now: datetime) -> Row:
    return {
        "participation_id": plain_id(hold.participation_id),
        "campaign_id": plain_id(hold.campaign_id),
        "streamer_id": hold.streamer_id,
        "payout_key": payout_key(DocumentId.from_tagged(hold.participation_id), 1),
        "currency": hold.currency,
        "amount_minor": hold.amount_minor,
        "reason": hold.reason,
        "since": utc_text(hold.opened_at),
        "age_s": max(0, round((now - hold.opened_at).total_seconds())),
    }


def _stranded_row(found: Break) -> Row:
    return {
        "campaign_id": found.campaign_id,
        "currency": found.currency,
        "accrued_minor": found.expected_minor,
        "reason": found.reason,
    }
