"""A believable platform from a seed, with everything ugly that real platforms hold, and the means to load it.

The same spec gives the same documents, byte for byte, on every machine. Documents are made as they are asked for,
so a sample of a million participations needs no more memory than one of six hundred.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from reconciler.devstack import population
from reconciler.devstack.documents import Document, Forge
from reconciler.devstack.planting import EXPECTED, Planted, plant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pymongo.database import Database

INSERT_BATCH_SIZE = 5_000
PAID_OUTCOMES = ("paid", "effect_blocked")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSpec:
    """What to generate.

    `now` is aware UTC in whole milliseconds. The two counts are of the regular platform; `ugly` adds some fifty
    participations and their campaigns beside it, one case each. `due_percent` is the share of due participations in
    campaigns whose terms allow any number, so an upper bound of the whole; `Sample.planted` has the exact counts.
    """

    now: datetime
    seed: int = 1
    campaigns_count: int = 40
    participations_count: int = 600
    due_percent: int = 20
    ugly: bool = True

    def __post_init__(self) -> None:
        if self.campaigns_count < 1:
            raise ValueError("campaigns_count must be at least 1")
        if not 0 <= self.participations_count <= 4_000_000:
            raise ValueError("participations_count must lie between 0 and 4,000,000")
        if not 0 <= self.due_percent <= 100:
            raise ValueError("due_percent must lie between 0 and 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A population. Each of the five methods starts a new pass over one collection's documents.

    `planted` counts what is in it by name: `at_target`, `past_target` and `below_target` of the regular part, then
    every name of `planting.EXPECTED`; `planted_ids` has the participation ids of the latter. `expected_paid_count`
    and `expected_paid_minor` (by currency, in minor units) are what one sweep with default settings must pay, over-
    budget and duplicate rules included.
    """

    spec: SampleSpec
    forge: Forge
    plans: tuple[population.Plan, ...]
    ugly: Planted

    @property
    def planted(self) -> dict[str, int]:
        active = [plan for plan in self.plans if plan.due_count]
        due_count = sum(plan.due_count for plan in active)
        counts = {
            "at_target": len(active),
            "past_target": due_count - len(active),
            "below_target": self.spec.participations_count - due_count,
        }
        return counts | {name: len(ids) for name, ids in self.ugly.ids.items()}

    @property
    def planted_ids(self) -> dict[str, list[Any]]:
        return dict(self.ugly.ids)

    @property
    def expected_paid_count(self) -> int:
        regular = sum(plan.due_count for plan in self.plans)
        return regular + sum(len(ids) for name, ids in self.ugly.ids.items() if EXPECTED[name] in PAID_OUTCOMES)

    @property
    def expected_paid_minor(self) -> dict[str, int]:
        totals = Counter(self.ugly.paid_minor)
        for plan in self.plans:
            totals[plan.currency] += plan.due_count * plan.terms.payment_minor
        return {currency: amount_minor for currency, amount_minor in sorted(totals.items()) if amount_minor}

    def campaigns(self) -> Iterator[Document]:
        return chain(population.campaigns(self.forge, self.plans), self.ugly.campaigns)

    def participations(self) -> Iterator[Document]:
        return chain(population.participations(self.forge, self.plans), self.ugly.participations)

    def wallets(self) -> Iterator[Document]:
        return chain(population.wallets(self.forge, self.plans), self.ugly.wallets)

    def transactions(self) -> Iterator[Document]:
        return chain(population.transactions(self.forge, self.plans), self.ugly.transactions)

    def gkeys(self) -> Iterator[Document]:
        return chain(population.gkeys(self.forge, self.plans), self.ugly.gkeys)

    def collections(self) -> dict[str, Iterator[Document]]:
        """Every collection by its default name."""
        return {
            "campaigns": self.campaigns(),
            "campaignparticipations": self.participations(),
            "wallets": self.wallets(),
            "transactions": self.transactions(),
            "gkeys": self.gkeys(),
        }


def generate(spec: SampleSpec) -> Sample:
    """Plan a sample; its documents are made when they are iterated."""
    forge = Forge(seed=spec.seed, now=spec.now)
    return Sample(
        spec=spec,
        forge=forge,
        plans=population.plan_campaigns(spec.campaigns_count, spec.participations_count, spec.due_percent),
        ugly=plant(forge) if spec.ugly else Planted(),
    )


def load(sample: Sample, database: Database[Any]) -> dict[str, int]:
    """Insert the sample into an empty database, with the platform's own unique indexes.

    Returns documents by collection
    """
    inserted: dict[str, int] = {}
    for name, documents in sample.collections().items():
        inserted[name] = 0
        while batch := list(islice(documents, INSERT_BATCH_SIZE)):
            inserted[name] += len(database[name].insert_many(batch, ordered=False).inserted_ids)
    database["campaignparticipations"].create_index("browserSourceToken", unique=True)
    database["wallets"].create_index("userId", unique=True)
    return inserted
