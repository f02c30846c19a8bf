"""Breaks: where the facts, the ledger and the effects do not agree, with what to do about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple

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


class BreakStatus(StrEnum):
    """Where a break stands: ``status`` in reports, lists and the API."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    """A person knows of it, as it is now: it stays in reports, and no exit code counts it."""
    REPAIRED = "repaired"
    """Of a break in a report: the check that found it put it in order."""
    INFO = "info"
    """Of a break in a report: nothing is wrong, and nobody has to do anything."""
    CLEARED = "cleared"
    """Of a remembered break: it is gone."""


class CatalogueEntry(NamedTuple):
    """What there is to know of a kind of break: what it means in one sentence, and what a person does about it.

    ``command``: the one to begin with, as the words after ``run.py``; in braces a field of the break. Empty: none.
    """

    severity: Severity
    meaning: str
    action: str
    command: str = ""


CATALOGUE: Mapping[BreakKind, CatalogueEntry] = {
    BreakKind.DUE_BUT_UNPAID: CatalogueEntry(
        Severity.ERROR,
        "A participation was due, and the ledger held no payout for it",
        "run a sweep; if it stays unpaid, look at the daemon's log for this participation",
        "--once",
    ),
    BreakKind.HELD: CatalogueEntry(
        Severity.WARNING,
        "A payout, or a whole campaign's settlement, waits for budget, for a person or for a correction",
        "raise the campaign's budget or reduce what is due; held payouts are retried with every sweep",
        "holds list",
    ),
    BreakKind.DUE_BUT_INELIGIBLE: CatalogueEntry(
        Severity.WARNING,
        "Money is owed, and a changed currency, status or document of a pool member keeps it from being paid",
        "undo what stands in the way (its currency or status), or forfeit the earnings",
        "explain {participation_id}",
    ),
    BreakKind.STRANDED: CatalogueEntry(
        Severity.WARNING,
        "Participations of a campaign earned something that no rule which is on will ever pay",
        "switch on the rule named to have it paid, or settle it with the brand",
    ),
    BreakKind.EXISTS_DIFFERENT: CatalogueEntry(
        Severity.ERROR,
        "The key of a payout is taken by a payout of another campaign, streamer or currency",
        "find out which document had this identity when it was paid",
        "payouts show {payout_key}",
    ),
    BreakKind.CAMPAIGN_MISSING: CatalogueEntry(
        Severity.ERROR,
        "No campaign has the very identity that the participation names",
        "restore the campaign, or correct the participation's campaign id (mind its type)",
        "explain {participation_id}",
    ),
    BreakKind.MARKED_PAID_ELSEWHERE: CatalogueEntry(
        Severity.WARNING,
        "MongoDB says that the participation was paid, and the ledger holds no payout for it",
        "make sure that it was settled; then leave it, or remove the mark to have it paid",
        "explain {participation_id}",
    ),
    BreakKind.DUPLICATE_PARTICIPATION: CatalogueEntry(
        Severity.WARNING,
        "One streamer has two participations in one campaign, and was paid for the other one",
        "remove one of the two participations; the streamer was paid for the other one",
        "explain {participation_id}",
    ),
    BreakKind.MALFORMED: CatalogueEntry(
        Severity.WARNING,
        "A participation or a campaign has a field that cannot be read exactly",
        "correct the field named; the document is looked at again with every sweep",
        "explain {participation_id}",
    ),
    BreakKind.PROJECTION_STALE: CatalogueEntry(
        Severity.WARNING,
        "MongoDB no longer shows an effect that was applied",
        "nothing, if repaired; else run the check again and look at what changes the document",
        "--full-check --campaign {campaign_id}",
    ),
    BreakKind.EFFECT_BLOCKED: CatalogueEntry(
        Severity.WARNING,
        "An effect cannot be applied to MongoDB; the reason names the obstacle",
        "correct the document named; the effect is tried again by itself",
        "payouts show {payout_key}",
    ),
    BreakKind.WALLET_NEGATIVE: CatalogueEntry(
        Severity.WARNING,
        "A streamer's withdrawable balance lies below zero",
        "ask the streamer for it, or set it off against later earnings: more left than came in",
        "ledger statement {streamer_id}",
    ),
    BreakKind.LEDGER_UNBALANCED: CatalogueEntry(
        Severity.CRITICAL,
        "The postings of an entry do not sum to zero",
        "stop paying and restore the ledger from a backup: an entry does not sum to zero",
        "ledger verify",
    ),
    BreakKind.BALANCE_DIFFERS: CatalogueEntry(
        Severity.CRITICAL,
        "The balance of an account is not the sum of its postings",
        "stop paying: a balance is not the sum of its postings",
        "ledger verify",
    ),
    BreakKind.CHAIN_BROKEN: CatalogueEntry(
        Severity.CRITICAL,
        "Posted rows were changed or are missing, or the ledger's file is damaged",
        "stop paying: posted rows were changed; compare the batch named with a backup",
        "ledger verify",
    ),
    BreakKind.ESCROW_NEGATIVE: CatalogueEntry(
        Severity.CRITICAL,
        "An entry took more out of a campaign's escrow than it held",
        "stop paying: more left a campaign's escrow than it held; compare with a backup",
        "ledger verify",
    ),
    BreakKind.AMOUNT_DIFFERS: CatalogueEntry(
        Severity.ERROR,
        "The stored amounts of a payout, or the lines of a settlement, do not follow from the stored facts",
        "compute the payout again by hand (`explain`); reverse and repay it if it is wrong",
        "explain {participation_id}",
    ),
    BreakKind.PAID_NOT_DUE: CatalogueEntry(
        Severity.ERROR,
        "The stored facts of a payout do not reach their own target",
        "find out how it was posted (`payouts show`); reverse it if nothing else justifies it",
        "explain {participation_id}",
    ),
    BreakKind.PAID_WITHOUT_PARTICIPATION: CatalogueEntry(
        Severity.ERROR,
        "A payout stands, and no participation of its identity exists",
        "restore the participation's document, or reverse the payout",
        "payouts show {payout_key}",
    ),
    BreakKind.FACTS_CHANGED: CatalogueEntry(
        Severity.INFO,
        "The facts of a paid participation give another amount today",
        "nothing, if the change is right; else correct the document, or reverse and repay",
        "explain {participation_id}",
    ),
    BreakKind.BUDGET_BELOW_PAID: CatalogueEntry(
        Severity.ERROR,
        "The budget of a campaign is less than what was paid of it",
        "settle with the brand what was paid beyond its budget, or restore the budget",
        "ledger brand {campaign_id}",
    ),
    BreakKind.BUDGET_DRIFT: CatalogueEntry(
        Severity.WARNING,
        "The counters of a campaign's budget contradict each other, the recorded impressions, or the ledger",
        "correct the campaign's counter or budget: they contradict each other or the ledger",
    ),
    BreakKind.WALLET_DRIFT: CatalogueEntry(
        Severity.WARNING,
        "A wallet shows something else than the ledger wrote into it",
        "nothing, if repaired; else look at what writes the wallet's record of the ledger",
        "ledger statement {streamer_id}",
    ),
    BreakKind.LEDGER_BEHIND: CatalogueEntry(
        Severity.CRITICAL,
        "MongoDB has seen a later copy of this ledger, or another one",
        "stop paying: an older copy of the ledger runs; run `ledger recover`",
        "ledger recover --by NAME --reason TEXT",
    ),
    BreakKind.UNEXPLAINED_DIFFERENCE: CatalogueEntry(
        Severity.ERROR,
        "Control totals differ, and no break accounts for the difference",
        "report it: sums of the ledger and of its rows differ, and no break says why",
        "ledger verify",
    ),
    BreakKind.NOTHING_CHECKED: CatalogueEntry(
        Severity.ERROR,
        "A mapped collection does not exist, or holds no document to check",
        "correct mongodb.database or the mapping: what was to be checked is not there",
        "config check",
    ),
    BreakKind.STATUS_UNKNOWN: CatalogueEntry(
        Severity.WARNING,
        "A participation or a campaign has a status that is none of the known words",
        "write the status as the platform means it; a word that is not known pays nobody",
        "--full-check",
    ),
    BreakKind.EFFECT_OVERDUE: CatalogueEntry(
        Severity.ERROR,
        "A payment was not shown in MongoDB within `projection.overdue_s`",
        "nothing, if repaired; else look at what keeps MongoDB from showing this payout",
        "payouts show {payout_key}",
    ),
    BreakKind.BRAND_CHANGED: CatalogueEntry(
        Severity.WARNING,
        "A campaign names another brand than the one that funded it",
        "set brandId back, or settle it between the brands: refunds go to the one that funded",
        "ledger brand {campaign_id}",
    ),
    BreakKind.ESCROW_ORPHANED: CatalogueEntry(
        Severity.WARNING,
        "Escrow holds money of a campaign that is gone, or that will never pay",
        "restore the campaign, or correct its status; else `ledger refund`",
        "ledger refund {campaign_id} --by NAME --reason TEXT",
    ),
    BreakKind.WALLET_AMBIGUOUS: CatalogueEntry(
        Severity.WARNING,
        "One user has several wallets, and none of them is credited",
        "remove all but one of the wallets of this user; the credit is tried again by itself",
        "ledger statement {streamer_id}",
    ),
    BreakKind.COOLOFF_OUT_OF_RANGE: CatalogueEntry(
        Severity.INFO,
        "`gKeyCooloffHours` of a campaign is no whole number from 1 to 8760",
        "correct gKeyCooloffHours: until then it counts as 720 hours",
    ),
}
"""Every kind of break, once. docs/operations.md shows it as a table."""

_FOR_A_PERSON = ("over_approval_threshold", "over_pace")
_APPROVE = "payouts approve {payout_key} --by NAME --reason TEXT"


def command_of(kind: BreakKind, reason: str) -> str:
    """The command to begin with, as in the catalogue; what is held for a person has one of its own."""
    return _APPROVE if kind is BreakKind.HELD and reason in _FOR_A_PERSON else CATALOGUE[kind].command


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
        return Severity(CATALOGUE[self.kind].severity + self.is_worse)

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
