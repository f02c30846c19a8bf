"""What the OpenAPI schema says of the recording routes, and the titles of their problems."""

from __future__ import annotations

from typing import Any

from reconciler.domain.recording import COUNT_MAX

PROBLEMS: dict[str, tuple[str, str]] = {
    "token_unknown": ("Unknown token", "No participation has this token."),
    "key_reused": ("Key used before", "This idempotency key came with another token, kind or count."),
    "token_ambiguous": ("Ambiguous token", "Several participations have this token."),
    "participation_malformed": ("Malformed participation", "A field of the participation cannot be read."),
    "participation_not_active": ("Participation not active", "The participation is not active."),
    "campaign_missing": ("Campaign missing", "The participation's campaign does not exist."),
    "campaign_malformed": ("Malformed campaign", "A field of the campaign cannot be read."),
    "campaign_not_active": ("Campaign not active", "The campaign is not active."),
    "budget_exhausted": (
        "Budget exhausted",
        "What is left of the campaign's budget does not cover this count; nothing was recorded.",
    ),
    "rejected": ("Rejected by the database", "The database's own rules do not let these documents be changed."),
    "busy": ("Busy", "Nothing was recorded; come again."),
    "unavailable": ("Unavailable", "The database does not answer. Nothing was recorded; come again."),
    "outcome_unknown": (
        "Outcome unknown",
        "The database did not say whether this was recorded. A retry with the same Idempotency-Key counts once.",
    ),
    "too_many_requests": ("Too many requests", "Too many reports; come again later."),
    "malformed_request": ("Malformed request", "The request cannot be read."),
}
"""Code → title and detail. None says anything of the request: the token is a secret."""

_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "code": {"type": "string", "enum": sorted(PROBLEMS)},
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "why"],
                "properties": {"field": {"type": "string"}, "why": {"type": "string"}},
            },
        },
        "affordable_count": {
            "type": "integer",
            "minimum": 0,
            "description": "The largest count that the budget still covers.",
        },
    },
}

_COUNTERS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["impressions", "clicks", "remaining", "completed"],
    "properties": {
        "impressions": {"type": "integer", "minimum": 0},
        "clicks": {"type": ["integer", "null"], "minimum": 0},
        "remaining": {
            "type": ["integer", "null"],
            "minimum": 0,
            "description": "Impressions until the target; null where the target is the whole campaign's.",
        },
        "completed": {"type": "boolean", "description": "Whether the target is reached. Paying is decided elsewhere."},
    },
}

_REFUSALS = {
    400: "The body ended early.",
    404: "No participation has this token.",
    409: "Nothing was recorded: something is not active, the budget is exhausted, or a field is malformed.",
    413: "The body is too large.",
    422: "The request cannot be read, or its idempotency key came with another report.",
    429: "Too many reports of this token or address; `Retry-After` says when to come again.",
    503: "The database is away or busy; `Retry-After` says when to come again.",
}
_EXAMPLES = {
    404: "token_unknown",
    409: "budget_exhausted",
    422: "malformed_request",
    429: "too_many_requests",
    503: "busy",
}


def _problem_response(status: int, description: str) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": _PROBLEM_SCHEMA}
    code = _EXAMPLES.get(status)
    if code is not None:
        title, detail = PROBLEMS[code]
        media["example"] = {
            "type": f"urn:payout-reconciler:problem:{code}",
            "title": title,
            "status": status,
            "detail": detail,
            "request_id": "4f1c1c2ad2f64d5f8a6e3b7f0a9b1c2d",
            "code": code,
        } | ({"affordable_count": 5} if code == "budget_exhausted" else {})
    response: dict[str, Any] = {"description": description, "content": {"application/problem+json": media}}
    if status in {429, 503}:
        response["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return response


def _openapi(what: str, example: dict[str, object]) -> dict[str, Any]:
    counted = {
        "description": "Counted, and committed by a majority.",
        "headers": {
            "Idempotent-Replayed": {
                "schema": {"type": "string", "enum": ["true"]},
                "description": "Present when this is the answer of an earlier request with the same key.",
            }
        },
        "content": {"application/json": {"schema": _COUNTERS_SCHEMA, "example": example}},
    }
    return {
        "summary": f"Record {what}",
        "description": (
            f"Counts {what} of the participation with this token. Nothing is checked or paid inside the request: "
            "passing the target or a milestone puts the participation into the queue of what is looked at next."
        ),
        "responses": {200: counted} | {status: _problem_response(status, text) for status, text in _REFUSALS.items()},
        "extra": {
            "parameters": [
                {
                    "name": "token",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string"},
                    "description": "The secret in the overlay's URL.",
                },
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "required": False,
                    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
                    "description": "Makes a retry safe: the same key counts once and is answered the same. A UUID.",
                },
            ],
            "requestBody": {
                "required": False,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["count"],
                            "additionalProperties": False,
                            "properties": {"count": {"type": "integer", "minimum": 1, "maximum": COUNT_MAX}},
                        },
                        "example": {"count": 12},
                    }
                },
            },
        },
    }


IMPRESSION_OPENAPI = _openapi("impressions", {"impressions": 1998, "clicks": 3, "remaining": 2, "completed": False})
CLICK_OPENAPI = _openapi("clicks", {"impressions": 1998, "clicks": 4, "remaining": 2, "completed": False})
