"""Who calls: roles, and :class:`Caller`, which every way of authentication returns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody may do. An admin may do all that a viewer may."""

    VIEWER = "viewer"
    ADMIN = "admin"


class Proof(StrEnum):
    """How a caller was authenticated."""

    TOKEN = "token"  # noqa: S105 - a word, no secret
    API_KEY = "api_key"
    SESSION = "session"
    OPEN = "open"
    """Not at all: no authentication is configured, and only this machine can call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated caller. ``name`` is kept with what they decide; ``role`` is None for one without a role here.

    ``expires_s``: seconds since the epoch after which the proof is void. ``csrf_token``: what forms of a page must
    carry.
    """

    name: str
    role: Role | None
    proof: Proof
    expires_s: float | None = None
    csrf_token: str = ""
    vouched: Proof | None = None
    """How the caller of a session was authenticated when the session began."""

    @property
    def identity(self) -> str:
        """The caller for limits. A session counts with the token or key that it began with. A name alone is not enough:
        a token and a key with one name may belong to two people."""
        return f"{(self.vouched or self.proof).value} {self.role} {self.name}"

    def may(self, wanted: Role) -> bool:
        """Whether the caller has the role, or admin."""
        return self.role is Role.ADMIN or (self.role is not None and self.role is wanted)
