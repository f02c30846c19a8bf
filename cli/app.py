"""The commands. Each wires the parts, runs one step, shows the result and answers with an exit code."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from app.process import run_daemon
from cli import (
    api_commands,
    break_commands,
    commands,
    demo_command,
    explain_command,
    people_commands,
    reading_commands,
    report_commands,
    status_command,
    stream_commands,
    verify_commands,
    webhook_commands,
)
from cli.failing import exit_code_of
from cli.session import Session
from reconciler.exit_codes import ExitCode

_EPILOG = (
    "Exit codes: 0 clean or all repaired; 1 an open break remains; 2 configuration or usage; "
    "3 a database cannot be reached; 4 halted."
)


def main(arguments: Sequence[str]) -> int:
    """Run a command line; answers the exit code. No traceback and no credential reaches the user."""
    _tune_collector()
    with exit_code_of() as ending:
        ending.code = app.main(args=list(arguments), prog_name="run.py", standalone_mode=False) or ExitCode.CLEAN
    return int(ending.code)


@click.group(invoke_without_command=True, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Settings file; default: config.yaml.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A setting, e.g. sweep.page_size=500.")
@click.option("--once", is_flag=True, help="Run one sweep and end.")
@click.option("--full-check", "full_check", is_flag=True, help="Compare everything, repair what is safe, report, end.")
@click.option("--dry-run", "dry_run", is_flag=True, help="Decide and show; write and pay nothing.")
@click.option("--campaign", metavar="ID", help="With --full-check: only this campaign.")
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document.")
@click.pass_context
def app(
    context: click.Context,
    *,
    config_path: Path | None,
    overrides: tuple[str, ...],
    once: bool,
    full_check: bool,
    dry_run: bool,
    campaign: str | None,
    as_json: bool,
) -> int | None:
    """Pay streamers who reached their campaign's target: exactly once, at once, and visibly so.

    Without a command and without --once or --full-check: run the daemon.
    """
    context.obj = Session(config_path=config_path, overrides=_parsed(overrides), as_json=as_json)
    if context.invoked_subcommand is not None:
        if once or full_check or dry_run or campaign:
            raise click.UsageError(
                f"{context.invoked_subcommand} takes none of --once, --full-check, --dry-run, --campaign."
            )
        return None
    if once and full_check:
        raise click.UsageError("--once and --full-check exclude each other.")
    if campaign and not full_check:
        raise click.UsageError("--campaign goes with --full-check.")
    if (dry_run or as_json) and not (once or full_check):
        raise click.UsageError("--dry-run and --json go with --once or --full-check.")
    session: Session = context.obj
    settings = session.settings()
    if once:
        return commands.sweep_once(session, settings, dry_run=dry_run)
    if full_check:
        return commands.check(session, settings, dry_run=dry_run, campaign_id=campaign)
    return run_daemon(settings)


@app.command()
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document.")
@click.pass_obj
def migrate(session: Session, *, as_json: bool) -> ExitCode:
    """Create or upgrade the ledger's tables and MongoDB's indexes."""
    return commands.migrate(session, session.settings(), as_json=as_json or session.as_json)


@app.group()
def config() -> None:
    """Look at the configuration."""


@config.command(name="check")
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON document.")
@click.pass_obj
def config_check(session: Session, *, as_json: bool) -> ExitCode:
    """Check the configuration and print what is in effect, credentials struck out."""
    return commands.config_check(session, session.settings(), as_json=as_json or session.as_json)


@app.command()
@click.option("--live", is_flag=True, help="Keep the daemon running with simulated viewers, until Ctrl-C.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which sample is generated.")
@click.option("--keep", type=click.Path(path_type=Path), help="Where the demo's files go; default: var/demo.")
@click.pass_obj
def demo(session: Session, *, live: bool, seed: int, keep: Path | None) -> ExitCode:
    """Run the whole thing on this machine: real servers, sample data, two sweeps, a full check."""
    return demo_command.run(session, live=live, seed=seed, folder=keep or Path("var/demo"))


@app.group()
def payouts() -> None:
    """Look at payouts, and decide about them."""


@app.group()
def breaks() -> None:
    """What checks found, and what people say about it."""


@app.group()
def report() -> None:
    """Reports of earlier checks."""


@app.group()
def holds() -> None:
    """Payouts that wait."""


@app.group()
def stream() -> None:
    """The stream of MongoDB's changes."""


@app.group()
def ledger() -> None:
    """Read, prove and correct the ledger."""


_MEMBERS: tuple[tuple[click.Group, Sequence[click.Command]], ...] = (
    (payouts, (*reading_commands.PAYOUT_COMMANDS, *people_commands.PAYOUT_COMMANDS)),
    (
        ledger,
        (
            *reading_commands.LEDGER_COMMANDS,
            verify_commands.verify,
            verify_commands.anchor,
            *people_commands.LEDGER_COMMANDS,
        ),
    ),
    (holds, (people_commands.holds_list,)),
    (stream, stream_commands.STREAM_COMMANDS),
    (breaks, break_commands.BREAK_COMMANDS),
    (report, report_commands.REPORT_COMMANDS),
    (
        app,
        (
            explain_command.explain_command,
            status_command.status,
            *people_commands.TOP_COMMANDS,
            webhook_commands.webhooks,
            api_commands.apikey,
        ),
    ),
)
for group, group_members in _MEMBERS:
    for member in group_members:
        group.add_command(member)


def _tune_collector() -> None:
    """Collect rarely, and never look at what was imported.

    A page of payouts is some hundred thousand short-lived objects without cycles; with the default threshold looking
    through them again and again was two fifths of a sweep's processor time (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _parsed(overrides: Sequence[str]) -> dict[str, Any]:
    pairs = [one.partition("=") for one in overrides]
    for one, (key, sign, _) in zip(overrides, pairs, strict=True):
        if not key or not sign:
            raise click.UsageError(f"--set takes KEY=VALUE, not {one!r}.")
    return {key: value for key, _, value in pairs}
