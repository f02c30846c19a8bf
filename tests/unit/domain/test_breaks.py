"""Every break says how bad it is and what to do, and only an open one makes a check fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.domain.breaks import CATALOGUE, Break, BreakKind, Severity


@pytest.mark.parametrize("kind", BreakKind)
def test_every_kind_has_a_severity_and_an_action(kind: BreakKind) -> None:
    assert Break(kind=kind).severity is CATALOGUE[kind].severity
    assert CATALOGUE[kind].action


def test_only_a_damaged_ledger_halts_paying() -> None:
    critical = {kind.value for kind, entry in CATALOGUE.items() if entry.severity is Severity.CRITICAL}

    assert critical == {"ledger_unbalanced", "balance_differs", "chain_broken", "escrow_negative", "ledger_behind"}


@pytest.mark.parametrize("kind", BreakKind)
@pytest.mark.parametrize("repaired", [True, False])
def test_a_break_is_open_unless_it_was_repaired_or_only_informs(kind: BreakKind, repaired: bool) -> None:
    one = Break(kind=kind, repaired=repaired)

    assert one.is_open is (not repaired and CATALOGUE[kind].severity is not Severity.INFO)


@pytest.mark.parametrize(
    ("expected_minor", "actual_minor", "delta_minor"),
    [(330_000, 0, -330_000), (0, 5, 5), (7, 7, 0), (None, 7, None), (7, None, None), (None, None, None)],
)
def test_the_difference_is_actual_less_expected(
    expected_minor: int | None, actual_minor: int | None, delta_minor: int | None
) -> None:
    one = Break(kind=BreakKind.BALANCE_DIFFERS, expected_minor=expected_minor, actual_minor=actual_minor)

    assert one.delta_minor == delta_minor


def test_severities_are_ordered() -> None:
    assert [severity.label for severity in sorted(Severity)] == ["info", "warning", "error", "critical"]


def test_a_break_may_be_one_step_worse_than_its_kind() -> None:
    usual, worse = Break(kind=BreakKind.STATUS_UNKNOWN), Break(kind=BreakKind.STATUS_UNKNOWN, is_worse=True)

    assert (usual.severity, worse.severity) == (Severity.WARNING, Severity.ERROR)
    assert usual.break_id == worse.break_id


def test_the_documentation_shows_the_catalogue() -> None:
    operations = Path(__file__).parents[3] / "docs" / "operations.md"
    table = operations.read_text(encoding="utf-8").partition("## Breaks")[2].partition("\n##")[0]

    shown = [line for line in table.splitlines() if line.startswith("| `")]

    commands = {kind: f"`run.py {entry.command}`" if entry.command else "–" for kind, entry in CATALOGUE.items()}
    assert shown == [
        f"| `{kind}` | {entry.severity.label} | {entry.meaning} | {entry.action} | {commands[kind]} |"
        for kind, entry in CATALOGUE.items()
    ]
