"""The verdict in one sentence: what somebody reads who reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.look.text import money, plural

_TONES = {"clean": "good", "repaired": "good", "breaks": "warn", "halted": "critical"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``tone`` names the colour it is shown in; ``notes`` are sentences that change how the verdict reads."""

    word: str
    tone: str
    sentence: str
    notes: tuple[str, ...]


def verdict_of(document: Mapping[str, Any], open_by_severity: Mapping[Any, int]) -> Verdict:
    """``open_by_severity``: of all open breaks, which the document may have only the first of."""
    word = str(document["verdict"])
    tone = _TONES.get(word, "warn")
    if word == "breaks" and (open_by_severity.get("error") or open_by_severity.get("critical")):
        tone = "bad"
    return Verdict(word=word, tone=tone, sentence=_sentence(word, document, open_by_severity), notes=_notes(document))


def _sentence(word: str, document: Mapping[str, Any], open_by_severity: Mapping[Any, int]) -> str:
    checked = int(document["completeness"]["participations"])
    among = plural(checked, "participation")
    if word == "halted":
        critical = int(open_by_severity.get("critical", 0))
        if not critical:
            return "Paying is halted: this check found no critical break itself."
        return f"Paying must stop: the ledger contradicts itself ({plural(critical, 'critical break')})."
    if word == "breaks":
        names = (("critical", "critical break"), ("error", "error"), ("warning", "warning"))
        counts = [plural(int(open_by_severity[key]), name) for key, name in names if open_by_severity.get(key)]
        total = sum(open_by_severity.get(key, 0) for key, _ in names)
        verb = "break is" if total == 1 else "breaks are"
        if not counts:
            return f"Breaks are open among {among}."
        return f"{total:,} {verb} open among {among}: {' and '.join(counts)}."
    if word == "repaired":
        paid, projected = document["repairs"]["paid"], document["repairs"]["projected"]
        done = [f"{plural(paid, 'participation')} paid"] if paid else []
        done += [f"effects of {plural(projected, 'payout')} applied again"] if projected else []
        return f"Everything is in order now: {' and '.join(done)} by this check, and nothing is open."
    if word == "clean":
        return f"Everything is in order: {among} checked, and nothing is open."
    return f"{among} checked."


def _notes(document: Mapping[str, Any]) -> tuple[str, ...]:
    notes = []
    if document["verdict"] == "halted":
        notes.append("Nothing is paid until a person has looked and let it go on.")
    if document["dry_run"]:
        notes.append("This was a dry run: nothing was paid or repaired.")
    if document["kind"] == "campaign_check":
        notes.append("Only one campaign was checked; the control totals are its own.")
    for total in document["totals"]:
        unexplained, currency = total["unexplained_minor"], total["currency"]
        if unexplained:
            notes.append(f"{money(unexplained, currency)} {currency} of the difference is unexplained.")
    return tuple(notes)
