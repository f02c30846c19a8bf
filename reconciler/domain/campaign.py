"""A campaign's terms: what its document promises to pay, for how much, out of which budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from reconciler.domain.ids import DocumentId, parse_id
from reconciler.domain.money import (
    format_minor,
    format_rate,
    minor_per_major,
    parse_amount_minor,
    parse_currency,
    parse_rate,
)
from reconciler.domain.parsing import FieldProblem, Unreadable, keep, parse_count, parse_date, parse_status

COOLOFF_HOURS_DEFAULT = 720
COOLOFF_HOURS_MAX = 8760
TARGET_MAX = 2**53
"""Far more impressions than can be counted; what is beyond it fits into no column of the ledger either."""

STATUSES_THAT_PAY = frozenset({"active", "completed"})
STATUSES_UNFINISHED = frozenset({"draft", "pending", "rejected"})
"""With these a campaign may lack what it is to pay: it was never begun."""
STATUSES = STATUSES_THAT_PAY | STATUSES_UNFINISHED | {"paused", "cancelled"}
"""Every word that is known."""


class PaymentType(StrEnum):
    """How a campaign's rate is meant."""

    CPM = "cpm"
    """Major units per 1,000 impressions."""
    FIXED = "fixed"
    """Major units per settled participation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignTerms:
    """Well-formed terms. ``rate`` is in major units (exact); ``budget_minor`` in minor units of ``currency``."""

    campaign_id: DocumentId
    brand_id: DocumentId
    status: str
    payment_type: PaymentType
    rate: Fraction
    budget_minor: int
    target_impressions: int
    currency: str
    cooloff_hours: int
    end_date: datetime | None
    """When it ends; None where the document says nothing that can be read as a date."""
    cooloff_was_read: bool
    """False when the document's cool-off lies outside 1…8760 and the default stands in for it."""

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.budget_minor <= 0 or self.target_impressions < 1:
            raise ValueError("rate, budget and target of a campaign are positive")

    @property
    def rate_text(self) -> str:
        """The rate as exact decimal text, as it is kept with every payout."""
        if self.payment_type is PaymentType.FIXED:
            scaled = self.rate * minor_per_major(self.currency)
            return format_minor(scaled.numerator, self.currency)
        return format_rate(self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class MalformedCampaign:
    """A campaign whose terms cannot be read. ``status`` is kept: a draft is unfinished rather than broken."""

    campaign_id: DocumentId
    status: str | None
    problems: tuple[FieldProblem, ...]


Campaign = CampaignTerms | MalformedCampaign


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignDefaults:
    """What a campaign's document leaves to the configuration."""

    currency: str
    fixed_impressions_per_unit: int


def parse_campaign(campaign_id: DocumentId, record: Mapping[str, object], defaults: CampaignDefaults) -> Campaign:
    """Read a campaign's record (our field names; ObjectIds as DocumentId, Decimal128 as Decimal). Never raises."""
    problems: list[FieldProblem] = []
    status = parse_status(record.get("status"))
    if status is None:
        problems.append(FieldProblem(field="status", why="is not text"))
    brand_id = keep(parse_id(record.get("brand_id")), "brand_id", problems)
    payment_type = _read_payment_type(record.get("payment_type"), problems)
    currency = keep(parse_currency(record.get("currency"), defaults.currency), "currency", problems)
    rate = budget_minor = derived = None
    if currency is not None and payment_type is not None:
        rate = _read_rate(record.get("payment_rate"), payment_type, currency, problems)
        budget_minor = _read_budget(record.get("budget"), currency, problems)
        if rate is not None and budget_minor is not None:
            budget = Fraction(budget_minor, minor_per_major(currency))
            derived = derived_target(payment_type, rate, budget, defaults.fixed_impressions_per_unit)
    target = _read_target(record.get("target_impressions"), derived, problems)
    if (
        problems
        or brand_id is None
        or payment_type is None
        or currency is None
        or rate is None
        or budget_minor is None
        or target is None
    ):
        return MalformedCampaign(
            campaign_id=campaign_id,
            status=status,
            problems=tuple(problems),
        )
    hours, was_read = _read_cooloff(record.get("gkey_cooloff_hours"))
    return CampaignTerms(
        campaign_id=campaign_id,
        brand_id=brand_id,
        status=str(status),
        payment_type=payment_type,
        rate=rate,
        budget_minor=budget_minor,
        target_impressions=target,
        currency=currency,
        cooloff_hours=hours,
        cooloff_was_read=was_read,
        end_date=parse_date(record.get("end_date")),
    )


def derived_target(payment_type: PaymentType, rate: Fraction, budget: Fraction, fixed_impressions_per_unit: int) -> int:
    """Impressions that a budget buys, where no target is set: cpm ⌊budget / rate · 1000⌋, fixed ⌊budget · 1000⌋.

    ``budget`` and ``rate`` in major units; 3300 at 1650 a thousand is 2000.
    """
    bought = budget / rate * 1000 if payment_type is PaymentType.CPM else budget * fixed_impressions_per_unit
    return bought.numerator // bought.denominator


def _read_payment_type(value: object, problems: list[FieldProblem]) -> PaymentType | None:
    if type(value) is str and value in set(PaymentType):
        return PaymentType(value)
    problems.append(FieldProblem(field="payment_type", why="is neither cpm nor fixed"))
    return None


def _read_rate(
    value: object, payment_type: PaymentType, currency: str, problems: list[FieldProblem]
) -> Fraction | None:
    rate: Fraction | Unreadable
    if payment_type is PaymentType.CPM:
        rate = parse_rate(value, currency)
    else:
        amount_minor = parse_amount_minor(value, currency)
        rate = (
            amount_minor if isinstance(amount_minor, Unreadable) else Fraction(amount_minor, minor_per_major(currency))
        )
    if not isinstance(rate, Unreadable) and rate <= 0:
        rate = Unreadable("is not more than zero")
    return keep(rate, "payment_rate", problems)


def _read_budget(value: object, currency: str, problems: list[FieldProblem]) -> int | None:
    budget_minor = parse_amount_minor(value, currency)
    if not isinstance(budget_minor, Unreadable) and budget_minor <= 0:
        budget_minor = Unreadable("is not more than zero")
    return keep(budget_minor, "budget", problems)


def _read_target(value: object, derived: int | None, problems: list[FieldProblem]) -> int | None:
    """The explicit target, or the derived one where the document has null, 0 or nothing."""
    explicit = 0 if value is None else keep(parse_count(value, count_max=TARGET_MAX), "target_impressions", problems)
    if explicit != 0 or derived is None:
        return explicit or None
    if 1 <= derived <= TARGET_MAX:
        return derived
    why = "less than 1" if derived < 1 else f"more than {TARGET_MAX}"
    problems.append(FieldProblem(field="target_impressions", why=f"derived from budget and rate is {why}"))
    return None


def _read_cooloff(value: object) -> tuple[int, bool]:
    if value is None:
        return COOLOFF_HOURS_DEFAULT, True
    hours = parse_count(value)
    if isinstance(hours, Unreadable) or not 1 <= hours <= COOLOFF_HOURS_MAX:
        return COOLOFF_HOURS_DEFAULT, False
    return hours, True
