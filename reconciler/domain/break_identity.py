"""What makes a break the same one in two checks, and what a person saw of it: two hashes over its own fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.domain.breaks import Break

ID_LENGTH = 16


def identity_of(fields: tuple[str, str, str, str, str]) -> str:
    """16 hex digits: the first of SHA-256 over kind, reason, participation, campaign and payout key, a line each.

    Amounts, severity and detail are left out: a break that moves is still the same break.
    """
    return _digest("\n".join(fields))


def fingerprint(members: Sequence[Break]) -> str:
    """16 hex digits over how bad breaks of one identity are: severity, currency and both amounts of each.

    An acknowledgement covers what had this fingerprint, and nothing that came later.
    """
    seen = [[one.severity.label, one.currency, one.expected_minor, one.actual_minor] for one in members]
    return _digest(json.dumps(sorted(seen, key=str)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:ID_LENGTH]
