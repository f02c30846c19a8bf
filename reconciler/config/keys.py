"""The names of all settings in dotted form, read off the models, and the nearest one to a name that is none."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, cast

from pydantic import SecretStr

from reconciler.config.models import Settings
from reconciler.config.section import Section


def _walk(section: type[Section], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}", field.annotation
        if _is_section(field.annotation):
            yield from _walk(cast("type[Section]", field.annotation), f"{prefix}{name}.")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


SECTIONS: tuple[str, ...] = tuple(name for name, kind in _walk(Settings) if _is_section(kind))
"""``mongodb``, ``mapping``, ``mapping.campaigns``, …"""

KEYS: tuple[str, ...] = tuple(name for name, kind in _walk(Settings) if not _is_section(kind))
"""``mongodb.uri``, ``mapping.campaigns.budget``, …"""

HOLD_SECRETS = ("webhooks.endpoints", "api.auth.api_keys")
"""Settings that are lists with secrets in them, or where one is easily put by mistake: a key beside its hash."""

SECRET_KEYS: frozenset[str] = frozenset(name for name, kind in _walk(Settings) if kind is SecretStr) | {*HOLD_SECRETS}
"""Settings whose value is never shown."""


def nearest(key: str) -> str | None:
    """The setting or section that was probably meant: one in the same section if any is near, else one anywhere."""
    section = key.rpartition(".")[0]
    beside = [name for name in (*SECTIONS, *KEYS) if name.rpartition(".")[0] == section]
    for candidates in (beside, KEYS):
        if near := get_close_matches(key, candidates, n=1, cutoff=0.7):
            return near[0]
    return None


def members(section: str) -> tuple[str, ...]:
    """The names directly below a section; ``""`` for the sections of the whole."""
    return tuple(last for name in (*SECTIONS, *KEYS) for parent, _, last in [name.rpartition(".")] if parent == section)
