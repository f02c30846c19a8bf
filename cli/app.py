"""The command line: its options, and where each command stands. A command returns an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cli.failing import exit_code_of
from cli.lazy import LazyCommand, LazyGroup, lazy_group
from reconciler.exit_codes import ExitCode

_EPILOG = (
    "Exit codes: 0 clean or all repaired; 1 an open break remains; 2 configuration or usage; "
    "3 a database cannot be reached; 4 halted."
)


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. No traceback and no credential reaches the user."""
    with exit_code_of() as ending:
        ending.code = app.main(args=list(arguments), prog_name="run.py", standalone_mode=False) or ExitCode.CLEAN
    return int(ending.code)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
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
    from cli.session import Session

    session = Session(config_path=config_path, overrides=_parsed(overrides), as_json=as_json)
    context.obj = session
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
    if once:
        from cli.sweep_command import sweep_once

        return sweep_once(session, dry_run=dry_run)
    if full_check:
        from cli.check_command import check

        return check(session, dry_run=dry_run, campaign_id=campaign)
    from app.process import run_daemon

    return run_daemon(session.settings())


_GROUPS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "config": (
        "Look at the configuration.",
        {
            "check": "cli.config_command:config_check",
        },
    ),
    "payouts": (
        "Look at payouts, and decide about them.",
        {
            "list": "cli.reading_commands:list_",
            "show": "cli.reading_commands:show",
            "approve": "cli.people_commands:approve",
            "reject": "cli.people_commands:reject",
            "reverse": "cli.people_commands:reverse",
            "repay": "cli.people_commands:repay",
        },
    ),
    "breaks": (
        "What checks found, and what people say about it.",
        {
            "list": "cli.break_commands:list_",
            "acknowledge": "cli.break_commands:acknowledge",
            "resolve": "cli.break_commands:resolve",
        },
    ),
    "report": (
        "Reports of earlier checks.",
        {
            "list": "cli.report_commands:list_",
            "show": "cli.report_commands:show",
            "diff": "cli.report_commands:diff",
        },
    ),
    "holds": (
        "Payouts that wait.",
        {
            "list": "cli.people_commands:holds_list",
        },
    ),
    "stream": (
        "The stream of MongoDB's changes.",
        {
            "show": "cli.stream_commands:stream_show",
            "reset": "cli.stream_commands:stream_reset",
        },
    ),
    "ledger": (
        "Read, prove and correct the ledger.",
        {
            "balances": "cli.reading_commands:balances",
            "trial-balance": "cli.reading_commands:trial",
            "statement": "cli.reading_commands:statement",
            "brand": "cli.reading_commands:brand",
            "journal": "cli.reading_commands:journal",
            "verify": "cli.verify_commands:verify",
            "anchor": "cli.verify_commands:anchor",
            "recover": "cli.people_commands:recover",
            "adjust": "cli.people_commands:adjust",
            "refund": "cli.people_commands:refund",
        },
    ),
}
"""Group → what help says of it, and where each of its commands stands."""

_COMMANDS: Mapping[str, str] = {
    "migrate": "cli.migrate_command:migrate",
    "demo": "cli.demo_command:demo",
    "explain": "cli.explain_command:explain_command",
    "status": "cli.status_command:status",
    "resume": "cli.people_commands:resume",
    "adopt": "cli.people_commands:adopt",
    "webhooks": "cli.webhook_commands:webhooks",
    "apikey": "cli.api_commands:apikey",
}

for _name, (_help_text, _members) in _GROUPS.items():
    app.add_command(lazy_group(_name, _help_text, _members))
for _name, _target in _COMMANDS.items():
    app.add_command(LazyCommand(_name, _target))


def _parsed(overrides: Sequence[str]) -> dict[str, Any]:
    pairs = [one.partition("=") for one in overrides]
    for one, (key, sign, _) in zip(overrides, pairs, strict=True):
        if not key or not sign:
            raise click.UsageError(f"--set takes KEY=VALUE, not {one!r}.")
    return {key: value for key, _, value in pairs}
