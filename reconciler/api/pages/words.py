"""What codes mean, in a sentence for people who did not write the program. A code not named here is shown as it is."""

from __future__ import annotations

from collections.abc import Mapping

BREAK_KINDS: Mapping[str, str] = {
    "due_but_unpaid": "Reached its target, and is not paid.",
    "held": "Waits for budget or for an approval.",
    "due_but_ineligible": "Reached its target, and something stands in the way of paying.",
    "stranded": "Earned something in a campaign that is over; no rule that is switched on pays it.",
    "exists_different": "The ledger has a payout of this identity for something else.",
    "campaign_missing": "Belongs to a campaign that MongoDB does not have.",
    "marked_paid_elsewhere": "MongoDB says it is paid; the ledger knows nothing of it.",
    "duplicate_participation": "The streamer takes part in the campaign twice, and was paid for one of them.",
    "malformed": "A field of the document cannot be read.",
    "projection_stale": "MongoDB shows something else than the ledger says.",
    "effect_blocked": "Paid in the ledger, but MongoDB could not be told.",
    "wallet_negative": "More left the wallet than came in.",
    "ledger_unbalanced": "An entry of the ledger does not sum to zero.",
    "balance_differs": "A balance is not the sum of its postings.",
    "chain_broken": "Rows of the ledger were changed after they were posted.",
    "escrow_negative": "More left a campaign's account than was in it.",
    "amount_differs": "The facts stored with a payout give another amount.",
    "paid_not_due": "Was paid, though nothing that is recorded made it due.",
    "paid_without_participation": "Was paid, and MongoDB has no such participation any more.",
    "facts_changed": "A document changed after it was paid for. Nothing is wrong by that alone.",
    "budget_below_paid": "More was paid for a campaign than its budget is now.",
    "budget_drift": "What a campaign has left does not follow from what was recorded.",
    "wallet_drift": "What the wallet remembers of the ledger is not what the ledger says.",
    "ledger_behind": "MongoDB knows of payouts that the ledger lacks: an older copy of it runs.",
    "unexplained_difference": "Expected and paid differ by something that no break explains.",
    "nothing_checked": "Where documents should be, there are none.",
    "status_unknown": "A status is none of the words that the platform is known to use.",
    "effect_overdue": "Paid in the ledger for a while, and MongoDB does not show it.",
    "brand_changed": "A campaign names another brand than the one that funded it.",
    "escrow_orphaned": "Money of a brand lies with a campaign that will never pay it out.",
    "wallet_ambiguous": "A user has more than one wallet, and nobody can say which one to credit.",
    "cooloff_out_of_range": "A campaign's cool-off hours cannot be right; 720 are used.",
}

HOLD_REASONS: Mapping[str, str] = {
    "over_budget": "The campaign's budget does not cover it. It is tried again with every sweep.",
    "over_approval_threshold": "Its amount needs a person's approval.",
    "account_full": "An account would be taken beyond what the ledger can hold. Is a budget or an amount absurd?",
    "over_pace": "It reached its target faster than people watch: a person has to look at it.",
}

STREAM_STATES: Mapping[str, tuple[str, str, str]] = {
    "streaming": ("good", "Live", "Changes are seen as they happen."),
    "starting": ("calm", "Starting", "Sweeps pay meanwhile."),
    "backing_off": ("warn", "Interrupted", "It is opened again by itself. Sweeps pay meanwhile, a little later."),
    "degraded_polling": ("warn", "Sweeps only", "This MongoDB offers no change stream. Sweeps pay, a little later."),
    "stopped": ("idle", "Off", "Sweeps alone pay."),
}
"""State of the watch → tone, name, and what it means for payments."""

PAYOUT_STATUSES: Mapping[str, tuple[str, str]] = {
    "paid": ("good", "In the wallet."),
    "held": ("calm", "Paid, and held for some days before it can be withdrawn."),
    "released": ("good", "In the wallet since its hold days were over."),
    "reversed": ("idle", "Taken back."),
    "reversal": ("idle", "Takes another payout back."),
}

PROJECTIONS: Mapping[str, tuple[str, str]] = {
    "done": ("good", "MongoDB shows it."),
    "pending": ("calm", "MongoDB is told within moments."),
    "blocked": ("bad", "MongoDB could not be told: a document has to be mended."),
}

VERDICTS: Mapping[str, tuple[str, str]] = {
    "clean": ("good", "Everything agrees."),
    "breaks": ("warn", "Something does not agree, or waits for somebody."),
    "halted": ("critical", "The ledger itself is damaged: paying stopped."),
    "failed": ("bad", "The check could not be finished."),
    "given_up": ("bad", "The check was given up."),
}

SEVERITIES: Mapping[str, str] = {"info": "idle", "warning": "warn", "error": "bad", "critical": "critical"}

STEP_VERDICTS: Mapping[str, tuple[str, str]] = {
    "passed": ("good", "Nothing in the way here."),
    "stopped": ("warn", "This is why it is not paid now."),
    "not reached": ("idle", "An earlier rule decided."),
    "off": ("idle", "Switched off in the configuration."),
}

OUTCOMES: Mapping[str, str] = {
    "approved": "Approved. A sweep has been woken, and pays it within moments.",
    "rejected": "Rejected. It is not paid, until a person repays it.",
    "reversed": "Reversed. Every posting is mirrored; the wallet follows within moments.",
    "requested": "Asked for. Under the rule of four eyes another person has to approve it.",
    "resumed": "Paying goes on.",
    "acknowledged": "Acknowledged. It stays in reports, and no longer counts as one nobody has seen.",
}
"""The result of a decision → what happens now."""


def verdict_tone(verdict: object) -> str:
    """The colour of a report's verdict."""
    return VERDICTS.get(str(verdict), ("idle", ""))[0]
