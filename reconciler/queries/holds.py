"""Payouts that wait: for budget, or for a person's approval."""

from __future__ import annotations

from reconciler.clock import utc_text
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import OpenHold
from reconciler.ledger.engine import Engine
from reconciler.ledger.reads.ledger_reads import SqlLedgerReads
from reconciler.queries import Document


def hold_rows(engine: Engine) -> list[Document]:
    """Every payout that waits, in the order in which they are retried."""
    return [_row(hold) for hold in SqlLedgerReads(engine).open_holds()]


def open_hold(engine: Engine, key: str) -> OpenHold | None:
    """The payout that waits under a payout key."""
    return next((one for one in SqlLedgerReads(engine).open_holds() if _key_of(one) == key), None)


def _row(hold: OpenHold) -> Document:
    return {
        "participation_id": DocumentId.from_tagged(hold.participation_id).value,
        "campaign_id": DocumentId.from_tagged(hold.campaign_id).value,
        "streamer_id": hold.streamer_id,
        "reason": hold.reason,
        "amount_minor": hold.amount_minor,
        "currency": hold.currency,
        "since": utc_text(hold.opened_at),
        "approve_with": _key_of(hold),
    }


def _key_of(hold: OpenHold) -> str:
    return f"payout:{hold.participation_id}:1"
