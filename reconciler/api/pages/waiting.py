"""What waits for a person: payouts on hold, and breaks that nobody has acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import APIRouter, Query, Request, Response

from reconciler.api.auth import Action, PageAction, PageViewer
from reconciler.api.pages.shell import PageRoute, act, show
from reconciler.api.pages.words import BREAK_KINDS, HOLD_REASONS, SEVERITIES
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.services import ServicesOf
from reconciler.domain.breaks import BreakStatus
from reconciler.domain.review import FOR_A_PERSON
from reconciler.ledger.journal.decisions import Signature
from reconciler.ledger.operations.break_records import BreakFilter
from reconciler.queries.breaks import break_documents
from reconciler.queries.holds import hold_rows

BREAKS_MAX = 200
HOLDS_MAX = 200
AMOUNT_DIGITS_MAX = 17

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/holds")
async def holds(request: Request, services: ServicesOf, caller: PageViewer) -> Response:
    """Payouts on hold: those that wait for a person first."""
    found = await services.offload(lambda: hold_rows(services.context.engine))
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
    return await _decide(request, action, lambda subject, signed: people.approve(subject, signed, seen_minor))


@router.post("/holds/reject")
async def reject(request: Request, services: ServicesOf, action: PageAction) -> Response:
    """Reject a payout, or what another person asked for."""
    return await _decide(request, action, services.context.people.reject)


@router.get("/breaks")
async def breaks(
    request: Request, services: ServicesOf, caller: PageViewer, kind: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    """Breaks by the last checks: the open ones, then those somebody acknowledged."""
    engine, now = services.context.engine, services.context.clock()
    is_open, is_known = BreakFilter(status=BreakStatus.OPEN), BreakFilter(status=BreakStatus.ACKNOWLEDGED)
    found = await services.offload(lambda: break_documents(engine, is_open, now, BREAKS_MAX * 50))
    acknowledged = await services.offload(lambda: break_documents(engine, is_known, now, BREAKS_MAX))
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
    people, subject = services.context.people, _subject(action)
    kind = action.form.get("kind")
    back = f"/breaks?kind={quote(kind, safe='')}" if isinstance(kind, str) and kind else "/breaks"
    return await act(request, action, subject, back, lambda signed: people.acknowledge(subject, signed))


async def _decide(request: Request, action: Action, decide: Callable[[str, Signature], str]) -> Response:
    subject = _subject(action)
    is_reversal = subject.startswith("reversal:")
    back = f"/payouts/{quote(subject.removeprefix('reversal:'), safe='')}" if is_reversal else "/holds"
    return await act(request, action, subject, back, lambda signed: decide(subject, signed))


def _subject(action: Action) -> str:
    """Escaped in our forms as in an address: a browser would change a line break within it."""
    given = action.form.get("subject")
    subject = unquote(given) if isinstance(given, str) else ""
    if not 0 < len(subject) <= 300 or "\x00" in subject:
        raise Problem(ProblemKind.INVALID, "The form does not say what it is about.")
    return subject
