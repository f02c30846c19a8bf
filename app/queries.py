"""The queries that need more than one database, wired."""

from __future__ import annotations

from app.ledger import posting_rules_of
from app.parts import Parts
from jobs.payment.pools import PoolFreezer
from reconciler.queries.campaign import CampaignQueries
from reconciler.queries.explain import Explainer


def explainer_of(parts: Parts) -> Explainer:
    """What explains participations."""
    return Explainer(
        engine=parts.engine,
        deciding=parts.deciding,
        freezer=PoolFreezer(deciding=parts.deciding, poster=parts.journal, clock=parts.clock),
        rules=posting_rules_of(parts.settings),
        fixed_impressions_per_unit=parts.settings.completion.fixed_impressions_per_unit,
    )


def campaigns_of(parts: Parts) -> CampaignQueries:
    """What says how far campaigns are."""
    return CampaignQueries(facts=parts.facts, ledger=parts.ledger, deciding=parts.deciding)
