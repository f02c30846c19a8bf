"""The overview in words: one sentence on whether the daemon pays, and what waits for a person.

Pure: no I/O here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.api.pages.words import BREAK_KINDS, HOLD_REASONS, SEVERITIES, STREAM_STATES
from reconciler.domain.breaks import CATALOGUE, BreakKind
from reconciler.ledger.operations.lease import LeaseState
from reconciler.ledger.operations.overview import LedgerOverview
from reconciler.look.text import plural, words
from reconciler.queries import Document

_GRAVEST_FIRST = ("critical", "bad", "warn", "calm", "idle")

Board = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """Whether the daemon pays. ``word`` stands at the head of every page, ``sentence`` on the overview."""

    tone: str
    word: str
    sentence: str
    detail: str = ""
    since: datetime | None = None
    action: tuple[str, str] | None = None
    """A link to what can be done: (address, text)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """Payouts, breaks or events that wait until a person acts."""

    tone: str
    count: int
    what: str
    why: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The facts of a summary. ``away`` says in a sentence why there is no overview."""

    board: Board
    is_leader: bool
    is_paying_on: bool
    overview: LedgerOverview | None = None
    payouts: Sequence[Document] = ()
    report: Document | None = None
    endpoints: Sequence[Document] = ()
    away: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the overview shows."""

    headline: Headline
    stream: tuple[str, str, str]
    seen: Seen
    stuck: Sequence[Stuck] = field(default=())


def summary_of(seen: Seen) -> Summary:
    """Return the summary of some facts."""
    state = str(seen.board.get("stream", {}).get("state", "stopped"))
    return Summary(
        headline=_headline(seen),
        stream=STREAM_STATES.get(state, ("warn", words(state), "")),
        seen=seen,
        stuck=tuple(_stuck(seen)),
    )


def _headline(seen: Seen) -> Headline:
    """Return the first headline that holds, in order of gravity."""
    if seen.overview is None:
        return Headline(
            tone="critical",
            word="Ledger away",
            sentence="Nothing can be paid: the ledger cannot be used.",
            detail=f"{seen.away} What was paid is safe; paying goes on by itself once it is back.",
        )
    halt = seen.overview.halt
    if halt is not None:
        return Headline(
            tone="critical",
            word="Halted",
            sentence="Nothing is paid: paying is halted.",
            detail=halt.cause,
            since=halt.since,
            action=("/halt", "What happened, and how to go on"),
        )
    if not seen.is_leader:
        return _standing_by(seen.overview.lease)
    if not seen.is_paying_on:
        return Headline(
            tone="warn",
            word="Not paying",
            sentence="Nothing is paid: payouts are switched off.",
            detail="payout.enabled is false in the configuration. Sweeps count who is due, and pay nobody.",
        )
    return _at_work(seen)


def _standing_by(lease: LeaseState | None) -> Headline:
    if lease is not None and lease.is_held:
        return Headline(
            tone="calm",
            word="Standing by",
            sentence="Another daemon pays; this one stands by.",
            detail=f"{lease.holder} leads. This one takes over when that one stops.",
        )
    return Headline(
        tone="warn",
        word="Starting",
        sentence="Nobody pays yet: no daemon leads.",
        detail="This one takes the lead within seconds, unless another one does.",
    )


def _at_work(seen: Seen) -> Headline:
    sweep, stream = seen.board.get("sweep", {}), seen.board.get("stream", {})
    finished_at, failed_at = sweep.get("last_finished_at"), sweep.get("last_failed_at")
    if failed_at is not None and (finished_at is None or failed_at > finished_at):
        return Headline(
            tone="bad",
            word="Sweep failed",
            sentence="The last sweep failed; it is tried again by itself.",
            detail=f"{_failure(str(sweep.get('last_error', '')))} Who is due is paid as soon as a sweep gets through.",
            since=failed_at,
        )
    if finished_at is None:
        return Headline(
            tone="calm", word="Starting", sentence="Starting: the first sweep is under way.", detail="Then it pays."
        )
    tone, name, meaning = STREAM_STATES.get(str(stream.get("state", "stopped")), ("warn", "unknown", ""))
    if stream.get("state") == "backing_off" and finished_at < stream["since"]:
        return Headline(
            tone="warn",
            word="Interrupted",
            sentence="The live watch is interrupted: the next sweep pays, if it gets through.",
            detail=f"{stream['why']}. It is opened again by itself." if stream.get("why") else "",
            since=stream["since"],
        )
    if tone == "warn":
        why = str(stream.get("why") or "")
        return Headline(
            tone="warn",
            word="Paying, slower",
            sentence="Paying, by sweeps only: payouts come a little later than usual.",
            detail=f"The live watch is {name.lower()}{f' ({why})' if why else ''}. {meaning}",
            since=stream.get("since"),
        )
    if tone == "good":
        return Headline(
            tone="good",
            word="Paying",
            sentence="Paying: who reaches the target is paid within moments.",
        )
    return Headline(
        tone="good", word="Paying", sentence="Paying, by sweeps.", detail=f"The live watch is {name.lower()}. {meaning}"
    )


def _failure(name: str) -> str:
    return "A database did not answer." if name == "Outage" else f"The cause is in the log ({name})."


def _stuck(seen: Seen) -> list[Stuck]:
    found = [*_gone_endpoints(seen.endpoints)]
    if seen.overview is None:
        return found
    blocked = seen.overview.outbox.blocked
    if blocked:
        why = "The wallet or another document has to be mended; each is tried again by itself."
        what = f"{plural(blocked, 'payout')} MongoDB could not be told"
        found.insert(0, Stuck(tone="bad", count=blocked, what=what, why=why, link="/payouts?status=pending"))
    for reason, count in seen.overview.holds.items():
        what = f"{plural(count, 'payout')} on hold: {words(reason)}"
        found.append(Stuck(tone="warn", count=count, what=what, why=HOLD_REASONS.get(reason, ""), link="/holds"))
    for kind, count in seen.overview.open_breaks.items():
        # Told above, from where they stand now; a check only saw them as they were.
        if kind in ("held", "effect_blocked"):
            continue
        what = f"{plural(count, 'break')}: {words(kind)}"
        why = BREAK_KINDS.get(kind, "")
        found.append(Stuck(tone=_tone_of(kind), count=count, what=what, why=why, link=f"/breaks?kind={kind}"))
    return sorted(found, key=lambda one: _GRAVEST_FIRST.index(one.tone))


def _tone_of(kind: str) -> str:
    known = kind in set(BreakKind)
    return SEVERITIES[CATALOGUE[BreakKind(kind)].severity.label] if known else "warn"


def _gone_endpoints(endpoints: Sequence[Document]) -> list[Stuck]:
    return [
        Stuck(
            tone="warn",
            count=one["dead"],
            what=f"{plural(one['dead'], 'event')} that {one['endpoint']} never took",
            why="They were given up after days of trying. Send them again when the endpoint works.",
            link="/webhooks?status=dead",
        )
        for one in endpoints
        if one["dead"]
    ]
