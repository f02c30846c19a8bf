"""What waits for a person: payouts on hold, and breaks that nobody has acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import APIRouter, Query, Request, Response

from reconciler.api.auth import Action, PageAction, PageViewer
from reconciler.api.context import BreakBook
from reconciler.api.pages.shell import PageRoute, act, show
from reconciler.api.pages.words import BREAK_KINDS, HOLD_REASONS, SEVERITIES
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.services import Services, ServicesOf
from reconciler.domain.review import FOR_A_PERSON

BREAKS_MAX = 200
HOLDS_MAX = 200
AMOUNT_DIGITS_MAX = 17

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/holds")
async def holds(request: Request, services: ServicesOf, caller: PageViewer) -> Response:
    """Payouts on hold: those that wait for a person first."""
    found = await services.offload(services.context.books.holds)
    decidable = [one for one in found if one["reason"] in FOR_A_PERSON]
    others = [one for one in found if one["reason"] not in FOR_A_PERSON]
    values = {
        "decidable": decidable[:HOLDS_MAX],
        "others": others[:HOLDS_MAX],
        "decidable_count": len(decidable),
        "others_count": len(others),
        "hold_reasons": HOLD_REASONS,
    }
    return await show(request, caller, "holds.html", values)


@router.post("/holds/approve")
async def approve(request: Request, services: ServicesOf, action: PageAction) -> Response:
    """Approve a payout, up to the amount that the page showed, or what another person asked for."""
    given = action.form.get("amount_minor")
    seen_minor = int(given) if isinstance(given, str) and given.isdecimal() and len(given) < AMOUNT_DIGITS_MAX else None
    people = services.context.people
    return await _decide(request, action, lambda subject, by, reason: people.approve(subject, by, reason, seen_minor))


@router.post("/holds/reject")
async def reject(request: Request, services: ServicesOf, action: PageAction) -> Response:
    """Reject a payout, or what another person asked for."""
    return await _decide(request, action, services.context.people.reject)


@router.get("/breaks")
async def breaks(
    request: Request, services: ServicesOf, caller: PageViewer, kind: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    """Breaks by the last checks: the open ones, then those somebody acknowledged."""
    book = _book(services)
    found = await services.offload(lambda: book.open_breaks(BREAKS_MAX * 50))
    acknowledged = await services.offload(lambda: book.acknowledged_breaks(BREAKS_MAX))
    chosen = [one for one in found if kind in ("", one["kind"])]
    values = {
        "breaks": chosen[:BREAKS_MAX],
        "breaks_count": len(chosen),
        "kinds": sorted(Counter(one["kind"] for one in found).items()),
        "all_count": len(found),
        "kind": kind,
        "acknowledged": acknowledged,
        "break_kinds": BREAK_KINDS,
        "severities": SEVERITIES,
    }
    return await show(request, caller, "breaks.html", values)


@router.post("/breaks/acknowledge")
async def acknowledge(request: Request, services: ServicesOf, action: PageAction) -> Response:
    """Say that a break is known."""
    book, subject = _book(services), _subject(action)
    kind = action.form.get("kind")
    back = f"/breaks?kind={quote(kind, safe='')}" if isinstance(kind, str) and kind else "/breaks"
    return await act(request, action, subject, back, lambda by, reason: book.acknowledge(subject, by, reason))


async def _decide(request: Request, action: Action, decide: Callable[[str, str, str], str]) -> Response:
    subject = _subject(action)
    is_reversal = subject.startswith("reversal:")
    back = f"/payouts/{quote(subject.removeprefix('reversal:'), safe='')}" if is_reversal else "/holds"
    return await act(request, action, subject, back, lambda by, reason: decide(subject, by, reason))


def _subject(action: Action) -> str:
    """Escaped in our forms as in an address: a browser would change a line break within it."""
    given = action.form.get("subject")
    subject = unquote(given) if isinstance(given, str) else ""
    if not 0 < len(subject) <= 300 or "\x00" in subject:
        raise Problem(ProblemKind.INVALID, "The form does not say what it is about.")
    return subject


def _book(services: Services) -> BreakBook:
    if services.context.breaks is None:
        raise Problem(ProblemKind.NOT_FOUND, "This ledger keeps no breaks.")
    return services.context.breaks
