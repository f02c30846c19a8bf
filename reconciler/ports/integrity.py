"""What the ledger proves of itself. ``reconciler.ledger.proof`` computes it; the full check and reports read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityFault:
    """Something the ledger contradicts itself in; ``kind`` is that of the break it becomes."""

    kind: str
    detail: str
    batch: int | None = None
    """The batch it lies in; None where the rows do not say."""
    sequence: int | None = None
    """The entry it lies in; None where the rows do not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """What the ledger proves of itself."""

    entries: int
    ledger_sequence: int
    chain_head: str
    chain_verified_to: int
    """The last batch up to which every hash is right."""
    faults: tuple[IntegrityFault, ...]
    """In the order of the ledger: the first bad batch, and in it the first bad entry, come first."""
    payouts: int = 0
    """How many amounts were derived again from their stored facts, reversals among them."""
    table_sums: str = ""
    """What the rows of the verified batches add up to, in the same snapshot; empty where nobody asked."""
