"""Identities that people type: tagged as in keys (``oid:64b…``), or plain, when either type may be meant."""

from __future__ import annotations

import re

from reconciler.domain.ids import DocumentId, IdKind
from reconciler.errors import UsageError

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")


class UnknownName(UsageError):
    """What somebody typed names nothing that the databases hold."""


def identities_of(text: str) -> list[DocumentId]:
    """Which documents a text may mean, the likelier first. Raises UnknownName on text that names none."""
    if not is_storable(text):
        raise UnknownName(f"{text!r} is not an identity")
    kind, _, rest = text.partition(":")
    found = []
    if kind == IdKind.OBJECT_ID and _OBJECT_ID.fullmatch(rest):
        found.append(DocumentId(IdKind.OBJECT_ID, rest.lower()))
    elif kind == IdKind.STRING and rest:
        found.append(DocumentId(IdKind.STRING, rest))
    elif _OBJECT_ID.fullmatch(text):
        found.append(DocumentId(IdKind.OBJECT_ID, text.lower()))
    return [*found, DocumentId(IdKind.STRING, text)]


def is_storable(text: str) -> bool:
    """Whether a text can stand in a database: documents may be named by anything but NUL and halves of characters."""
    return bool(text) and "\x00" not in text and not any("\ud800" <= one <= "\udfff" for one in text)


def tagged_forms(text: str) -> list[str]:
    """The tagged forms of :func:`identities_of`."""
    return [one.tagged for one in identities_of(text)]


def streamer_forms(text: str) -> list[str]:
    """Which streamers a text may mean: the ledger holds them plain."""
    forms = [text, *(one.value for one in identities_of(text))]
    return list(dict.fromkeys(forms))
