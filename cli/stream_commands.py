"""Commands about the stream of changes: where it stands, whether it goes on from there, and forgetting its position."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import click

from app.ledger import LedgerParts
from app.watch import source_of
from cli import render
from cli.opening import open_ledger, zone_of
from cli.session import Session, as_json_option, print_json
from cli.tables import local_time, one_line
from jobs.watch.watch import REMEDIES, RESET
from reconciler.clock import spelled
from reconciler.exit_codes import ExitCode
from reconciler.ports.watch import FailureKind, KeptPosition, StreamFailure
from reconciler.queries.overview import stream_section


@click.command(name="show")
@as_json_option
@click.pass_obj
def stream_show(session: Session) -> ExitCode:
    """Where the watch stands in the stream of changes, and whether it could go on from there now."""
    with open_ledger(session) as parts:
        settings = parts.settings
        kept = parts.positions.load()
        belongs, failure = _try_out(parts, kept)
    shown = stream_section(kept, parts.clock(), watch_enabled=settings.watch.enabled)
    # Before why it was dropped, where it was always shown.
    because = shown.pop("dropped_because")
    shown |= {
        "generation": kept.generation,
        "dropped_because": because,
        "position_is_of_this_stream": belongs,
        "can_watch": failure is None,
        "problem": None if failure is None else failure.reason,
        "detail": None if failure is None else failure.detail,
        "remedy": None if failure is None else REMEDIES.get(failure.kind),
    }
    if session.as_json:
        print_json({name: spelled(value) for name, value in shown.items()})
    else:
        render.facts("Stream of changes", _for_people(shown, zone_of(settings)))
    is_away = failure is not None and failure.kind is FailureKind.TRANSIENT
    return ExitCode.UNREACHABLE if is_away else ExitCode.CLEAN


@click.command(name="reset")
@as_json_option
@click.pass_obj
def stream_reset(session: Session) -> ExitCode:
    """Forget the position: a daemon that watches opens the stream anew from now on, and sweeps everything.

    Nothing is lost by it: whoever is due is found by that sweep.
    """
    with open_ledger(session) as parts:
        settings = parts.settings
        generation = parts.positions.drop(RESET)
    if session.as_json:
        print_json({"reset": True, "generation": generation})
    else:
        within = f"a daemon that watches notices within {settings.watch.keep_s:g} s"
        render.facts("Done", [("position", f"forgotten; {within}"), ("generation", str(generation))])
    return ExitCode.CLEAN


def _try_out(parts: LedgerParts, kept: KeptPosition) -> tuple[bool | None, StreamFailure | None]:
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


def _for_people(shown: Mapping[str, object], zone: ZoneInfo) -> list[tuple[str, str]]:
    """What is known; what is not is left out."""
    return [(name.replace("_", " "), _said(value, zone)) for name, value in shown.items() if value is not None]


def _said(value: object, zone: ZoneInfo) -> str:
    if isinstance(value, datetime):
        return local_time(value, zone)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else one_line(str(value))
