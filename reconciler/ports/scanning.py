"""Every participation as columns, a partition at a time. ``reconciler.mongo`` implements it. Methods may raise Outage.

What is read this way chooses what the check looks at again; nothing is decided on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.ids import DocumentId
from reconciler.domain.participation import MalformedParticipation


@dataclass(slots=True, kw_only=True)
class FactColumns:
    """A partition of participations as columns of one length, in the order of ``_id``.

    ``is_plain``: the row holds what its columns are made for (ObjectIds, numbers, text, booleans); the other columns of
    a row that is not are fillers. Identities are tagged.
    """

    participation_ids: list[str] = field(default_factory=list)
    campaign_ids: list[str] = field(default_factory=list)
    streamer_ids: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    impressions: list[int | float] = field(default_factory=list)
    forfeited: list[bool] = field(default_factory=list)
    marked_paid: list[bool] = field(default_factory=list)
    completion_reasons: list[str] = field(default_factory=list)
    final_earnings: list[float] = field(default_factory=list)
    """As the document has them, in major units; NaN where there are none."""
    is_plain: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.participation_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedPartition:
    """One partition: everything after ``after`` up to and with ``up_to``; None: from the beginning, to the end.

    ``unreadable`` are documents without a usable identity; they are in no column. ``is_resumable``: reading can begin
    again after ``up_to`` without meeting one of its documents twice.
    """

    columns: FactColumns
    unreadable: Sequence[MalformedParticipation]
    after: DocumentId | None
    up_to: DocumentId | None
    read_at: datetime
    is_resumable: bool = True

    @property
    def size(self) -> int:
        """How many documents it holds."""
        return len(self.columns) + len(self.unreadable)


class MissingCollection(NamedTuple):
    """A mapped collection that does not exist. ``detail``: what is there instead, in words.

    ``is_suspect``: its name is wrong, or nothing can be checked without it. A collection that comes with its
    first document is not, where no other collection lies there that could be meant.
    """

    name: str
    detail: str
    is_suspect: bool


class Reached(NamedTuple):
    """A document whose counter is not below its campaign's target, as it lies in MongoDB. Identities are tagged."""

    participation_id: str
    campaign_id: str
    impressions: object
    status: object
    forfeited: object


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignCounters:
    """What a campaign's document says beside its terms. ``remaining_minor``: None where it cannot be read."""

    title: str
    remaining_minor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBudget:
    """A campaign's budget, and what its document says is left of it, in minor units of ``currency``.

    ``drift_minor``: as :func:`reconciler.domain.recording.budget_drift_minor` has it; 0 is in order.
    """

    currency: str
    budget_minor: int
    remaining_minor: int
    drift_minor: int


class FactScan(Protocol):
    """Every participation, a partition at a time."""

    def partitions(
        self, size: int, *, campaign_id: str | None, after: DocumentId | None
    ) -> AbstractContextManager[Iterator[ScannedPartition]]:
        """Partitions in the order of ``_id``, read ahead in a thread. The last one has no ``up_to``."""
        ...

    def collections(self) -> Mapping[str, str]:
        """The collections that are compared: name → what makes it this one, and not another of the name."""
        ...

    def counters(
        self, campaign_ids: Sequence[DocumentId], currencies: Mapping[str, str]
    ) -> Mapping[str, CampaignCounters]:
        """Of some campaigns (tagged identity → …), what their documents say; ``currencies`` by tagged identity."""
        ...

    def last_streams(self, campaign_ids: Sequence[DocumentId]) -> Mapping[str, datetime]:
        """Campaign (tagged) → the last stream of any participation; absent where no document has a date."""
        ...

    def missing_collections(self) -> Mapping[str, MissingCollection]:
        """Mapped collections that do not exist: what each is for → its name, and what is there instead."""
        ...

    def reached(self, campaigns: Sequence[CampaignTerms]) -> Iterator[Sequence[Reached]]:
        """Whoever may have reached the target of some campaigns, as MongoDB compares; in pages."""
        ...
