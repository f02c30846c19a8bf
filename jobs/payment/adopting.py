"""Adopting history: what was settled before this ledger began is recorded as that, and is no break any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.clock import Clock
from reconciler.domain.decision import Settled
from reconciler.domain.plan import NewAdoption
from reconciler.ports.history import ShownPayment
from reconciler.ports.ledger_reads import LedgerReads

Adopt = Callable[[Sequence[NewAdoption], str], int]
"""Records adoptions under the key of one decision; returns how many were new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopting:
    """Adopts history. Payouts of this ledger are never adopted, however they are marked.

    ``marked_before``: participations that their documents say were paid before a time, in pages.
    """

    marked_before: Callable[[datetime], Iterator[Sequence[ShownPayment]]]
    ledger: LedgerReads
    clock: Clock

    def adopt(self, before: datetime, record: Adopt, *, dry_run: bool) -> int:
        """Adopt what was settled before a time; returns how many participations, or would be in a dry run."""
        adopted = 0
        for number, page in enumerate(self.marked_before(before)):
            known = self.ledger.settled_facts([one.participation.participation_id.tagged for one in page], [])
            foreign = [
                one
                for one in page
                if known.settled.get(one.participation.participation_id.tagged, Settled.NOTHING) is Settled.NOTHING
            ]
            decision_key = f"adopt:{self.clock():%Y-%m-%dT%H:%M:%S.%f}:{number}"
            found = [
                NewAdoption(
                    participation_id=one.participation.participation_id.tagged,
                    campaign_id=one.participation.campaign_id.tagged,
                    streamer_id=one.participation.streamer_id,
                    amount_minor=one.amount_minor,
                    currency=one.currency,
                    decision_key=decision_key,
                )
                for one in foreign
            ]
            adopted += len(found) if dry_run else record(found, decision_key)
        return adopted
