"""Decisions that people make through the API: each written down with who and why, and followed at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from jobs.process.halting import halting
from reconciler.ledger.journal.decisions import Decisions, Signature
from reconciler.ledger.operations.break_decisions import BreakDecisions
from reconciler.mongo.ledger_guard import MongoLedgerGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleDecisions:
    """Carries out decisions. Each returns its result in a word, and raises UsageError with why it is refused.

    ``wake`` is called afterwards, so that what follows from a decision does not wait for the next round.
    """

    decisions: Decisions
    break_decisions: BreakDecisions
    guard: MongoLedgerGuard
    wake: Callable[[], None] = lambda: None

    def approve(self, subject: str, signed: Signature, seen_minor: int | None = None) -> str:
        """Approve a payout that waits, up to the gross amount seen, or what another person asked for."""
        return self._carry_out(lambda: self.decisions.approve(subject, signed, seen_minor))

    def reject(self, subject: str, signed: Signature) -> str:
        """Reject a payout that waits, for good, or what another person asked for."""
        return self._carry_out(lambda: self.decisions.reject(subject, signed))

    def reverse(self, payout_key: str, signed: Signature) -> str:
        """Take a payout back; under four eyes only ``requested``."""
        return self._carry_out(lambda: self.decisions.reverse(payout_key, signed))

    def resume(self, signed: Signature, seen: datetime | None = None) -> str:
        """Let paying go on after a halt; not after a later one than that ``seen``, by when it began."""
        result = self.decisions.resume(signed, seen)
        self.wake()
        return result

    def acknowledge(self, break_id: str, signed: Signature) -> str:
        """Record that a person knows of an open break."""
        self.break_decisions.acknowledge([break_id], signed)
        return "acknowledged"

    def _carry_out(self, decide: Callable[[], str]) -> str:
        with halting(self.decisions):
            # What an older copy of the ledger posts would raise its sequence until it looked like the newest.
            self.guard.check()
            result = decide()
        self.wake()
        return result
