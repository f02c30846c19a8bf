"""Authentication. Routes declare whom they serve by :data:`Viewer` and :data:`Admin`, pages by :data:`PageViewer`."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import FormData
from starlette.requests import HTTPConnection

from reconciler.api.api_keys import PREFIX, find_holder
from reconciler.api.callers import Caller, Proof, Role
from reconciler.api.problems import Problem, ProblemKind
from reconciler.api.provider_keys import FETCH_WITHIN_S, ProviderAway
from reconciler.api.sessions import COOKIE, Sessions
from reconciler.api.tokens import BadToken, TokenVerifier
from reconciler.config.api import ApiAuthSettings

log = structlog.get_logger(__name__)

CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class NeedsLogin(Exception):
    """An unknown caller asked for a page: the login form comes first."""


class Authenticator:
    """Authenticates callers: by a bearer token or key, by a session's cookie, or by none where none is configured."""

    def __init__(self, settings: ApiAuthSettings, sessions: Sessions | None = None) -> None:
        self._settings = settings
        self._tokens = TokenVerifier(settings)
        self.sessions = sessions or Sessions()
        self._everybody = Caller(name="local", role=Role.ADMIN, proof=Proof.OPEN, csrf_token=secrets.token_urlsafe(32))

    @property
    def is_open(self) -> bool:
        """Whether no authentication is configured."""
        return not self._settings.is_configured

    async def identify(self, credential: str) -> Caller:
        """Return the caller that a token or key belongs to. Raises Problem."""
        if credential.startswith(PREFIX):
            holder = find_holder(credential, self._settings.api_keys)
            if holder is None:
                raise _unauthorized("The API key is not one of ours.")
            return holder
        try:
            if (waiting := self._tokens.waits_for(credential)) is not None:
                # Its thread hangs longer where a name is looked up in vain: then it is away.
                await asyncio.wait([asyncio.wrap_future(waiting)], timeout=FETCH_WITHIN_S)
            return self._tokens.verify(credential)
        except BadToken as bad:
            log.info("a token was refused", action="token_refused", why=str(bad))
            raise _unauthorized("The token is not valid here, or not any more.") from None
        except ProviderAway:
            raise Problem(
                ProblemKind.UNAVAILABLE, "The identity provider cannot be reached.", headers={"Retry-After": "30"}
            ) from None

    async def recognise(self, request: HTTPConnection) -> Caller | None:
        """Return the caller of a request; None without credentials. Raises Problem when the credentials are wrong."""
        if self.is_open:
            return self._everybody
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() != "bearer" or not credential.strip():
                raise _unauthorized("Only Authorization: Bearer is taken.")
            return await self.identify(credential.strip())
        cookie = request.cookies.get(COOKIE)
        return None if cookie is None else self.sessions.find(cookie)


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What an admin sent from a form of ours."""

    caller: Caller
    form: FormData


_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", description="A JWT, or an API key.")


def authenticator_of(request: Request) -> Authenticator:
    """The application's authenticator."""
    authenticator = request.app.state.authenticator
    assert isinstance(authenticator, Authenticator)
    return authenticator


async def viewer(
    request: Request, _shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> Caller:
    """A caller who may read."""
    return await _require(request, Role.VIEWER)


async def admin(
    request: Request, _shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> Caller:
    """A caller who may act."""
    return await _require(request, Role.ADMIN)


async def page_viewer(request: Request) -> Caller:
    """A caller at a browser who may read; others are sent to the login form."""
    caller = await authenticator_of(request).recognise(request)
    if caller is None:
        raise NeedsLogin
    return _allowed(request, caller, Role.VIEWER)


async def page_action(request: Request) -> Action:
    """A form that an admin sent from one of our pages. Raises Problem."""
    caller = await authenticator_of(request).recognise(request)
    if caller is None:
        raise NeedsLogin
    _allowed(request, caller, Role.ADMIN)
    form = await request.form()
    given = form.get(CSRF_FIELD)
    if not isinstance(given, str) or not _is_same(given, caller.csrf_token):
        raise Problem(ProblemKind.CSRF, "Load the page again and repeat what you did.")
    return Action(caller=caller, form=form)


Viewer = Annotated[Caller, Depends(viewer)]
Admin = Annotated[Caller, Depends(admin)]
PageViewer = Annotated[Caller, Depends(page_viewer)]
PageAction = Annotated[Action, Depends(page_action)]


async def _require(request: Request, wanted: Role) -> Caller:
    caller = await authenticator_of(request).recognise(request)
    if caller is None:
        raise _unauthorized("Send Authorization: Bearer with a token or an API key.")
    _allowed(request, caller, wanted)
    # A browser sends the cookie by itself, whoever made it send the request; this header only our own pages can set.
    if caller.proof is Proof.SESSION and request.method not in _SAFE:
        given = request.headers.get(CSRF_HEADER, "")
        if not _is_same(given, caller.csrf_token):
            raise Problem(ProblemKind.CSRF, f"With a cookie, {CSRF_HEADER} is needed.")
    return caller


def _allowed(request: Request, caller: Caller, wanted: Role) -> Caller:
    request.scope["caller_name"] = caller.name
    if not caller.may(wanted):
        raise Problem(ProblemKind.FORBIDDEN, f"This needs the role {wanted.value}.")
    return caller


def _is_same(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


def _unauthorized(detail: str) -> Problem:
    return Problem(ProblemKind.UNAUTHORIZED, detail, headers=_CHALLENGE)
