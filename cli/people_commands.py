"""Commands with which people decide. Each takes --by and --reason, and both are kept for ever."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from app.parts import Parts, parts_of
from app.preparing import prepare
from cli import render
from cli.periods import moment
from cli.session import Session, as_json_option, print_json
from cli.signing import signed
from jobs.payment.adopting import Adopting
from jobs.payment.recovering import Recovering
from jobs.payment.repaying import Repaying
from jobs.process.halting import halting
from reconciler.clock import utc_text
from reconciler.domain.ids import DocumentId
from reconciler.domain.money import format_minor, minor_digits, parse_amount_minor
from reconciler.domain.parsing import Unreadable
from reconciler.errors import UsageError
from reconciler.exit_codes import ExitCode
from reconciler.ledger.journal.decisions import REQUESTED, Adjustment, Signature
from reconciler.ledger.operations.outbox import raise_versions
from reconciler.mongo.history import History
from reconciler.ports.journal import BatchStamp
from reconciler.queries.holds import hold_rows, open_hold
from reconciler.queries.identities import identities_of

_Decide = Callable[[Parts], dict[str, Any]]
"""Decides, and returns what is shown of it: at least ``result``."""


@click.command()
@click.argument("key")
@signed
@as_json_option
@click.option("--amount", help="What you saw, in major units: so much at most is paid. Default: what waits now.")
@click.pass_obj
def approve(session: Session, *, key: str, amount: str | None, signature: Signature) -> ExitCode:
    """Approve a payout that waits for it, or what somebody else asked for (the key of its entry)."""

    def decide(parts: Parts) -> dict[str, Any]:
        waiting = open_hold(parts.engine, key)
        if waiting is None:
            return {"result": parts.decisions.approve(key, signature)}
        seen_minor = waiting.amount_minor if amount is None else _minor("--amount", amount, waiting.currency)
        result = parts.decisions.approve(key, signature, seen_minor)
        return {"result": result, "at_most": format_minor(seen_minor, waiting.currency), "currency": waiting.currency}

    return _decide(session, key, decide)


@click.command()
@click.argument("key")
@signed
@as_json_option
@click.pass_obj
def reject(session: Session, *, key: str, signature: Signature) -> ExitCode:
    """Reject a payout that waits for approval, for good, or what somebody else asked for."""
    return _decide(session, key, lambda parts: {"result": parts.decisions.reject(key, signature)})


@click.command()
@click.argument("key")
@signed
@as_json_option
@click.pass_obj
def reverse(session: Session, *, key: str, signature: Signature) -> ExitCode:
    """Take a payout back, once; under four eyes another person has to approve it."""
    return _decide(session, key, lambda parts: {"result": parts.decisions.reverse(key, signature)})


@click.command()
@click.argument("participation_id")
@signed
@as_json_option
@click.pass_obj
def repay(session: Session, *, participation_id: str, signature: Signature) -> ExitCode:
    """Pay a participation again after a reversal, or after all after a rejection, on its facts as they are now."""
    with parts_of(session.settings()) as parts:
        prepare(parts)
        repaying = Repaying(deciding=parts.deciding, post=parts.journal.repay, clock=parts.clock)
        stamp = BatchStamp(run_id=str(uuid.uuid4()), trigger="repay")
        chosen = _participation(parts, participation_id)
        with halting(parts.decisions):
            parts.guard.check()
            key, sequences = repaying.repay(chosen, signature.by, signature.reason, stamp)
            parts.projector.project(sequences)
    return render.done({"key": key, "result": "paid"}, as_json=session.as_json)


@click.command(name="list")
@as_json_option
@click.pass_obj
def holds_list(session: Session) -> ExitCode:
    """Payouts that wait: for budget, in the order in which they are retried, or for approval."""
    with parts_of(session.settings()) as parts:
        prepare(parts)
        rows = hold_rows(parts.engine)
    if session.as_json:
        print_json({"holds": rows})
    else:
        render.rows("Holds", ("participation_id", "reason", "amount_minor", "currency", "since", "approve_with"), rows)
    return ExitCode.CLEAN


@click.command()
@click.option("--since", metavar="TIME", help="The halt that you saw: one that came later is not ended.")
@signed
@as_json_option
@click.pass_obj
def resume(session: Session, *, since: str | None, signature: Signature) -> ExitCode:
    """Let paying go on after a halt."""
    settings = session.settings()
    seen = None if since is None else moment("--since", since, settings)
    with parts_of(settings) as parts:
        prepare(parts)
        result = parts.decisions.resume(signature, seen)
    return render.done({"subject": "paying", "result": result}, as_json=session.as_json)


@click.command()
@click.option("--before", required=True, metavar="TIME", help="A date, or a time with an offset.")
@signed
@click.option("--dry-run", is_flag=True, help="Count, and record nothing.")
@as_json_option
@click.pass_obj
def adopt(session: Session, *, before: str, signature: Signature, dry_run: bool) -> ExitCode:
    """Record what was settled before this ledger began, so that it is no break any more."""
    settings = session.settings()
    time = moment("--before", before, settings)
    assert time is not None
    with parts_of(settings) as parts:
        prepare(parts)
        history = _history_of(parts)
        adopting = Adopting(marked_before=history.marked_before, ledger=parts.ledger, clock=parts.clock)
        count = adopting.adopt(time, lambda found, key: parts.decisions.adopt(found, signature, key), dry_run=dry_run)
    return render.done({"adopted": count, "before": utc_text(time), "dry_run": dry_run}, as_json=session.as_json)


@click.command()
@signed
@as_json_option
@click.pass_obj
def recover(session: Session, *, signature: Signature) -> ExitCode:
    """After an older copy of the ledger was put in place: post again what MongoDB was told and this copy lacks."""
    settings = session.settings()
    with parts_of(settings) as parts:
        prepare(parts)
        history = _history_of(parts)
        recovering = Recovering(
            deciding=parts.deciding,
            poster=parts.journal.for_recovery(),
            traces=history,
            release=parts.decisions.release_lost,
            reverse=lambda payout_key: parts.decisions.reverse_lost(payout_key, signature),
            raise_versions=lambda seen: raise_versions(parts.engine, seen),
            hold_days=timedelta(days=settings.payout.hold_days),
        )
        result = recovering.recover(BatchStamp(run_id=str(uuid.uuid4()), trigger="recover"))
        counts = {
            "posted": result.posted,
            "released": result.released,
            "reversed": result.reversed,
            "versions_raised": result.versions_raised,
        }
        parts.decisions.recovered(signature, {**counts, "unresolved": len(result.unresolved)})
        if not result.unresolved:
            parts.guard.take_over()
    render.done({**counts, "unresolved": result.unresolved}, as_json=session.as_json)
    return ExitCode.BREAKS if result.unresolved else ExitCode.CLEAN


@click.command()
@click.option("--key", required=True, help="Your own key; one adjustment is made under it, ever.")
@click.option("--from", "from_account", required=True, metavar="ACCOUNT")
@click.option("--to", "to_account", required=True, metavar="ACCOUNT")
@click.option("--amount", required=True, help="Major units, e.g. 12.50.")
@click.option("--currency", required=True, help="ISO 4217.")
@signed
@as_json_option
@click.pass_obj
def adjust(  # one parameter an option
    session: Session,
    *,
    key: str,
    from_account: str,
    to_account: str,
    amount: str,
    currency: str,
    signature: Signature,
) -> ExitCode:
    """Move an amount between two accounts by hand."""
    if minor_digits(currency) is None:
        raise UsageError(f"{currency} is not a currency code of ISO 4217")
    amount_minor = _minor("--amount", amount, currency)
    adjustment = Adjustment(
        key=key, from_account=from_account, to_account=to_account, amount_minor=amount_minor, currency=currency
    )
    return _decide(session, key, lambda parts: {"result": parts.decisions.adjust(adjustment, signature)})


@click.command()
@click.argument("campaign")
@signed
@as_json_option
@click.pass_obj
def refund(session: Session, *, campaign: str, signature: Signature) -> ExitCode:
    """Give what the escrow of CAMPAIGN holds back to who funded it, also where its document is gone or was rejected."""

    def decide(parts: Parts) -> dict[str, Any]:
        stamp = BatchStamp(run_id=str(uuid.uuid4()), trigger="person")
        given = parts.housekeeping.refunds.by_person(campaign, signature.by, signature.reason, stamp)
        amounts = [{"amount_minor": one.balance_minor, "currency": one.currency} for one in given]
        return {"result": "refunded", "refunded": amounts}

    return _decide(session, campaign, decide)


def _history_of(parts: Parts) -> History:
    settings = parts.settings
    return History(parts.connection, settings.mapping, default_currency=settings.payout.default_currency)


def _minor(option: str, amount: str, currency: str) -> int:
    """Minor units of a text of major units. Raises UsageError."""
    amount_minor = parse_amount_minor(amount, currency)
    if isinstance(amount_minor, Unreadable):
        raise UsageError(f"{option} {amount_minor.why}")
    return amount_minor


def _decide(session: Session, subject: str, decide: _Decide) -> ExitCode:
    with parts_of(session.settings()) as parts:
        prepare(parts)
        with halting(parts.decisions):
            # What an older copy of the ledger posts would raise its sequence until it looked like the newest.
            parts.guard.check()
            document = {"subject": subject, **decide(parts)}
            parts.projector.drain()
    if document["result"] == REQUESTED:
        document["next"] = f"another person runs: run.py payouts approve reversal:{subject} --by NAME --reason TEXT"
    return render.done(document, as_json=session.as_json)


def _participation(parts: Parts, text: str) -> DocumentId:
    """The participation that a text names. Raises UsageError when there is none."""
    for candidate in identities_of(text):
        if parts.facts.read([candidate]).participations:
            return candidate
    raise UsageError(f"there is no participation {text}")
