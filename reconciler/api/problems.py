"""Every error that the API answers with: one shape (RFC 9457), stable types, no secret and no driver's words.

``type`` is what programs match on, ``detail`` is for people and may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from reconciler.errors import DatabaseFailure, Defect, Halted, InvariantBroken, NotMigrated, Outage, UsageError

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:payout-reconciler:problem:"


class ProblemKind(Enum):
    """(name in the type, status, title)."""

    MALFORMED = ("malformed", 400, "The request cannot be read")
    UNAUTHORIZED = ("unauthorized", 401, "Credentials are missing or not valid")
    FORBIDDEN = ("forbidden", 403, "The role does not allow this")
    CROSS_ORIGIN = ("cross_origin", 403, "The request comes from another site")
    CSRF = ("csrf", 403, "The form's token is missing or not valid")
    NOT_FOUND = ("not_found", 404, "There is no such thing")
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, "The method is not one of this address")
    REFUSED = ("refused", 409, "It cannot be done as things stand")
    HALTED = ("halted", 409, "Paying is halted")
    TOO_LARGE = ("too_large", 413, "The body is too large")
    MEDIA_TYPE = ("unsupported_media_type", 415, "The body's media type is not taken")
    INVALID = ("invalid", 422, "A value is not valid")
    TOO_MANY = ("too_many_requests", 429, "Too many requests")
    DEFECT = ("defect", 500, "Something went wrong inside")
    UNAVAILABLE = ("unavailable", 503, "A database cannot be reached")
    BUSY = ("busy", 503, "Too much to do")
    TIMEOUT = ("timeout", 504, "It took too long")

    @property
    def type(self) -> str:
        """What programs match on."""
        return f"{TYPE_PREFIX}{self.value[0]}"

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[1]

    @property
    def title(self) -> str:
        """One sentence that never changes."""
        return self.value[2]


_BY_STATUS = {kind.status: kind for kind in reversed(ProblemKind)}


class FieldError(BaseModel):
    """What is wrong with one value."""

    where: str = Field(description="The value's place: query.limit, body.reason, …", examples=["body.reason"])
    message: str = Field(examples=["Field required"])


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": f"{TYPE_PREFIX}not_found",
                "title": "There is no such thing",
                "status": 404,
                "detail": "The ledger has no payout payout:oid:64b000000000000000000001:1.",
                "request_id": "4f1c1c2ad2f64d5f8a6e3b7f0a9b1c2d",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str = ""
    request_id: str = ""
    errors: list[FieldError] | None = None


class Problem(HTTPException):
    """An expected refusal, raised by routes; ``detail`` is one sentence for a person."""

    def __init__(self, kind: ProblemKind, detail: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(kind.status, detail, headers)
        self.kind = kind


def problem_responses(*kinds: ProblemKind) -> dict[int | str, dict[str, Any]]:
    """The ``responses=`` of a route that may answer so, beside what every route may."""
    always = (ProblemKind.MALFORMED, ProblemKind.INVALID, ProblemKind.UNAVAILABLE, ProblemKind.TIMEOUT)
    by_status: dict[int, list[str]] = {}
    for kind in (*kinds, *always):
        by_status.setdefault(kind.status, []).append(kind.value[0])
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {
        status: {"description": "Problem: " + ", ".join(dict.fromkeys(names)), "content": content}
        for status, names in sorted(by_status.items())
    }


def problem_response(
    request_id: str,
    kind: ProblemKind,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, str]] | None = None,
    status: int | None = None,
) -> Response:
    """A problem as an answer."""
    document: dict[str, Any] = {
        "type": kind.type,
        "title": kind.title,
        "status": status or kind.status,
        "detail": detail,
        "request_id": request_id,
    }
    if errors is not None:
        document["errors"] = list(errors)
    return JSONResponse(document, status_code=status or kind.status, headers=headers, media_type=MEDIA_TYPE)


def install_problems(app: FastAPI) -> None:
    """Have every refusal answered as a problem. What nobody expected is answered by the outermost middleware."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    for family in (DatabaseFailure, NotMigrated, UsageError, Halted, InvariantBroken):
        app.add_exception_handler(family, _not_done)


def _id_of(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return problem_response(_id_of(request), error.kind, error.detail, headers=error.headers)
    kind = _BY_STATUS.get(error.status_code, ProblemKind.MALFORMED)
    # The framework's own words: "Not Found" beside our title says nothing more.
    return problem_response(_id_of(request), kind, headers=error.headers, status=error.status_code)


async def _invalid(request: Request, error: Exception) -> Response:
    """Without what was sent: it may be a secret in the wrong place."""
    assert isinstance(error, RequestValidationError)
    errors = [
        {"where": ".".join(str(part) for part in one["loc"])[:200], "message": str(one["msg"])[:200]}
        for one in error.errors()[:20]
    ]
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return problem_response(_id_of(request), ProblemKind.MALFORMED, "The body is not JSON.")
    return problem_response(_id_of(request), ProblemKind.INVALID, "See errors.", errors=errors)


async def _not_done(request: Request, error: Exception) -> Response:
    """The families of :mod:`reconciler.errors`. A driver's words stay in the log: they may name hosts and roles."""
    match error:
        case DatabaseFailure():
            say_failed(error, "api_outage")
            if isinstance(error, Defect):
                return problem_response(_id_of(request), ProblemKind.DEFECT, f"{error.in_short}.")
            detail, headers = f"{error.in_short}. Try again soon.", {"Retry-After": "5"}
            return problem_response(_id_of(request), ProblemKind.UNAVAILABLE, detail, headers=headers)
        case NotMigrated():
            detail = "The ledger is not at this program's revision: run `python run.py migrate`."
            return problem_response(_id_of(request), ProblemKind.UNAVAILABLE, detail)
        case UsageError():
            return problem_response(_id_of(request), ProblemKind.REFUSED, f"{str(error).rstrip('.')}.")
        case InvariantBroken() if request.method == "GET":
            # Nothing was to be posted: the ledger cannot be read as it should be, and a check will name it.
            log.error("a request met a broken invariant", action="api_invariant_broken", invariant=error.invariant)
            return problem_response(_id_of(request), ProblemKind.DEFECT, "The ledger cannot be read as it should be.")
        case _:
            return problem_response(_id_of(request), ProblemKind.HALTED, f"{str(error).rstrip('.')}.")


def say_failed(failure: DatabaseFailure, action: str) -> None:
    """A request met a database that did not do what was asked: the log has its words."""
    level = "warning" if isinstance(failure, Outage) else "error"
    getattr(log, level)("a database did not do what a request asked", action=action, reason=str(failure))
