"""Breaks: where the facts, the ledger and the effects do not agree, with what to do about each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from reconciler.domain.break_identity import identity_of


class Severity(IntEnum):
    """How bad a break is. From ``WARNING`` on it makes a check end with exit code 1, ``CRITICAL`` halts paying."""

    INFO = 0
    WARNING = 1
    ERROR = 2
    CRITICAL = 3

    @property
    def label(self) -> str:
        """As it stands in reports."""
        return self.name.lower()


class BreakKind(StrEnum):
    """What does not agree."""

    DUE_BUT_UNPAID = "due_but_unpaid"
    HELD = "held"
    DUE_BUT_INELIGIBLE = "due_but_ineligible"
    STRANDED = "stranded"
    EXISTS_DIFFERENT = "exists_different"
    CAMPAIGN_MISSING = "campaign_missing"
    MARKED_PAID_ELSEWHERE = "marked_paid_elsewhere"
    DUPLICATE_PARTICIPATION = "duplicate_participation"
    MALFORMED = "malformed"
    PROJECTION_STALE = "projection_stale"
    EFFECT_BLOCKED = "effect_blocked"
    WALLET_NEGATIVE = "wallet_negative"
    LEDGER_UNBALANCED = "ledger_unbalanced"
    BALANCE_DIFFERS = "balance_differs"
    CHAIN_BROKEN = "chain_broken"
    ESCROW_NEGATIVE = "escrow_negative"
    AMOUNT_DIFFERS = "amount_differs"
    PAID_NOT_DUE = "paid_not_due"
    PAID_WITHOUT_PARTICIPATION = "paid_without_participation"
    FACTS_CHANGED = "facts_changed"
    BUDGET_BELOW_PAID = "budget_below_paid"
    BUDGET_DRIFT = "budget_drift"
    WALLET_DRIFT = "wallet_drift"
    LEDGER_BEHIND = "ledger_behind"
    UNEXPLAINED_DIFFERENCE = "unexplained_difference"
    NOTHING_CHECKED = "nothing_checked"
    STATUS_UNKNOWN = "status_unknown"
    EFFECT_OVERDUE = "effect_overdue"
    BRAND_CHANGED = "brand_changed"
    ESCROW_ORPHANED = "escrow_orphaned"
    WALLET_AMBIGUOUS = "wallet_ambiguous"
    COOLOFF_OUT_OF_RANGE = "cooloff_out_of_range"


SEVERITY: dict[BreakKind, Severity] = {
    BreakKind.DUE_BUT_UNPAID: Severity.ERROR,
    BreakKind.HELD: Severity.WARNING,
    BreakKind.DUE_BUT_INELIGIBLE: Severity.WARNING,
    BreakKind.STRANDED: Severity.WARNING,
    BreakKind.EXISTS_DIFFERENT: Severity.ERROR,
    BreakKind.CAMPAIGN_MISSING: Severity.ERROR,
    BreakKind.MARKED_PAID_ELSEWHERE: Severity.WARNING,
    BreakKind.DUPLICATE_PARTICIPATION: Severity.WARNING,
    BreakKind.MALFORMED: Severity.WARNING,
    BreakKind.PROJECTION_STALE: Severity.WARNING,
    BreakKind.EFFECT_BLOCKED: Severity.WARNING,
    BreakKind.WALLET_NEGATIVE: Severity.WARNING,
    BreakKind.LEDGER_UNBALANCED: Severity.CRITICAL,
    BreakKind.BALANCE_DIFFERS: Severity.CRITICAL,
    BreakKind.CHAIN_BROKEN: Severity.CRITICAL,
    BreakKind.ESCROW_NEGATIVE: Severity.CRITICAL,
    BreakKind.AMOUNT_DIFFERS: Severity.ERROR,
    BreakKind.PAID_NOT_DUE: Severity.ERROR,
    BreakKind.PAID_WITHOUT_PARTICIPATION: Severity.ERROR,
    BreakKind.FACTS_CHANGED: Severity.INFO,
    BreakKind.BUDGET_BELOW_PAID: Severity.ERROR,
    BreakKind.BUDGET_DRIFT: Severity.WARNING,
    BreakKind.WALLET_DRIFT: Severity.WARNING,
    BreakKind.LEDGER_BEHIND: Severity.CRITICAL,
    BreakKind.UNEXPLAINED_DIFFERENCE: Severity.ERROR,
    BreakKind.NOTHING_CHECKED: Severity.ERROR,
    BreakKind.STATUS_UNKNOWN: Severity.WARNING,
    BreakKind.EFFECT_OVERDUE: Severity.ERROR,
    BreakKind.BRAND_CHANGED: Severity.WARNING,
    BreakKind.ESCROW_ORPHANED: Severity.WARNING,
    BreakKind.WALLET_AMBIGUOUS: Severity.WARNING,
    BreakKind.COOLOFF_OUT_OF_RANGE: Severity.INFO,
}

ACTION: dict[BreakKind, str] = {
    BreakKind.DUE_BUT_UNPAID: "run a sweep; if it stays unpaid, look at the daemon's log for this participation",
    BreakKind.HELD: "raise the campaign's budget or reduce what is due; held payouts are retried with every sweep",
    BreakKind.DUE_BUT_INELIGIBLE: "undo what stands in the way (its currency or status), or forfeit the earnings",
    BreakKind.STRANDED: "switch on the rule named to have it paid, or settle it with the brand",
    BreakKind.EXISTS_DIFFERENT: "find out which document had this identity when it was paid",
    BreakKind.CAMPAIGN_MISSING: "restore the campaign, or correct the participation's campaign id (mind its type)",
    BreakKind.MARKED_PAID_ELSEWHERE: "make sure that it was settled; then leave it, or remove the mark to have it paid",
    BreakKind.DUPLICATE_PARTICIPATION: "remove one of the two participations; the streamer was paid for the other one",
    BreakKind.MALFORMED: "correct the field named; the document is looked at again with every sweep",
    BreakKind.PROJECTION_STALE: "nothing, if repaired; else run the check again and look at what changes the document",
    BreakKind.EFFECT_BLOCKED: "correct the document named; the effect is tried again by itself",
    BreakKind.WALLET_NEGATIVE: "ask the streamer for it, or set it off against later earnings: more left than came in",
    BreakKind.LEDGER_UNBALANCED: "stop paying and restore the ledger from a backup: an entry does not sum to zero",
    BreakKind.BALANCE_DIFFERS: "stop paying: a balance is not the sum of its postings",
    BreakKind.CHAIN_BROKEN: "stop paying: posted rows were changed; compare the batch named with a backup",
    BreakKind.ESCROW_NEGATIVE: "stop paying: more left a campaign's escrow than it held; compare with a backup",
    BreakKind.AMOUNT_DIFFERS: "compute the payout again by hand (`explain`); reverse and repay it if it is wrong",
    BreakKind.PAID_NOT_DUE: "find out how it was posted (`payouts show`); reverse it if nothing else justifies it",
    BreakKind.PAID_WITHOUT_PARTICIPATION: "restore the participation's document, or reverse the payout",
    BreakKind.FACTS_CHANGED: "nothing, if the change is right; else correct the document, or reverse and repay",
    BreakKind.BUDGET_BELOW_PAID: "settle with the brand what was paid beyond its budget, or restore the budget",
    BreakKind.BUDGET_DRIFT: "correct the campaign's counter or budget: they contradict each other or the ledger",
    BreakKind.WALLET_DRIFT: "nothing, if repaired; else look at what writes the wallet's record of the ledger",
    BreakKind.LEDGER_BEHIND: "stop paying: an older copy of the ledger runs; run `ledger recover`",
    BreakKind.UNEXPLAINED_DIFFERENCE: "report it: sums of the ledger and of its rows differ, and no break says why",
    BreakKind.NOTHING_CHECKED: "correct mongodb.database or the mapping: what was to be checked is not there",
    BreakKind.STATUS_UNKNOWN: "write the status as the platform means it; a word that is not known pays nobody",
    BreakKind.EFFECT_OVERDUE: "nothing, if repaired; else look at what keeps MongoDB from showing this payout",
    BreakKind.BRAND_CHANGED: "set brandId back, or settle it between the brands: refunds go to the one that funded",
    BreakKind.ESCROW_ORPHANED: "restore the campaign, or correct its status; else `ledger refund`",
    BreakKind.WALLET_AMBIGUOUS: "remove all but one of the wallets of this user; the credit is tried again by itself",
    BreakKind.COOLOFF_OUT_OF_RANGE: "correct gKeyCooloffHours: until then it counts as 720 hours",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One disagreement. Identities are plain hex or text; amounts are minor units of ``currency``."""

    kind: BreakKind
    reason: str = ""
    participation_id: str = ""
    campaign_id: str = ""
    streamer_id: str = ""
    payout_key: str = ""
    currency: str = ""
    expected_minor: int | None = None
    actual_minor: int | None = None
    detail: str = ""
    repaired: bool = False
    is_worse: bool = False
    """One step worse than its kind usually is: money of somebody hangs on it."""

    @property
    def severity(self) -> Severity:
        """Follows from the kind, and from whether this one is worse."""
        return Severity(SEVERITY[self.kind] + self.is_worse)

    @property
    def break_id(self) -> str:
        """What makes it the same break in two checks: 16 hex digits over what it is about, amounts left out."""
        return identity_of((self.kind.value, self.reason, self.participation_id, self.campaign_id, self.payout_key))

    @property
    def is_open(self) -> bool:
        """Whether it makes a check end with exit code 1."""
        return not self.repaired and self.severity >= Severity.WARNING

    @property
    def delta_minor(self) -> int | None:
        """Actual less expected."""
        if self.expected_minor is None or self.actual_minor is None:
            return None
        return self.actual_minor - self.expected_minor
