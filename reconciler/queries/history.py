"""What the ledger holds about a participation, as JSON documents: entries, holds, decisions, effects, settlements."""

from __future__ import annotations

from reconciler.clock import utc_text
from reconciler.domain.money import format_minor
from reconciler.domain.recomputation import FrozenPool
from reconciler.ledger.reads.participation_history import DecisionMade, EffectState, EntryPosted, HoldStep
from reconciler.queries import Document, fields_document


def entry_document(entry: EntryPosted) -> Document:
    """An entry with its postings for JSON."""
    return {
        "sequence": entry.sequence,
        "key": entry.key,
        "kind": entry.kind,
        "reason": entry.reason,
        "corrects": entry.corrects,
        "booked_at": utc_text(entry.booked_at),
        "effective_at": utc_text(entry.effective_at),
        "currency": entry.currency,
        "postings": [
            {
                "account": account,
                "amount_minor": amount_minor,
                "amount": format_minor(amount_minor, entry.currency),
                "balance_after_minor": balance_minor,
            }
            for account, amount_minor, balance_minor in entry.legs
        ],
    }


def hold_document(one: HoldStep) -> Document:
    """A hold's opening or closing for JSON."""
    return {
        "hold_key": one.hold_key,
        "event": one.event,
        "reason": one.reason,
        "detail": one.detail,
        "amount_minor": one.amount_minor,
        "amount": format_minor(one.amount_minor, one.currency),
        "currency": one.currency,
        "occurred_at": utc_text(one.occurred_at),
    }


def decision_document(one: DecisionMade) -> Document:
    """A decision for JSON."""
    return {
        "decision_key": one.decision_key,
        "kind": one.kind,
        "subject": one.subject,
        "by": one.decided_by,
        "reason": one.reason,
        "state_before": dict(one.state_before),
        "amount_minor": one.amount_minor,
        "currency": one.currency,
        "occurred_at": utc_text(one.occurred_at),
    }


def effect_document(one: EffectState) -> Document:
    """How far an entry's effects are projected, for JSON: the fields of EffectState."""
    return fields_document(one)


def settlement_document(pool: FrozenPool, participation_id: str) -> Document:
    """A member's line in a frozen settlement for JSON."""
    return {
        "settlement_key": pool.settlement_key,
        "rule": pool.rule,
        "members": len(pool.weights),
        "pool_minor": pool.pool_minor,
        "pool": format_minor(pool.pool_minor, pool.currency),
        "impressions": pool.impressions,
        "line_impressions": pool.weights[participation_id],
        "share_minor": pool.shares_minor[participation_id],
        "share": format_minor(pool.shares_minor[participation_id], pool.currency),
        "facts_at": utc_text(pool.facts_at),
    }
