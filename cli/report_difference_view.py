"""What changed between two reports, for people: a line a break, the amounts of those that changed side by side."""

from __future__ import annotations

from cli import render
from cli.tables import one_line
from reconciler.domain.money import format_minor, minor_digits
from reconciler.reports.difference import Difference
from reconciler.reports.stored import StoredBreak


def show(found: Difference, names: tuple[str, str]) -> None:
    """``names``: the ids of both reports."""
    before, after = names
    counts = (len(found.appeared), len(found.gone), len(found.changed))
    render.facts(
        f"From {before} to {after}",
        [(name, str(count)) for name, count in zip(("appeared", "gone", "changed"), counts, strict=True)],
    )
    for title, rows in (("Appeared", found.appeared), ("Gone", found.gone)):
        if rows:
            render.facts(title, [(one.break_id, f"{_subject(one)}{_amounts(one)}") for one in rows])
    if found.changed:
        render.facts("Changed", [(one.after.break_id, _change(one.before, one.after)) for one in found.changed])


def _change(before: StoredBreak, after: StoredBreak) -> str:
    moved = [
        f"{name} {old} -> {new}"
        for name, old, new in (
            ("severity", before.severity, after.severity),
            ("status", before.status, after.status),
            ("currency", before.currency, after.currency),
            ("expected", _money(before, before.expected_minor), _money(after, after.expected_minor)),
            ("actual", _money(before, before.actual_minor), _money(after, after.actual_minor)),
        )
        if old != new
    ]
    return f"{_subject(after)}: {one_line(', '.join(moved))}"


def _subject(one: StoredBreak) -> str:
    whose = one.participation_id or one.campaign_id
    return one_line(" ".join(word for word in (one.severity, one.kind, one.reason, whose) if word))


def _amounts(one: StoredBreak) -> str:
    if one.expected_minor is None:
        return ""
    return one_line(f": expected {_money(one, one.expected_minor)}, actual {_money(one, one.actual_minor)}")


def _money(one: StoredBreak, amount_minor: int | None) -> str:
    if amount_minor is None:
        return "-"
    if minor_digits(one.currency) is None:
        return str(amount_minor)
    return f"{format_minor(amount_minor, one.currency)} {one.currency}"
