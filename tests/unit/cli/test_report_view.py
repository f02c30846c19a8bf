"""A report on a terminal and in a pipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli import render, report_view
from tests.support import report_documents as reports

PATH = Path("reports/20261126T023000Z-1f0c9a2b.json")


def shown(report: reports.SampleReport, capsys: pytest.CaptureFixture[str]) -> str:
    report_view.show_report(report.document, PATH)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert render.is_terminal()


def test_the_verdict_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(reports.eventful(), capsys).splitlines()

    assert lines[0] == (
        "BREAKS: 19970 participations checked, 33 open breaks, 3 paid and 2 effects repaired by this check"
    )
    assert lines[1] == "0.001 KWD of the difference is unexplained."
    assert lines[-1] == f"Report: {PATH}"
    assert "  unexplained: 0.001" in lines


def test_piped_lines_are_plain_and_one_a_break(capsys: pytest.CaptureFixture[str]) -> None:
    report_view.show_report(reports.hostile().document, PATH)
    out = capsys.readouterr().out

    assert "\x1b" not in out
    assert "\u202e" not in out
    assert sum(line.startswith(("  error ", "  warning ")) for line in out.splitlines()) == 20


def test_on_a_terminal_amounts_stand_under_their_currency(
    on_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(reports.eventful(), capsys).splitlines()

    assert any(line.split() == ["INR", "JPY", "KWD"] for line in lines)
    assert any(line.split() == ["paid", "3,764,459.00", "90,599,300", "78,668.470"] for line in lines)
    assert any(line.split() == ["matched", "11,873", "59.5", "%"] for line in lines)


def test_on_a_terminal_each_open_break_says_what_to_do(on_terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    report = reports.eventful()
    out = shown(report, capsys)

    first = next(row for row in report.rows if row["status"] == "open")
    assert f"    python run.py explain {first['participation_id']}\n" in out
    assert "… and 23 more in the report" in out


def test_on_a_terminal_tables_fit_in_eighty_columns(on_terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(reports.eventful(), capsys)

    drawn = out[out.index("Control totals") : out.index("Open breaks")]
    assert max(len(line) for line in drawn.splitlines()) <= 80


@pytest.mark.parametrize("report", [reports.clean, reports.halted, reports.hostile])
def test_on_a_terminal_every_verdict_is_told(
    report: object, on_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(report)
    made = report()

    out = shown(made, capsys)

    assert out.startswith(f"{made.document['verdict'].upper()}: ")
    assert "\x1b" not in out


def test_a_file_with_the_first_breaks_only_says_how_many_there_are(
    on_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    document = reports.eventful().document
    first = {**document, "breaks": document["breaks"][:3]}
    whole = sum(document["breaks_by_kind"].values())

    report_view.show_report(first, PATH)
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    assert " or more open breaks, " in out.splitlines()[0]
    assert f"… and {whole - 3} more in the report" in out
    kinds = out[out.index("Breaks by kind") : out.index("Open breaks")]
    assert "in all" in kinds
    assert sum(int(line.split()[-1]) for line in kinds.splitlines() if line.rstrip()[-1:].isdigit()) == whole
    assert max(len(line) for line in kinds.splitlines()) <= 80
