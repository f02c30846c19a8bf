"""Logging in and out at a browser: a form takes a token or API key once, a cookie stands for it afterwards."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from reconciler.api.auth import Authenticator, authenticator_of
from reconciler.api.callers import Role
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.rendering import render
from reconciler.api.sessions import COOKIE

FAILURES_MAX = 10
"""Wrong tries of one address before it has to wait."""
WINDOW_S = 60.0
ADDRESSES_MAX = 10_000

router = APIRouter(include_in_schema=False)


class FailureLimit:
    """Counts wrong tries of an address within a window. The oldest addresses are forgotten first."""

    def __init__(self, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """How long an address has to wait; 0: not at all."""
        since_s, count = self._failures.get(address, (0.0, 0))
        left_s = since_s + WINDOW_S - self._clock_s()
        return left_s if count >= FAILURES_MAX and left_s > 0 else 0.0

    def count(self, address: str) -> None:
        """One more wrong try."""
        now_s = self._clock_s()
        since_s, count = self._failures.pop(address, (now_s, 0))
        if now_s - since_s >= WINDOW_S:
            since_s, count = now_s, 0
        self._failures[address] = (since_s, count + 1)
        while len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)


@router.get("/login")
async def login_form(request: Request, next: str = "/") -> Response:  # noqa: A002 - the parameter's name in the URL
    """The form."""
    target = _local(next)
    if authenticator_of(request).is_open:
        return RedirectResponse(target, status_code=303)
    return render(request, "login.html", {"next": target, "wrong": ""})


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Take a token or key, and give a cookie for it."""
    authenticator = authenticator_of(request)
    form = await request.form()
    target = _local(str(form.get("next", "/")))
    if authenticator.is_open:
        return RedirectResponse(target, status_code=303)
    address = request.client.host if request.client else ""
    limit: FailureLimit = request.app.state.login_failures
    if wait_s := limit.wait_s(address):
        raise Problem(
            ProblemKind.TOO_MANY, "Too many wrong tries. Wait a minute.", headers={"Retry-After": str(int(wait_s) + 1)}
        )
    try:
        return await _open_session(request, authenticator, str(form.get("credential", "")).strip(), target)
    except Problem as problem:
        if problem.kind not in {ProblemKind.UNAUTHORIZED, ProblemKind.FORBIDDEN}:
            raise
        limit.count(address)
        return render(request, "login.html", {"next": target, "wrong": problem.detail}, status=problem.status_code)


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """End the session. Without a CSRF token: who makes somebody log out gains nothing, and Origin is checked."""
    cookie = request.cookies.get(COOKIE)
    if cookie is not None:
        authenticator_of(request).sessions.close(cookie)
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


async def _open_session(request: Request, authenticator: Authenticator, credential: str, target: str) -> Response:
    if not credential:
        raise Problem(ProblemKind.UNAUTHORIZED, "Enter a token or an API key.")
    caller = await authenticator.identify(credential)
    if not caller.may(Role.VIEWER):
        raise Problem(ProblemKind.FORBIDDEN, "This token has no role here.")
    secret, session = authenticator.sessions.open(caller)
    response = RedirectResponse(target, status_code=303)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=max(1, int((session.expires_s or time.time()) - time.time())),
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


def _local(target: str) -> str:
    """A path of this server, and nothing that a browser would take for another one (``//evil``, ``/\\evil``)."""
    is_plain = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if is_plain and "\\" not in target else "/"
