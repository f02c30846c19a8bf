"""How far a campaign is, and having it looked at."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from reconciler.api.auth import Admin, Viewer
from reconciler.api.problems import Problem, ProblemKind, problem_responses
from reconciler.api.services import ServicesOf

router = APIRouter(prefix="/api/v1/campaigns", tags=["campaigns"])

CampaignId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=200,
        description="The campaign's id, plain or with its type (oid:…, str:…).",
        examples=["64b000000000000000000001"],
    ),
]


class CompletionStatus(BaseModel):
    """How far a campaign is, by one snapshot of its participations."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    campaign_id: str
    status: str | None
    as_of: str
    is_complete: bool = Field(description="Whether every participation is settled, one way or another.")
    participations: int
    impressions: int = Field(description="Sum over the participations with a readable counter.")
    due: int = Field(description="Participations that are past target and not paid yet.")
    not_due: dict[str, int] = Field(description="The others, by what stands in the way.")
    payment_type: str | None = None
    currency: str | None = None
    target_impressions: int | None = None
    budget_minor: int | None = None
    paid_minor: int | None = Field(default=None, description="Paid of this campaign so far, fees included.")
    paid: str | None = None
    problems: list[str] | None = Field(default=None, description="Why its terms cannot be read.")


class HintTaken(BaseModel):
    """A campaign that will be looked at."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    campaign_id: str
    state: str = Field(examples=["queued"])


@router.get(
    "/{campaign_id:identity}/completion-status",
    summary="How far a campaign is",
    responses=problem_responses(ProblemKind.UNAUTHORIZED, ProblemKind.NOT_FOUND),
)
async def completion_status(services: ServicesOf, _caller: Viewer, campaign_id: CampaignId) -> CompletionStatus:
    """Decided anew by the rules of the sweep, without paying anything."""
    found: dict[str, Any] | None = await services.offload(lambda: services.context.campaigns.completion(campaign_id))
    if found is None:
        raise _missing(campaign_id)
    return CompletionStatus.model_validate(found)


@router.post(
    "/{campaign_id:identity}/completion-check",
    status_code=202,
    summary="Have a campaign looked at",
    responses=problem_responses(ProblemKind.UNAUTHORIZED, ProblemKind.FORBIDDEN, ProblemKind.NOT_FOUND),
)
async def completion_check(services: ServicesOf, _caller: Admin, campaign_id: CampaignId) -> HintTaken:
    """It goes into the queue of the watch; who is due is paid a moment later, and nobody twice."""
    found = await services.offload(lambda: services.context.campaigns.find(campaign_id))
    if found is None:
        raise _missing(campaign_id)
    services.context.hints.campaign(found)
    return HintTaken(campaign_id=campaign_id, state="queued")


def _missing(campaign_id: str) -> Problem:
    return Problem(ProblemKind.NOT_FOUND, f"There is no campaign {campaign_id[:50]}.")
