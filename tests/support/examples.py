"""How many examples a property is tried on: as many as it asks for, or a few where an answer is wanted at once."""

from __future__ import annotations

import os

IS_FAST = bool(os.environ.get("FAST"))


def examples(count: int) -> int:
    """So many, or a twentieth of them under ``make fast``."""
    return max(5, count // 20) if IS_FAST else count
