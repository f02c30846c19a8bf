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

    def may(self, wanted: Role) -> bool:
        """Whether the role suffices."""
        return self.role is Role.ADMIN or (self.role is not None and self.role is wanted)
