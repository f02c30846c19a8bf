"""Rows of breaks: where each stands, and command lines that work and that nobody can turn into others."""

from __future__ import annotations

import shlex
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.app import app
from cli.lazy import LazyCommand
from reconciler.domain.breaks import CATALOGUE, BreakKind
from reconciler.reports.break_rows import acknowledge_command, age_text, next_command


def row(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "amount_differs",
        "reason": "",
        "severity": "error",
        "status": "open",
        "action": "look",
        "participation_id": "65a1",
        "campaign_id": "75b2",
        "streamer_id": "85c3",
        "payout_key": "payout:oid:65a1:1",
    } | changes


def understood(words: list[str]) -> None:
    """Raises when the command line does not know these words: parsed by the real commands, and not run."""
    assert words[:2] == ["python", "run.py"]
    command: click.Command = app
    rest = words[2:]
    context = click.Context(app, info_name="run.py")
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"{rest[0]} is no command"
        command, rest = found.load() if isinstance(found, LazyCommand) else found, rest[1:]
    command.make_context(command.name, rest, parent=context)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [*((kind, "") for kind, entry in CATALOGUE.items() if entry.command), (BreakKind.HELD, "over_pace")],
)
def test_each_command_is_one_that_exists(kind: BreakKind, reason: str) -> None:
    command = next_command(row(kind=kind.value, reason=reason))

    assert command is not None
    understood(shlex.split(command))


def test_a_reason_may_have_a_command_of_its_own() -> None:
    assert next_command(row(kind="held", reason="over_budget")) == "python run.py holds list"
    assert next_command(row(kind="held", reason="over_approval_threshold")) == (
        "python run.py payouts approve payout:oid:65a1:1 --by NAME --reason TEXT"
    )


def test_what_has_no_command_has_none() -> None:
    assert next_command(row(kind=BreakKind.STRANDED.value)) is None
    assert next_command(row(kind="unheard_of")) is None
    assert next_command(row(participation_id="")) is None
    assert next_command(row(kind="malformed", reason="campaign", participation_id="")) is None


@given(st.text(min_size=1))
def test_no_identity_escapes_its_place_in_the_command(identity: str) -> None:
    command = next_command(row(participation_id=identity))

    if command is None:
        assert not identity.isprintable() or identity.startswith("-")
    else:
        assert shlex.split(command) == ["python", "run.py", "explain", identity]


@pytest.mark.parametrize("identity", ["x; rm -rf ~", "$(id)", "`id`", "a'b", 'a"b', "a b", "a|b"])
def test_what_a_shell_would_run_is_quoted(identity: str) -> None:
    assert next_command(row(participation_id=identity)) == f"python run.py explain {shlex.quote(identity)}"


@pytest.mark.parametrize("identity", ["--config=/tmp/evil", "-h", "a\nb", "a\x1b[2J"])
def test_what_no_quoting_makes_harmless_has_no_command(identity: str) -> None:
    assert next_command(row(participation_id=identity)) is None


def test_only_an_open_break_with_an_identity_is_acknowledged() -> None:
    assert acknowledge_command(row(break_id="b1")) == ("python run.py breaks acknowledge b1 --by NAME --reason TEXT")
    assert acknowledge_command(row()) is None
    assert acknowledge_command(row(break_id="b1", status="repaired")) is None


@pytest.mark.parametrize(
    ("age_s", "text"),
    [(None, ""), (0, "under a minute"), (60, "1 minute"), (7_199, "1 hour"), (90_000_000, "1,041 days")],
)
def test_an_age_reads_as_people_say_it(age_s: float | None, text: str) -> None:
    assert age_text(age_s) == text
