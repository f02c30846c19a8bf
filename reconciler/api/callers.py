"""Who calls: roles, and the one shape that every way of proving it ends in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What somebody may do. An admin may do all that a viewer may."""

    VIEWER = "viewer"
    ADMIN = "admin"


class Proof(StrEnum):
    """How a caller was recognised."""

    TOKEN = "token"  # noqa: S105 - a word, no secret
    API_KEY = "api_key"
    SESSION = "session"
    OPEN = "open"
    """Nobody is asked: no authentication is configured, and only this machine can call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody we know. ``name`` is kept with what they decide; ``role`` None: known, but without a role here.

    ``expires_s``: seconds since the epoch after which the proof is void. ``csrf_token``: what forms of a page must
    carry.
    """

    name: str
    role: Role | None
    proof: Proof
    expires_s: float | None = None
    csrf_token: str = ""
    vouched: Proof | None = None
    """How somebody with a session had been recognised when it began."""

    @property
    def identity(self) -> str:
        """Who this is for limits: a session counts with the token or key it began with, and a name alone is not enough,
        since tokens and keys come from different hands."""
        return f"{(self.vouched or self.proof).value} {self.role} {self.name}"

    def may(self, wanted: Role) -> bool:
        """Whether the role suffices."""
        return self.role is Role.ADMIN or (self.role is not None and self.role is wanted)
