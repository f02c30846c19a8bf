"""MongoDB's documents that decisions read. ``reconciler.mongo`` implements it. Every method may raise Outage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from reconciler.domain.campaign import Campaign, CampaignTerms
from reconciler.domain.decision import Policy
from reconciler.domain.ids import DocumentId
from reconciler.domain.participation import MalformedParticipation, Participation

Moment = tuple[int, int]
"""A point in MongoDB's history: its cluster time as seconds since 1970 and a number within that second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsPage:
    """Participations and their campaigns."""

    participations: Sequence[Participation | MalformedParticipation]
    campaigns: Mapping[str, Campaign]
    """Tagged identity → campaign; absent when no such document exists."""
    missing: Sequence[DocumentId]
    """Identities asked for that no document has."""
    facts_at: datetime
    as_of: Moment | None = None
    """What happened up to then is in it; None where MongoDB has no snapshots."""


class Facts(Protocol):
    """MongoDB's documents that decisions read."""

    def paying_campaigns(self) -> Iterator[Sequence[Campaign]]:
        """Campaigns with a status that pays, in pages no larger than ``candidates`` takes."""
        ...

    def all_campaigns(self) -> Iterator[Sequence[Campaign]]:
        """Every campaign, whatever its status, in pages."""
        ...

    def candidates(
        self, campaigns: Sequence[CampaignTerms], page_size: int
    ) -> Iterator[Sequence[DocumentId | MalformedParticipation]]:
        """Participations that may be due, in the order of their identity."""
        ...

    def read(self, participation_ids: Sequence[DocumentId]) -> FactsPage:
        """Some participations with their campaigns, authoritatively, from one snapshot."""
        ...

    def pages(self, page_size: int, campaign_id: str | None = None) -> Iterator[FactsPage]:
        """Every participation there is, or those of one campaign (its plain identity)."""
        ...

    def credited_elsewhere(self, campaign_streamers: Iterable[tuple[DocumentId, str]]) -> set[tuple[str, str]]:
        """Which pairs have a statement line of earnings; as (tagged campaign, streamer)."""
        ...

    def pool_candidates(self, campaigns: Sequence[CampaignTerms], policy: Policy, now: datetime) -> list[CampaignTerms]:
        """Those of some campaigns whose pool may be due; a hint, like :meth:`candidates`."""
        ...

    def campaigns(self, campaign_ids: Sequence[DocumentId]) -> Mapping[str, Campaign]:
        """Some campaigns, by tagged identity; those that do not exist are absent."""
        ...

    def read_campaign(self, campaign_id: DocumentId) -> FactsPage:
        """A campaign with all of its participations, authoritatively, from one snapshot."""
        ...

    def count(self) -> int:
        """About how many participations there are, for progress."""
        ...

    def catch_up(self, moment: Moment) -> None:
        """Wait, for a bounded time, until later reads show what happened up to ``moment``."""
        ...
