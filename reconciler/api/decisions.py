"""What people decide: approve, reject, reverse, resume, acknowledge. Who decides is who the credentials say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, BaseModel, Field

from reconciler.api.auth import Admin, Viewer
from reconciler.api.callers import Caller
from reconciler.api.problems import ProblemKind, problem_responses
from reconciler.api.services import Services, ServicesOf
from reconciler.domain.breaks import BreakStatus
from reconciler.ledger.journal.decisions import Signature
from reconciler.ledger.operations.break_records import BreakFilter
from reconciler.queries.breaks import break_documents

router = APIRouter(prefix="/api/v1", tags=["decisions"])

_REFUSALS = problem_responses(
    ProblemKind.UNAUTHORIZED,
    ProblemKind.FORBIDDEN,
    ProblemKind.CSRF,
    ProblemKind.NOT_FOUND,
    ProblemKind.REFUSED,
    ProblemKind.HALTED,
    ProblemKind.TOO_LARGE,
    ProblemKind.MEDIA_TYPE,
)


def _said(value: str) -> str:
    if not value.strip() or "\x00" in value or any("\ud800" <= one <= "\udfff" for one in value):
        # JSON can spell halves of characters, which no database takes.
        raise ValueError("a reason is a text that is not empty")
    return value


class Why(BaseModel):
    """Why it is decided. Kept for ever, beside who decided."""

    model_config = {"extra": "forbid", "json_schema_extra": {"examples": [{"reason": "checked with the brand"}]}}

    reason: Annotated[str, AfterValidator(_said), Field(min_length=1, max_length=1000)]

    def signed_by(self, caller: Caller) -> Signature:
        """Who decides, and why."""
        return Signature(by=caller.name, reason=self.reason)


class Approval(Why):
    """Why a payout is approved, and up to which amount."""

    amount_minor: int | None = Field(
        default=None,
        ge=0,
        le=2**53,
        description="The gross amount seen, in minor units: so much at most is paid, though views raise it meanwhile. "
        "Without it, what waits when the approval arrives.",
    )


class Resumption(Why):
    """Why paying goes on."""

    since: datetime | None = Field(
        default=None, description="When the halt that was seen began. A later one is not ended."
    )


class DecisionTaken(BaseModel):
    """What became of a decision."""

    subject: str
    result: str = Field(
        description="approved, rejected, reversed, resumed, acknowledged; requested: another person has to approve it.",
        examples=["approved"],
    )
    by: str = Field(examples=["asha"])


class PresentBreaks(BaseModel):
    """Breaks that are not gone: the open ones, then those that somebody acknowledged; the gravest and oldest first."""

    breaks: list[dict[str, Any]]


Key = Annotated[str, Path(min_length=1, max_length=300, examples=["payout:oid:64b000000000000000000002:1"])]


@router.post("/payouts/{key:identity}/approve", summary="Approve a payout that waits", responses=_REFUSALS)
async def approve(services: ServicesOf, caller: Admin, key: Key, why: Approval) -> DecisionTaken:
    """Or, under four eyes, what another person asked for (the key of its entry). Eligibility is checked again."""
    people, signed = services.context.people, why.signed_by(caller)
    return await _decide(services, key, signed, lambda: people.approve(key, signed, why.amount_minor))


@router.post("/payouts/{key:identity}/reject", summary="Reject a payout that waits", responses=_REFUSALS)
async def reject(services: ServicesOf, caller: Admin, key: Key, why: Why) -> DecisionTaken:
    """For good, until a person repays it."""
    people, signed = services.context.people, why.signed_by(caller)
    return await _decide(services, key, signed, lambda: people.reject(key, signed))


@router.post("/payouts/{key:identity}/reverse", summary="Take a payout back", responses=_REFUSALS)
async def reverse(services: ServicesOf, caller: Admin, key: Key, why: Why) -> DecisionTaken:
    """Every posting mirrored, once. Under four eyes it is only asked for, and another person approves it."""
    people, signed = services.context.people, why.signed_by(caller)
    return await _decide(services, key, signed, lambda: people.reverse(key, signed))


@router.post("/resume", summary="Let paying go on after a halt", responses=_REFUSALS)
async def resume(services: ServicesOf, caller: Admin, why: Resumption) -> DecisionTaken:
    """When the cause is mended."""
    people, signed = services.context.people, why.signed_by(caller)
    return await _decide(services, "paying", signed, lambda: people.resume(signed, why.since))


@router.get(
    "/breaks",
    summary="Breaks that are still there, the open ones first",
    responses=problem_responses(ProblemKind.UNAUTHORIZED, ProblemKind.NOT_FOUND),
)
async def breaks(
    services: ServicesOf, _caller: Viewer, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> PresentBreaks:
    """As the last full check left them; ``status`` marks those that somebody acknowledged."""
    engine, now = services.context.engine, services.context.clock()
    found = await services.offload(
        lambda: [
            *break_documents(engine, BreakFilter(status=BreakStatus.OPEN), now, limit),
            *break_documents(engine, BreakFilter(status=BreakStatus.ACKNOWLEDGED), now, limit),
        ]
    )
    return PresentBreaks(breaks=found[:limit])


@router.post("/breaks/{break_id}/acknowledge", summary="Say that a break is known", responses=_REFUSALS)
async def acknowledge(
    services: ServicesOf,
    caller: Admin,
    break_id: Annotated[str, Path(min_length=1, max_length=300)],
    why: Why,
) -> DecisionTaken:
    """It stays a break, and no longer counts as one that nobody has seen."""
    people, signed = services.context.people, why.signed_by(caller)
    return await _decide(services, break_id, signed, lambda: people.acknowledge(break_id, signed))


async def _decide(services: Services, subject: str, signed: Signature, decide: Callable[[], str]) -> DecisionTaken:
    return DecisionTaken(subject=subject, result=await services.offload(decide), by=signed.by)
