"""API keys: long random words, of which only the SHA-256 is kept. No salt: 256 random bits cannot be looked up."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from reconciler.api.callers import Caller, Proof, Role
from reconciler.config.api import ApiKey

PREFIX = "prk_"
"""Tells a key from a token, and lets scanners for leaked secrets find it."""


def new_key() -> str:
    """A key that nobody has."""
    return f"{PREFIX}{secrets.token_urlsafe(32)}"


def digest_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def find_holder(presented: str, known: Sequence[ApiKey]) -> Caller | None:
    """Who holds a key; in a time that depends neither on which it is nor on how much of it is right."""
    digest = digest_of(presented)
    holder: Caller | None = None
    for key in known:
        if hmac.compare_digest(digest, key.sha256):
            holder = Caller(name=key.name, role=Role(key.role), proof=Proof.API_KEY)
    return holder
