"""Keys of the work queue, and where hints go that something may be due."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol

from reconciler.domain.ids import DocumentId


class KeyKind(StrEnum):
    """What a key of the work queue names."""

    PARTICIPATION = "participation"
    CAMPAIGN = "campaign"


class Key(NamedTuple):
    """What the work queue holds: a document that something may be due for. A tuple, since it is hashed all the time."""

    kind: KeyKind
    document_id: DocumentId


class Hints(Protocol):
    """Where hints go that something may be due: deduplicated, looked at soon, and never in the way of whoever hints."""

    def participation(self, participation_id: DocumentId) -> None:
        """A participation changed."""
        ...

    def campaign(self, campaign_id: DocumentId) -> None:
        """A campaign changed."""
        ...
