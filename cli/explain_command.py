"""``explain``: why a participation was paid, or was not, from both databases, to the last rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import click

from app.parts import Parts, parts_of, posting_rules_of
from app.preparing import prepare
from cli import payout_view, render
from cli.commands import print_json
from cli.identities import identities_of
from cli.session import Session
from cli.tables import local_time, one_line
from jobs.payment.pools import PoolFreezer
from reconciler.clock import utc_text
from reconciler.deciding import Deciding
from reconciler.domain.batch import PlannedBatch
from reconciler.domain.decision import Decision, Due, ParticipationFacts
from reconciler.domain.explanation import Explanation, PaidExplained, Step, explain
from reconciler.domain.findings import Case
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import PayoutRequest
from reconciler.domain.money import format_minor
from reconciler.domain.participation import MalformedParticipation, Participation
from reconciler.domain.settlement import PoolDecision
from reconciler.errors import UsageError
from reconciler.exit_codes import ExitCode
from reconciler.ledger.reads.participation_history import ParticipationHistory, foresee, participation_history
from reconciler.ports.facts import FactsPage


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An explanation with what the ledger holds, and the document's problems where it cannot be read at all."""

    explanation: Explanation
    history: ParticipationHistory
    problems: tuple[str, ...] = ()


@click.command(name="explain")
@click.argument("participation_id")
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document.")
@click.pass_obj
def explain_command(session: Session, *, participation_id: str, as_json: bool) -> ExitCode:
    """Why PARTICIPATION_ID was paid, or was not: every rule, number and rounding, and where it stands."""
    settings = session.settings()
    with parts_of(settings) as parts:
        prepare(parts)
        told = tell(parts, participation_id)
    if as_json or session.as_json:
        print_json(document(told))
    else:
        show(told, ZoneInfo(settings.reports.timezone))
    return ExitCode.CLEAN


def tell(parts: Parts, text: str) -> Told:
    """Explain the participation that a text names. Raises UsageError where neither database has it."""
    identities = identities_of(text)
    page = parts.facts.read(identities)
    for identity in identities:
        found = next((one for one in page.participations if one.participation_id == identity), None)
        history = participation_history(parts.engine, identity)
        if found is not None or not history.is_empty:
            return _told(parts, identity, page, found, history)
    raise UsageError(f"neither database has a participation {text!r}")


def _told(
    parts: Parts,
    identity: DocumentId,
    page: FactsPage,
    found: Participation | MalformedParticipation | None,
    history: ParticipationHistory,
) -> Told:
    case = Case(
        participation_id=identity.tagged,
        policy=parts.policy,
        fixed_impressions_per_unit=parts.settings.completion.fixed_impressions_per_unit,
        impressions_per_minute_max=parts.settings.safety.impressions_per_minute_max,
        now=page.facts_at,
        stored=history.payouts,
        pools=history.pools or {},
    )
    if isinstance(found, Participation):
        only = replace(page, participations=[found], missing=())
        decided = Deciding(facts=parts.facts, ledger=parts.ledger, policy=parts.policy).decide(only)
        facts, decision = decided.facts[0], decided.decisions[0]
        case = replace(
            case,
            facts=facts,
            decision=decision,
            foreseen=_foreseen(parts, decision, page),
            pool=_pool(parts, facts),
        )
    problems = tuple(map(str, found.problems)) if isinstance(found, MalformedParticipation) else ()
    return Told(explanation=explain(case), history=history, problems=problems)


def _foreseen(parts: Parts, decision: Decision, page: FactsPage) -> PlannedBatch | None:
    if not isinstance(decision, Due):
        return None
    request = PayoutRequest(due=decision, facts_at=page.facts_at)
    return foresee(parts.engine, request, posting_rules_of(parts.settings), page.facts_at)


def _pool(parts: Parts, facts: ParticipationFacts) -> PoolDecision | None:
    """What would become of the whole campaign, where whole campaigns are settled and this one is not yet."""
    if not parts.policy.has_pools or facts.campaign is None:
        return None
    freezer = PoolFreezer(
        facts=parts.facts, ledger=parts.ledger, poster=parts.journal, policy=parts.policy, clock=parts.clock
    )
    campaign_id = facts.participation.campaign_id
    return freezer.decide(parts.facts.read_campaign(campaign_id), campaign_id)


def document(told: Told) -> dict[str, Any]:
    """The explanation for JSON."""
    explanation, history = told.explanation, told.history
    adoption, identity = history.adoption, DocumentId.from_tagged(history.participation_id)
    return {
        "participation_id": identity.value,
        "payout_key": explanation.payout_key,
        "answer": explanation.answer,
        "reason": explanation.reason,
        "problems": list(told.problems),
        "rules": [_step_document(one) for one in explanation.steps],
        "payouts": [_paid_document(one, history) for one in explanation.paid],
        "entries": [payout_view.entry_document(one) for one in history.entries],
        "holds": [payout_view.hold_document(one) for one in history.holds],
        "decisions": [payout_view.decision_document(one) for one in history.decisions],
        "effects": [payout_view.effect_document(one) for one in history.effects],
        "wallets": [
            {"currency": one.currency, "version": one.version, "projected_version": one.projected_version}
            for one in history.wallets
        ],
        "adopted": None
        if adoption is None
        else {
            "amount_minor": adoption.amount_minor,
            "currency": adoption.currency,
            "decision_key": adoption.decision_key,
            "occurred_at": utc_text(adoption.occurred_at),
        },
    }


def show(told: Told, zone: ZoneInfo) -> None:
    """The explanation for a person."""
    explanation, history = told.explanation, told.history
    click.echo(one_line(explanation.answer))
    render.facts("Identity", [("participation", history.participation_id), ("payout key", explanation.payout_key)])
    if told.problems:
        render.facts("The document cannot be read", [("field", one_line(one)) for one in told.problems])
    if explanation.steps:
        render.facts("Rules, in the order in which they are tried", [_step_text(one) for one in explanation.steps])
    for paid in explanation.paid:
        render.facts(one_line(paid.stored.payout_key), _paid_facts(paid))
        pool = (history.pools or {}).get(paid.stored.settlement_key or "")
        if pool is not None:
            render.facts("Settlement line", payout_view.settlement_facts(pool, history.participation_id))
    payout_view.show_entries(history.entries, zone)
    if history.holds:
        render.facts(
            "Holds",
            [
                (local_time(one.occurred_at, zone), one_line(f"{one.event}: {one.reason} {one.detail}".strip()))
                for one in history.holds
            ],
        )
    if history.adoption is not None:
        render.facts("Settled before this ledger began", [("by decision", one_line(history.adoption.decision_key))])
    payout_view.show_decisions(history.decisions, zone)
    if history.effects:
        payout_view.show_effects(history.effects, zone)
        wallets = [
            (one.currency, f"version {one.version}, the wallet showed {one.projected_version}")
            for one in history.wallets
        ]
        render.facts("Wallet", wallets)


def _step_document(step: Step) -> dict[str, str]:
    return {
        "rule": step.rule,
        "verdict": step.verdict.value,
        "finding": step.finding,
        "formula": step.formula,
        "rounding": step.rounding,
    }


def _step_text(step: Step) -> tuple[str, str]:
    words = [step.finding, step.formula, step.rounding]
    return step.rule, one_line(f"{step.verdict.value}: " + "; ".join(word for word in words if word))


def _paid_document(paid: PaidExplained, history: ParticipationHistory) -> dict[str, Any]:
    stored, recomputed = paid.stored, paid.recomputed
    pool = (history.pools or {}).get(stored.settlement_key or "")
    return {
        "payout_key": stored.payout_key,
        "kind": stored.kind,
        "finding": paid.finding,
        "facts": {
            "impressions": stored.impressions,
            "target": stored.target,
            "payment_type": stored.payment_type,
            "rate": stored.rate,
            "overdelivery": stored.overdelivery,
            "impressions_paid": stored.impressions_paid,
            "rounding": stored.rounding,
            "fee_bps": stored.fee_bps,
            "rule": stored.rule,
            "trigger": stored.trigger,
            "run_id": stored.run_id,
            "facts_at": utc_text(stored.facts_at),
        },
        "created_at": utc_text(stored.created_at),
        "release_at": None if stored.release_at is None else utc_text(stored.release_at),
        "currency": stored.currency,
        "gross_minor": stored.gross_minor,
        "fee_minor": stored.fee_minor,
        "amount_minor": stored.amount_minor,
        "amount": format_minor(stored.amount_minor, stored.currency),
        "settlement_line": None if pool is None else payout_view.settlement_document(pool, history.participation_id),
        "recomputed": None
        if recomputed is None
        else {
            "gross_minor": recomputed.gross.amount_minor,
            "formula": recomputed.gross.formula,
            "rounding": recomputed.gross.rounding,
            "fee_minor": recomputed.fee.amount_minor,
            "fee_formula": recomputed.fee.formula,
            "fee_rounding": recomputed.fee.rounding,
            "net_minor": recomputed.net_minor,
        },
        "holds_true": paid.holds,
        "differences": _differences(paid),
    }


def _paid_facts(paid: PaidExplained) -> list[tuple[str, str]]:
    rows = [("stored", one_line(paid.finding))]
    if paid.recomputed is not None:
        gross, fee = paid.recomputed.gross, paid.recomputed.fee
        net = f"{format_minor(paid.recomputed.net_minor, paid.stored.currency)} {paid.stored.currency}"
        rows += [
            ("gross again", f"{gross.formula}; {gross.rounding}"),
            ("fee again", f"{fee.formula}; {fee.rounding}"),
            ("net again", f"gross less fee: {net}"),
        ]
    differences: Sequence[str] = _differences(paid)
    return rows + [("differs", one_line(one)) for one in differences] or rows


def _differences(paid: PaidExplained) -> list[str]:
    if paid.recomputed is None:
        return [paid.problem]
    return list(paid.recomputed.differences)
