"""The configured names of collections and fields, bundled for the adapters, with the projections read by them."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.config.mapping import MappingSettings

PARTICIPATION_FACTS = (
    "campaign_id",
    "streamer_id",
    "status",
    "impressions",
    "earnings_forfeited",
    "final_earnings_transferred",
    "last_stream_date",
    "created_at",
)
CAMPAIGN_FACTS = (
    "status",
    "brand_id",
    "payment_type",
    "payment_rate",
    "budget",
    "target_impressions",
    "currency",
    "gkey_cooloff_hours",
    "end_date",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactNames:
    """Our names → the documents' names of what decisions read, and nothing else: no secret is fetched."""

    participation: dict[str, str]
    campaign: dict[str, str]

    @classmethod
    def of(cls, mapping: MappingSettings) -> FactNames:
        """The names that a configuration gives."""
        return cls(
            participation={ours: getattr(mapping.participations, ours) for ours in PARTICIPATION_FACTS},
            campaign={ours: getattr(mapping.campaigns, ours) for ours in CAMPAIGN_FACTS},
        )
