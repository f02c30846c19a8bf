"""Commands about the stream of changes: where it stands, whether it goes on from there, and forgetting its position."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import click

from app.parts import Parts, parts_of
from app.preparing import wait_for_ledger
from app.watch import source_of
from cli import render
from cli.commands import print_json
from cli.people_commands import as_json_option
from cli.session import Session
from cli.tables import local_time, one_line
from jobs.watch.watch import REMEDIES, RESET
from reconciler.clock import utc_text
from reconciler.exit_codes import ExitCode
from reconciler.ledger.migrate import require_current
from reconciler.ports.watch import FailureKind, KeptPosition, StreamFailure


@click.command(name="show")
@as_json_option
@click.pass_obj
def stream_show(session: Session, *, as_json: bool) -> ExitCode:
    """Where the watch stands in the stream of changes, and whether it could go on from there now."""
    settings = session.settings()
    with parts_of(settings) as parts:
        _require_ledger(parts)
        kept = parts.positions.load()
        belongs, failure = _try_out(parts, kept)
    shown = _described(parts, kept) | {
        "position_is_of_this_stream": belongs,
        "can_watch": failure is None,
        "problem": None if failure is None else failure.reason,
        "detail": None if failure is None else failure.detail,
        "remedy": None if failure is None else REMEDIES.get(failure.kind),
    }
    if as_json or session.as_json:
        print_json(shown)
    else:
        render.facts("Stream of changes", [(name, one_line(str(value))) for name, value in _for_people(parts, shown)])
    is_away = failure is not None and failure.kind is FailureKind.TRANSIENT
    return ExitCode.UNREACHABLE if is_away else ExitCode.CLEAN


@click.command(name="reset")
@as_json_option
@click.pass_obj
def stream_reset(session: Session, *, as_json: bool) -> ExitCode:
    """Forget the position: a daemon that watches opens the stream anew from now on, and sweeps everything.

    Nothing is lost by it: whoever is due is found by that sweep.
    """
    settings = session.settings()
    with parts_of(settings) as parts:
        _require_ledger(parts)
        generation = parts.positions.drop(RESET)
    if as_json or session.as_json:
        print_json({"reset": True, "generation": generation})
    else:
        within = f"a daemon that watches notices within {settings.watch.keep_s:g} s"
        render.facts("Done", [("position", f"forgotten; {within}"), ("generation", str(generation))])
    return ExitCode.CLEAN


def stream_standing(parts: Parts) -> dict[str, object]:
    """For `status`: where the watch stands by what is kept. Nobody is asked whether it could go on from there."""
    kept = parts.positions.load()
    reached_at = None if kept.position is None else kept.position.reached_at
    return {
        "watch_enabled": parts.settings.watch.enabled,
        "has_position": kept.position is not None,
        "reached_at": reached_at,
        "age_s": None if reached_at is None else max(0, round((parts.clock() - reached_at).total_seconds())),
        "changed_at": kept.changed_at,
        "dropped_because": kept.dropped_because,
    }


STREAM_COMMANDS = (stream_show, stream_reset)


def _require_ledger(parts: Parts) -> None:
    wait_for_ledger(parts)
    require_current(parts.engine, makes=False)


def _try_out(parts: Parts, kept: KeptPosition) -> tuple[bool | None, StreamFailure | None]:
    """Open the stream as the daemon would, and let go of it: whether the position is this stream's, and what fails."""
    source = source_of(parts.settings)
    try:
        fingerprint = source.fingerprint()
        if isinstance(fingerprint, StreamFailure):
            return None, fingerprint
        belongs = None if kept.position is None else kept.fingerprint == fingerprint
        opened = source.open(kept.position if belongs else None)
    finally:
        source.close()
    return belongs, opened if isinstance(opened, StreamFailure) else None


def _described(parts: Parts, kept: KeptPosition) -> dict[str, Any]:
    reached_at = None if kept.position is None else kept.position.reached_at
    return {
        "watch_enabled": parts.settings.watch.enabled,
        "has_position": kept.position is not None,
        "reached_at": None if reached_at is None else utc_text(reached_at),
        "age_s": None if reached_at is None else round((parts.clock() - reached_at).total_seconds()),
        "changed_at": None if kept.changed_at is None else utc_text(kept.changed_at),
        "generation": kept.generation,
        "dropped_because": kept.dropped_because,
    }


def _for_people(parts: Parts, shown: dict[str, Any]) -> list[tuple[str, object]]:
    """What is known, times in the zone of reports; what is not is left out."""
    zone = ZoneInfo(parts.settings.reports.timezone)
    times = {
        name: local_time(parts.clock().fromisoformat(shown[name]), zone)
        for name in ("reached_at", "changed_at")
        if shown[name]
    }
    words = {True: "yes", False: "no"}
    return [
        (name.replace("_", " "), times.get(name, words.get(value, value) if isinstance(value, bool) else value))
        for name, value in shown.items()
        if value is not None
    ]
