"""``explain``: why a participation was paid, or was not, from both databases, to the last rounding."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import click

from app.parts import parts_of
from app.preparing import prepare
from app.queries import explainer_of
from cli import payout_view, render
from cli.session import Session, as_json_option, print_json
from cli.tables import local_time, one_line
from reconciler.domain.explanation import PaidExplained, Step
from reconciler.domain.money import format_minor
from reconciler.exit_codes import ExitCode
from reconciler.queries.explain import Explained, differences, explanation_document


@click.command(name="explain")
@click.argument("participation_id")
@as_json_option
@click.pass_obj
def explain_command(session: Session, *, participation_id: str) -> ExitCode:
    """Why PARTICIPATION_ID was paid, or was not: every rule, number and rounding, and where it stands."""
    settings = session.settings()
    with parts_of(settings) as parts:
        prepare(parts)
        found = explainer_of(parts).explain(participation_id)
    if session.as_json:
        print_json(explanation_document(found))
    else:
        show(found, ZoneInfo(settings.reports.timezone))
    return ExitCode.CLEAN


def show(found: Explained, zone: ZoneInfo) -> None:
    """The explanation for a person."""
    explanation, history = found.explanation, found.history
    click.echo(one_line(explanation.answer))
    render.facts("Identity", [("participation", history.participation_id), ("payout key", explanation.payout_key)])
    if found.problems:
        render.facts("The document cannot be read", [("field", one_line(one)) for one in found.problems])
    if explanation.steps:
        render.facts("Rules, in the order in which they are tried", [_step_text(one) for one in explanation.steps])
    for paid in explanation.paid:
        render.facts(one_line(paid.stored.payout_key), _paid_facts(paid))
        pool = found.pool_of(paid)
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


def _step_text(step: Step) -> tuple[str, str]:
    words = [step.finding, step.formula, step.rounding]
    return step.rule, one_line(f"{step.verdict.value}: " + "; ".join(word for word in words if word))


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
    return rows + [("differs", one_line(one)) for one in differences(paid)] or rows
