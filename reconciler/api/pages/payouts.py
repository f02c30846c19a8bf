"""Payouts: the list with filters, all about one, and taking one back."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from reconciler.api.auth import PageAction, PageViewer
from reconciler.api.pages.shell import PageRoute, act, require_admin, show
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.services import Services, ServicesOf
from reconciler.domain.posted import PayoutStatus
from reconciler.ledger.reads.general_ledger import Period
from reconciler.look.text import zone_of
from reconciler.queries import Document
from reconciler.queries.payouts import PayoutQuery, payout_documents, payout_rows

ROWS = 50
_SEQUENCE_MAX = 2**63 - 1

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_Text = Annotated[str, Field(max_length=300)]


class Filters(BaseModel):
    """The form above the list; an empty field filters nothing. Days are of the pages' time zone, both included."""

    campaign: _Text = ""
    streamer: _Text = ""
    status: _Text = ""
    trigger: _Text = ""
    currency: _Text = ""
    since: _Text = ""
    until: _Text = ""
    before: _Text = ""

    def chosen(self) -> dict[str, str]:
        """Return the fields that filter, without the place in the list."""
        return {name: value for name, value in self.model_dump(exclude={"before"}).items() if value.strip()}


Key = Annotated[str, Path(min_length=1, max_length=300)]


@router.get("/payouts")
async def payouts(
    request: Request, services: ServicesOf, caller: PageViewer, filters: Annotated[Filters, Query()]
) -> Response:
    """Payouts and reversals, newest first."""
    zone = zone_of(services.context.timezone)
    found: list[Document] = []
    query = _query(filters, zone)
    if isinstance(query, PayoutQuery):
        found = await services.offload(lambda: payout_rows(services.context.engine, query))
    shown, chosen = found[:ROWS], filters.chosen()
    older = urlencode({**chosen, "before": shown[-1]["sequence"]}) if len(found) > ROWS else ""
    values: dict[str, Any] = {
        "payouts": shown,
        "filters": filters,
        "chosen": chosen,
        "older": older,
        "newest": urlencode(chosen),
        "problem": query if isinstance(query, str) else "",
        "statuses": [one.value for one in PayoutStatus],
    }
    return await show(request, caller, "payouts.html", values)


@router.get("/payouts/{key:identity}/reverse")
async def confirm_reversal(request: Request, services: ServicesOf, caller: PageViewer, key: Key) -> Response:
    """What taking a payout back means, before it is done."""
    require_admin(caller)
    found = [one for one in await _documents(services, key) if one["payout_key"] == key]
    if not found or not _is_reversible(found[0]):
        raise Problem(ProblemKind.REFUSED, "Only a payout that was not taken back yet can be.")
    return await show(request, caller, "reverse.html", {"payout": found[0]})


@router.post("/payouts/{key:identity}/reverse")
async def reverse(request: Request, services: ServicesOf, action: PageAction, key: Key) -> Response:
    """Take a payout back, once that is confirmed."""
    if action.form.get("confirm") != "yes":
        raise Problem(ProblemKind.INVALID, "Tick the box that says that it is meant.")
    people = services.context.people
    back = f"/payouts/{quote(key, safe='')}"
    return await act(request, action, key, back, lambda signed: people.reverse(key, signed))


@router.get("/payouts/{key:identity}")
async def payout(request: Request, services: ServicesOf, caller: PageViewer, key: Key) -> Response:
    """All about one payout, or about those of a participation."""
    found = await _documents(services, key)
    shown = [{**one, "is_reversible": _is_reversible(one), "request": _open_request(one)} for one in found]
    return await show(request, caller, "payout.html", {"key": key, "payouts": shown})


async def _documents(services: Services, key: str) -> list[Document]:
    found = await services.offload(lambda: payout_documents(services.context.engine, key))
    if not found:
        raise Problem(ProblemKind.NOT_FOUND, f"The ledger has no payout {key[:80]}.")
    return found


def _is_reversible(document: Document) -> bool:
    return document["kind"] == "payout" and document["reversed_at"] is None


def _open_request(document: Document) -> Document | None:
    """Return the request for a reversal that nobody has decided yet; None where there is none."""
    subject = f"reversal:{document['payout_key']}"
    said = [one for one in document["decisions"] if one["subject"] == subject]
    last: Document | None = said[-1] if said else None
    return last if last is not None and last["kind"] == "request" and _is_reversible(document) else None


def _query(filters: Filters, zone: ZoneInfo) -> PayoutQuery | str:
    """Return the query of a form, or a sentence on what is wrong with the form."""
    chosen = filters.chosen()
    if "status" in chosen and chosen["status"] not in set(PayoutStatus):
        return f"There is no status {chosen['status']}."
    days: dict[str, datetime] = {}
    for name in ("since", "until"):
        if name in chosen:
            day = _day(chosen[name])
            if day is None:
                return f"{chosen[name]} is not a day, such as 2026-11-26."
            # Until the end of the day named.
            first = day if name == "since" else day + timedelta(days=1)
            days[name] = datetime.combine(first, time(), zone).astimezone(UTC)
    before = filters.before if filters.before.isdecimal() and filters.before.isascii() else None
    return PayoutQuery(
        period=Period(**days),
        campaign=chosen.get("campaign"),
        streamer=chosen.get("streamer"),
        status=chosen.get("status"),
        trigger=chosen.get("trigger"),
        currency=chosen.get("currency", "").upper() or None,
        before=None if before is None else min(int(before[:19]), _SEQUENCE_MAX),
        limit=ROWS + 1,
    )


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    # Its neighbours, and its beginning in every zone, have to be times too.
    return day if 1970 <= day.year <= 9990 else None
