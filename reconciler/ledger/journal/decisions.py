"""People's decisions, and the entries that follow from them: each one batch, under the lock, with who and why.

Whatever is refused raises UsageError with a sentence, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.domain.accounts import Entry, Posting, kind_of
from reconciler.domain.entries import release_entry, reversal_entry
from reconciler.domain.ledger_snapshot import OpenHold
from reconciler.domain.money import format_minor
from reconciler.domain.plan import BatchPlan, HoldEvent, NewAdoption, NewDecision, NewReversal, NewTransfer
from reconciler.domain.posted import PostedPayout
from reconciler.domain.review import FOR_A_PERSON
from reconciler.errors import UsageError
from reconciler.ledger.journal.posting import Locked, SqlJournal
from reconciler.ledger.reads.halts import current_halt
from reconciler.ledger.reads.ledger_reads import (
    hold_events_of,
    open_holds_where,
    read_accounts,
    settled_by_us_or_before,
)
from reconciler.ledger.reads.payout_list import find_payout
from reconciler.ledger.schema import decisions, entries
from reconciler.ports.journal import BatchStamp

REQUESTED = "requested"
"""What a command returns that, under four eyes, waits for another person."""

KEY_LENGTH_MAX = 200
"""Characters of an adjustment's key: an index holds it, and PostgreSQL's take some 2,700 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who decides, and why. Both are kept for ever."""

    by: str
    reason: str

    def __post_init__(self) -> None:
        for name, value in (("--by", self.by), ("--reason", self.reason)):
            if not value.strip() or "\x00" in value or len(value) > 1000:
                raise UsageError(f"{name} takes a text of 1 to 1000 characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A manual movement between two accounts, under the caller's own key."""

    key: str
    from_account: str
    to_account: str
    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        if not self.key.strip() or "\x00" in self.key or len(self.key) > KEY_LENGTH_MAX:
            raise UsageError(f"--key takes a text of 1 to {KEY_LENGTH_MAX} characters")


class Decisions:
    """Posts what people decide. ``four_eyes``: what one person asks for, another one approves.

    ``run_id`` names the command, or the process, in every row that it writes.
    """

    def __init__(self, poster: SqlJournal, *, run_id: str, four_eyes: bool) -> None:
        self._poster = poster
        self._stamp = BatchStamp(run_id=run_id, trigger="person")
        self._four_eyes = four_eyes

    def approve(self, subject: str, signed: Signature, seen_minor: int | None = None) -> str:
        """Approve a held payout (its key), or, under four eyes, what another person asked for (its entry's key).

        ``seen_minor``: the gross amount that the person saw, and approves; views may have raised it since.
        """
        with self._poster.locked() as locked:
            request = pending_request(locked.connection, subject)
            if request is not None:
                if request.decided_by == signed.by:
                    raise UsageError(f"{subject} was asked for by {signed.by}: another person has to approve it")
                return self._carry_out(locked, request, signed)
            hold = _open_approval(locked.connection, subject)
            amount = (hold.amount_minor if seen_minor is None else seen_minor, hold.currency)
            if not 0 <= amount[0] <= hold.amount_minor:
                shown = format_minor(hold.amount_minor, hold.currency)
                raise UsageError(f"{subject} waits for {shown} {hold.currency} now: no more can be approved")
            before = {"hold": hold.hold_key, "state": "held"}
            plan = BatchPlan(decisions=[decision_of("approve", subject, signed, locked.now, amount, before)])
            locked.write(plan, self._stamp)
        return "approved"

    def reject(self, subject: str, signed: Signature) -> str:
        """Reject a held payout, for good, or what another person asked for."""
        with self._poster.locked() as locked:
            plan = BatchPlan()
            request = pending_request(locked.connection, subject)
            if request is not None:
                before = {"requested_by": request.decided_by, "request": request.decision_key}
                plan.decisions.append(decision_of("reject", subject, signed, locked.now, state_before=before))
            else:
                hold = _open_approval(locked.connection, subject)
                before = {"hold": hold.hold_key, "state": "held"}
                plan.decisions.append(decision_of("reject", subject, signed, locked.now, _amount(hold), before))
                plan.hold_events.append(_closing(hold, "rejected_by_person"))
            locked.write(plan, self._stamp)
        return "rejected"

    def reverse(self, payout_key: str, signed: Signature) -> str:
        """Take a payout back: every posting mirrored, once. Under four eyes another person has to approve it."""
        with self._poster.locked() as locked:
            payout = _reversible(locked.connection, payout_key)
            if self._four_eyes:
                subject = f"reversal:{payout_key}"
                _refuse_second_request(locked.connection, subject)
                before = {"amount_minor": payout.amount_minor, "state": "paid"}
                locked.write(
                    BatchPlan(decisions=[decision_of("request", subject, signed, locked.now, None, before)]),
                    self._stamp,
                )
                return REQUESTED
            locked.write(_reversal_plan(payout, signed, locked.now), self._stamp)
        return "reversed"

    def adjust(self, adjustment: Adjustment, signed: Signature) -> str:
        """Move an amount between two accounts that exist. Raises UsageError for a key that was used."""
        with self._poster.locked() as locked:
            entry = _adjustment_entry(locked.connection, adjustment, signed)
            decision = decision_of(
                "adjust",
                entry.key,
                signed,
                locked.now,
                (adjustment.amount_minor, adjustment.currency),
                {"state": "none"},
            )
            locked.write(BatchPlan(posted=[NewTransfer(entry=entry)], decisions=[decision]), self._stamp)
        return "adjusted"

    def halt(self, invariant: str, detail: str) -> None:
        """Stop paying, unless it is stopped; by this program, when an invariant broke, whatever the clocks say."""
        signed = Signature(by="reconciler", reason=f"{invariant}: {detail}"[:1000])
        with self._poster.locked(may_be_off=True) as locked:
            if current_halt(locked.connection) is None:
                locked.write(BatchPlan(decisions=[decision_of("halt", "paying", signed, locked.now)]), self._stamp)

    def is_halted(self) -> bool:
        """Whether paying is stopped, and nobody has resumed it."""
        return self._poster.is_halted()

    def resume(self, signed: Signature, seen: datetime | None = None) -> str:
        """Let paying go on. Raises UsageError when it is not halted, or was halted anew since ``seen``."""
        with self._poster.locked() as locked:
            halt = current_halt(locked.connection)
            if halt is None:
                raise UsageError("paying is not halted: there is nothing to resume")
            if seen is not None and seen.replace(microsecond=0) != halt.since.replace(microsecond=0):
                raise UsageError(f"paying was halted again at {halt.since.isoformat()}: {halt.cause}")
            before = {"halt": halt.decision_key, "cause": halt.cause, "since": halt.since.isoformat()}
            locked.write(
                BatchPlan(decisions=[decision_of("resume", "paying", signed, locked.now, None, before)]), self._stamp
            )
        return "resumed"

    def adopt(self, found: Sequence[NewAdoption], signed: Signature, decision_key: str) -> int:
        """Record participations as settled before this ledger began; returns how many were new."""
        with self._poster.locked() as locked:
            # Paid since it was found, perhaps: what this ledger paid was not settled before it.
            known = settled_by_us_or_before(locked.connection, [one.participation_id for one in found])
            new = [one for one in found if one.participation_id not in known]
            if new:
                decision = NewDecision(
                    decision_key=decision_key,
                    kind="adopt",
                    subject=f"{len(new)} participations",
                    decided_by=signed.by,
                    reason=signed.reason,
                    state_before={"state": "marked_paid_elsewhere", "at": locked.now.isoformat()},
                )
                locked.write(BatchPlan(decisions=[decision], adoptions=new), self._stamp)
        return len(new)

    def recovered(self, signed: Signature, counts: Mapping[str, object]) -> None:
        """Record that an older copy of the ledger was recovered, and with what result."""
        with self._poster.locked() as locked:
            plan = BatchPlan(decisions=[decision_of("recover", "ledger", signed, locked.now, None, counts)])
            locked.write(plan, self._stamp)

    def reverse_lost(self, payout_key: str, signed: Signature) -> bool:
        """Post again a reversal that was lost with a part of the ledger; False if there is nothing to reverse."""
        with self._poster.locked() as locked:
            payout = find_payout(locked.connection, payout_key)
            if payout is None or payout.is_reversed:
                return False
            locked.write(_reversal_plan(payout, signed, locked.now), self._stamp)
        return True

    def release_lost(self, payout_key: str) -> bool:
        """Post again a release that was lost with a part of the ledger; False if nothing lies in *held*."""
        with self._poster.locked() as locked:
            payout = find_payout(locked.connection, payout_key)
            if payout is None or payout.is_reversed or not payout.lies_held:
                return False
            locked.write(BatchPlan(posted=[NewTransfer(entry=release_entry(payout), is_projected=True)]), self._stamp)
        return True

    def _carry_out(self, locked: Locked, request: sa.Row[Any], signed: Signature) -> str:
        """Post what one person asked for and another one approves."""
        payout = _reversible(locked.connection, request.subject.removeprefix("reversal:"))
        locked.write(_reversal_plan(payout, signed, locked.now, requested=request.decision_key), self._stamp)
        return "reversed"


def _reversal_plan(payout: PostedPayout, signed: Signature, now: datetime, requested: str | None = None) -> BatchPlan:
    before: dict[str, object] = {
        "payout_key": payout.payout_key,
        "amount_minor": payout.amount_minor,
        "lies": "held" if payout.lies_held else "wallet",
    }
    if requested is not None:
        before["request"] = requested
    entry = reversal_entry(payout, reason=signed.reason)
    kind = "reverse" if requested is None else "approve"
    decision = decision_of(kind, entry.key, signed, now, (payout.amount_minor, payout.currency), before)
    reversal = NewReversal(entry=entry, payout=payout, decision_key=decision.decision_key)
    return BatchPlan(posted=[reversal], decisions=[decision])


def _adjustment_entry(connection: Connection, adjustment: Adjustment, signed: Signature) -> Entry:
    key = f"adjustment:{adjustment.key}"
    if connection.execute(sa.select(entries.c.sequence).where(entries.c.key == key)).one_or_none() is not None:
        raise UsageError(f"the key {adjustment.key} was used before: an adjustment is made once")
    if adjustment.amount_minor <= 0:
        raise UsageError("an adjustment moves an amount above zero; swap the accounts to move it back")
    if adjustment.from_account == adjustment.to_account:
        raise UsageError("an adjustment moves between two accounts")
    held = read_accounts(connection, [adjustment.from_account, adjustment.to_account])
    for account in (adjustment.from_account, adjustment.to_account):
        if (account, adjustment.currency) not in held:
            raise UsageError(f"there is no account {account} in {adjustment.currency}")
    balance_minor = held[adjustment.from_account, adjustment.currency][0]
    if kind_of(adjustment.from_account) != "funding" and balance_minor < adjustment.amount_minor:
        shown = format_minor(balance_minor, adjustment.currency)
        raise UsageError(f"{adjustment.from_account} holds {shown} {adjustment.currency}, which is less than that")
    return Entry(
        key=key,
        kind="adjustment",
        currency=adjustment.currency,
        reason=signed.reason,
        postings=(
            Posting(account=adjustment.from_account, amount_minor=-adjustment.amount_minor),
            Posting(account=adjustment.to_account, amount_minor=adjustment.amount_minor),
        ),
    )


def pending_request(connection: Connection, subject: str) -> sa.Row[Any] | None:
    """The request about a subject that waits for another person's approval or rejection; None without one."""
    query = (
        sa.select(decisions)
        .where(decisions.c.subject == subject, decisions.c.kind.in_(["request", "approve", "reject"]))
        .order_by(decisions.c.batch.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return row if row is not None and row.kind == "request" else None


def _refuse_second_request(connection: Connection, subject: str) -> None:
    request = pending_request(connection, subject)
    if request is not None:
        raise UsageError(f"{subject} was asked for by {request.decided_by} already and waits for approval")


def _reversible(connection: Connection, payout_key: str) -> PostedPayout:
    payout = find_payout(connection, payout_key)
    if payout is None:
        raise UsageError(f"there is no payout {payout_key}")
    if payout.is_reversed:
        raise UsageError(f"{payout_key} was reversed before")
    return payout


def _open_approval(connection: Connection, subject: str) -> OpenHold:
    """The hold of a payout that waits for approval. ``subject`` is the payout's key."""
    participation_id, _, n = subject.removeprefix("payout:").rpartition(":")
    # Only a first payout ever waits: a repayment is a person's decision already.
    is_key = subject.startswith("payout:") and participation_id and n == "1"
    found = open_holds_where(connection, hold_events_of(participation_id)) if is_key else []
    waiting = [hold for hold in found if hold.reason in FOR_A_PERSON]
    if not waiting:
        raise UsageError(f"{subject} does not wait for approval")
    return waiting[0]


def _amount(hold: OpenHold) -> tuple[int, str]:
    return hold.amount_minor, hold.currency


def _closing(hold: OpenHold, reason: str) -> HoldEvent:
    return HoldEvent(
        hold_key=hold.hold_key,
        event="closed",
        participation_id=hold.participation_id,
        campaign_id=hold.campaign_id,
        streamer_id=hold.streamer_id,
        reason=reason,
        detail="",
        amount_minor=hold.amount_minor,
        currency=hold.currency,
    )


def decision_of(
    kind: str,
    subject: str,
    signed: Signature,
    now: datetime,
    amount: tuple[int, str] | None = None,
    state_before: Mapping[str, object] | None = None,
) -> NewDecision:
    """A person's decision, under a key of its own."""
    return NewDecision(
        decision_key=f"{kind}:{subject}:{now:%Y-%m-%dT%H:%M:%S.%f}",
        kind=kind,
        subject=subject,
        decided_by=signed.by,
        reason=signed.reason,
        state_before=state_before or {},
        amount_minor=amount[0] if amount else None,
        currency=amount[1] if amount else None,
    )
