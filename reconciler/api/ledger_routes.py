"""The ledger, read: payouts, one payout, holds, and why a participation was paid or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, BaseModel, Field

from reconciler.api.auth import Viewer
from reconciler.api.problems import Problem, ProblemKind, problem_responses
from reconciler.api.services import ServicesOf
from reconciler.domain.posted import PayoutStatus
from reconciler.ledger.reads.general_ledger import Period
from reconciler.queries.explain import find_explanation
from reconciler.queries.holds import hold_rows
from reconciler.queries.payouts import PayoutQuery, payout_documents, payout_rows

LIMIT_MAX = 500
_SEQUENCE_MAX = 2**63 - 1

router = APIRouter(prefix="/api/v1", tags=["ledger"])


class PayoutPage(BaseModel):
    """Payouts and reversals, newest first, a row each. Reversals have negative amounts: a plain sum is right."""

    payouts: list[dict[str, Any]] = Field(
        examples=[
            [
                {
                    "created_at": "2026-11-26T03:30:00.000Z",
                    "status": "paid",
                    "projection": "done",
                    "currency": "INR",
                    "amount_minor": 330000,
                    "amount": "3300.00",
                    "participation_id": "64b000000000000000000002",
                    "payout_key": "payout:oid:64b000000000000000000002:1",
                    "sequence": 2,
                }
            ]
        ]
    )
    next_cursor: str | None = Field(description="Ask with it for the next page; null: this was the last.")


class PayoutDocuments(BaseModel):
    """All about the payouts that a key names, or those of one participation."""

    payouts: list[dict[str, Any]]


class HoldList(BaseModel):
    """Payouts that wait, in the order in which they are retried; ``approve_with`` is the key to approve or reject."""

    holds: list[dict[str, Any]]


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs an offset, such as Z")
    try:
        # Up to the next millisecond, which is what the ledger's times are made of: no payout lies between.
        return value.astimezone(UTC) + timedelta(microseconds=-value.microsecond % 1000)
    except OverflowError:
        raise ValueError("the time is out of range") from None


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("NUL is in no identity")
    return value


Time = Annotated[datetime, AfterValidator(_aware)]
Text = Annotated[str, AfterValidator(_storable), Field(min_length=1, max_length=300)]


class PayoutFilters(BaseModel):
    """Filters; all that are given must agree."""

    model_config = {"extra": "forbid"}

    since: Time | None = Field(default=None, description="Posted at this time or later; with an offset.")
    until: Time | None = Field(default=None, description="Posted before this time.")
    campaign: Text | None = None
    streamer: Text | None = None
    status: PayoutStatus | None = None
    trigger: Text | None = Field(default=None, description="What set it off: sweep, watch, full_check, …")
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = None
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")] | None = Field(
        default=None, description="next_cursor of the page before."
    )
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = 50


PayoutKey = Annotated[
    str,
    Path(
        min_length=1,
        max_length=300,
        description="A payout's key, or the participation it pays.",
        examples=["payout:oid:64b000000000000000000002:1"],
    ),
]


@router.get("/payouts", summary="Payouts, newest first", responses=problem_responses(ProblemKind.UNAUTHORIZED))
async def payouts(services: ServicesOf, _caller: Viewer, filters: Annotated[PayoutFilters, Query()]) -> PayoutPage:
    """Page by page: what is posted meanwhile comes before the first page and moves no other."""
    query = PayoutQuery(
        period=Period(since=filters.since, until=filters.until),
        campaign=filters.campaign,
        streamer=filters.streamer,
        status=None if filters.status is None else filters.status.value,
        trigger=filters.trigger,
        currency=filters.currency,
        before=None if filters.cursor is None else min(int(filters.cursor), _SEQUENCE_MAX),
        limit=filters.limit + 1,
    )
    found = await services.offload(lambda: payout_rows(services.context.engine, query))
    shown = found[: filters.limit]
    return PayoutPage(payouts=shown, next_cursor=str(shown[-1]["sequence"]) if len(found) > filters.limit else None)


@router.get(
    "/payouts/{key:identity}",
    summary="All about one payout",
    responses=problem_responses(ProblemKind.UNAUTHORIZED, ProblemKind.NOT_FOUND),
)
async def payout(services: ServicesOf, _caller: Viewer, key: PayoutKey) -> PayoutDocuments:
    """Its facts, entries, decisions and effects."""
    found = await services.offload(lambda: payout_documents(services.context.engine, key))
    if not found:
        raise Problem(ProblemKind.NOT_FOUND, f"The ledger has no payout {key[:60]}.")
    return PayoutDocuments(payouts=found)


@router.get("/holds", summary="Payouts that wait", responses=problem_responses(ProblemKind.UNAUTHORIZED))
async def holds(services: ServicesOf, _caller: Viewer) -> HoldList:
    """For budget, or for approval."""
    return HoldList(holds=await services.offload(lambda: hold_rows(services.context.engine)))


@router.get(
    "/explain/{participation_id:identity}",
    summary="Why it was paid, or was not",
    responses=problem_responses(ProblemKind.UNAUTHORIZED, ProblemKind.NOT_FOUND),
)
async def explain(
    services: ServicesOf,
    _caller: Viewer,
    participation_id: Annotated[str, Path(min_length=1, max_length=300, examples=["64b000000000000000000002"])],
) -> dict[str, Any]:
    """Every rule, number and rounding, from both databases; the document of `run.py explain --json`."""
    found = await services.offload(lambda: find_explanation(services.context.explainer, participation_id))
    if found is None:
        raise Problem(ProblemKind.NOT_FOUND, f"Neither database has a participation {participation_id[:60]}.")
    return found
