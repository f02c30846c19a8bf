"""What all pages share: their frame, how errors look to a person, and how an action is done and its result shown."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from reconciler.api.auth import Action, NeedsLogin
from reconciler.api.callers import Caller, Proof, Role
from reconciler.api.pages.flashes import Flash
from reconciler.api.pages.words import OUTCOMES, PAYOUT_STATUSES, PROJECTIONS, VERDICTS, verdict_tone
from reconciler.api.problems import Problem, ProblemKind, say_failed
from reconciler.api.rendering import render
from reconciler.api.services import Services, services_of
from reconciler.errors import DatabaseFailure, Defect, Halted, InvariantBroken, NotMigrated, UsageError
from reconciler.ledger.journal.decisions import Signature

log = structlog.get_logger(__name__)

REASON_LENGTH_MAX = 1_000

Decide = Callable[[Signature], str]
"""Carries a decision out, and returns its result in a word."""


class PageRoute(APIRoute):
    """A route that shows refusals as pages: a person at a browser gets a sentence and a link, not JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, which draws refusals."""
        handle = super().get_route_handler()

        async def handling(request: Request) -> Response:
            try:
                return await handle(request)
            except Problem as problem:
                return _refusal(request, problem.status_code, problem.kind.title, problem.detail)
            except RequestValidationError:
                return _refusal(request, 422, "The address cannot be read", "A part of it is not what this page takes.")
            except DatabaseFailure as failure:
                say_failed(failure, "page_outage")
                status = 500 if isinstance(failure, Defect) else 503
                return _refusal(request, status, failure.in_short, "Try again soon.")
            except NotMigrated:
                return _refusal(request, 503, "The ledger is of another revision", "Run `python run.py migrate`.")
            except InvariantBroken as broken:
                _say_broken(broken)
                return _refusal(request, 500, "The ledger cannot be read as it should be", "A full check names why.")
            except UsageError as refused:
                return _refusal(request, 409, ProblemKind.REFUSED.title, sentence(refused))

        return handling


def _say_broken(broken: InvariantBroken) -> None:
    log.error("a page met a broken invariant", action="page_invariant_broken", invariant=broken.invariant)


def sentence(error: Exception) -> str:
    """Return an error's message with a capital and a full stop."""
    text = str(error).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


async def show(
    request: Request, caller: Caller, template: str, values: Mapping[str, Any] | None = None, *, status: int = 200
) -> Response:
    """Draw a page for a caller who is signed in."""
    services = services_of(request)
    summary = await services.summaries.current()
    flash = services.flashes.take(caller.csrf_token) if caller.csrf_token else None
    return render(
        request,
        template,
        {
            **frame(services),
            # Not "caller", which means something else inside a macro.
            "who": caller,
            "may_act": caller.may(Role.ADMIN) and bool(caller.csrf_token),
            "can_log_out": caller.proof is Proof.SESSION,
            "summary": summary,
            "flash": flash,
            **(values or {}),
        },
        status=status,
    )


async def act(
    request: Request, action: Action, subject: str, back: str, decide: Callable[[Signature], str]
) -> Response:
    """Do what an admin decided, and show on the page ``back`` what became of it."""
    services, caller = services_of(request), action.caller
    reason = _reason_of(action)
    if reason is None:
        flash = Flash(tone="bad", text="Nothing was done: a reason is needed.", subject=subject)
    else:
        flash = await _decided(services, subject, lambda: decide(Signature(by=caller.name, reason=reason)))
    services.summaries.forget()
    services.flashes.leave(caller.csrf_token, flash)
    return RedirectResponse(back, status_code=303)


async def _decided(services: Services, subject: str, decide: Callable[[], str]) -> Flash:
    try:
        result = await services.offload(decide)
    except (UsageError, Halted, InvariantBroken) as refused:
        return Flash(tone="bad", text=f"Nothing was done. {sentence(refused)}", subject=subject)
    except DatabaseFailure as failure:
        # It may have been committed all the same: the page that follows shows how it stands.
        say_failed(failure, "page_outage")
        text = f"{failure.in_short}: look whether it was done, and repeat it if not."
        return Flash(tone="bad", text=text, subject=subject)
    return Flash(tone="good", text=OUTCOMES.get(result, f"Done: {result}."), subject=subject)


def _reason_of(action: Action) -> str | None:
    given = action.form.get("reason")
    text = given.strip() if isinstance(given, str) else ""
    return text if text and len(text) <= REASON_LENGTH_MAX and "\x00" not in text else None


def frame(services: Services) -> dict[str, Any]:
    """Return the values that every template may use."""
    context = services.context
    return {
        "zone": context.timezone,
        "now": context.clock(),
        "payout_statuses": PAYOUT_STATUSES,
        "projections": PROJECTIONS,
        "verdicts": VERDICTS,
        "verdict_tone": verdict_tone,
        "has_trials": context.trials is not None,
    }


def require_admin(caller: Caller) -> None:
    """Refuse a page that only leads to an action. Raises Problem for a caller who may not act."""
    if not caller.may(Role.ADMIN):
        raise Problem(ProblemKind.FORBIDDEN, "This needs the role admin.")


def _refusal(request: Request, status: int, title: str, detail: str) -> Response:
    if status == ProblemKind.UNAUTHORIZED.status:
        raise NeedsLogin
    values = {"title": title, "detail": detail, "status": status, "request_id": request.scope.get("request_id", "")}
    return render(request, "refusal.html", values, status=status)
