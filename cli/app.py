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


_GROUPS: Mapping[str, tuple[str, Mapping[str, tuple[str, str]]]] = {
    "config": (
        "Look at the configuration.",
        {
            "check": (
                "cli.config_command:config_check",
                "Check the configuration and print what is in effect, credentials struck out.",
            ),
        },
    ),
    "payouts": (
        "Look at payouts, and decide about them.",
        {
            "list": (
                "cli.reading_commands:list_",
                "Payouts and reversals: a row each, reversals with negative amounts, so that a plain sum is right.",
            ),
            "show": ("cli.reading_commands:show", "All about PAYOUT: its key, or the participation it pays."),
            "approve": (
                "cli.people_commands:approve",
                "Approve a payout that waits for it, or what somebody else asked for (the key of its entry).",
            ),
            "reject": (
                "cli.people_commands:reject",
                "Reject a payout that waits for approval, for good, or what somebody else asked for.",
            ),
            "reverse": (
                "cli.people_commands:reverse",
                "Take a payout back, once; under four eyes another person has to approve it.",
            ),
            "repay": (
                "cli.people_commands:repay",
                (
                    "Pay a participation again after a reversal, or after all after a rejection, on its facts as they "
                    "are now."
                ),
            ),
        },
    ),
    "breaks": (
        "What checks found, and what people say about it.",
        {
            "list": ("cli.break_commands:list_", "Breaks that checks found: the worst first, of these the oldest."),
            "acknowledge": (
                "cli.break_commands:acknowledge",
                "Say that open breaks are known: as they are now, no exit code counts them.",
            ),
            "resolve": ("cli.break_commands:resolve", "Say that breaks are dealt with: they are closed."),
        },
    ),
    "report": (
        "Reports of earlier checks.",
        {
            "list": (
                "cli.report_commands:list_",
                "Checks, the newest first: their reports, and those that failed or were interrupted with the reason.",
            ),
            "show": ("cli.report_commands:show", "Show REPORT_ID, or the newest whole one (latest)."),
            "diff": (
                "cli.report_commands:diff",
                "What appeared, went away or changed from the report BEFORE to AFTER (latest).",
            ),
        },
    ),
    "holds": (
        "Payouts that wait.",
        {
            "list": (
                "cli.people_commands:holds_list",
                "Payouts that wait: for budget, in the order in which they are retried, or for approval.",
            ),
        },
    ),
    "stream": (
        "The stream of MongoDB's changes.",
        {
            "show": (
                "cli.stream_commands:stream_show",
                "Where the watch stands in the stream of changes, and whether it could go on from there now.",
            ),
            "reset": (
                "cli.stream_commands:stream_reset",
                "Forget the position: a daemon that watches opens the stream anew from now on, and sweeps everything.",
            ),
        },
    ),
    "ledger": (
        "Read, prove and correct the ledger.",
        {
            "balances": ("cli.reading_commands:balances", "What each account holds."),
            "trial-balance": (
                "cli.reading_commands:trial",
                "All accounts by kind and currency; the sum of each currency must be zero (exit code 4 if it is not).",
            ),
            "statement": (
                "cli.reading_commands:statement",
                "What STREAMER earned: opening, lines and closing by currency.",
            ),
            "brand": (
                "cli.reading_commands:brand",
                "What became of a brand's money, campaign by campaign; or of one campaign's.",
            ),
            "journal": (
                "cli.reading_commands:journal",
                "The general ledger of a period: a row a leg of every entry, in the order of booking.",
            ),
            "verify": (
                "cli.verify_commands:verify",
                "Prove the ledger: every hash, sum, amount and balance from the first entry on.",
            ),
            "anchor": (
                "cli.verify_commands:anchor",
                "Print where the chain stands, as one line to be kept elsewhere, for `ledger verify --anchor`.",
            ),
            "recover": (
                "cli.people_commands:recover",
                (
                    "After an older copy of the ledger was put in place: post again what MongoDB was told and this "
                    "copy lacks."
                ),
            ),
            "adjust": ("cli.people_commands:adjust", "Move an amount between two accounts by hand."),
            "refund": (
                "cli.people_commands:refund",
                (
                    "Give what the escrow of CAMPAIGN holds back to who funded it, also where its document is gone or "
                    "was rejected."
                ),
            ),
        },
    ),
}

_COMMANDS: Mapping[str, tuple[str, str]] = {
    "migrate": ("cli.migrate_command:migrate", "Create or upgrade the ledger's tables and MongoDB's indexes."),
    "demo": (
        "cli.demo_command:demo",
        "Run the whole thing on this machine: real servers, sample data, two sweeps, a full check.",
    ),
    "explain": (
        "cli.explain_command:explain_command",
        "Why PARTICIPATION_ID was paid, or was not: every rule, number and rounding, and where it stands.",
    ),
    "status": ("cli.status_command:status", "How everything stands."),
    "resume": ("cli.people_commands:resume", "Let paying go on after a halt."),
    "adopt": (
        "cli.people_commands:adopt",
        "Record what was settled before this ledger began, so that it is no break any more.",
    ),
    "webhooks": ("cli.webhook_commands:webhooks", "Events, and the endpoints that are told of them."),
    "apikey": ("cli.api_commands:apikey", "Keys for the API."),
}

for _name, (_help_text, _members) in _GROUPS.items():
    app.add_command(lazy_group(_name, _help_text, _members))
for _name, _described in _COMMANDS.items():
    app.add_command(LazyCommand(_name, *_described))


def _parsed(overrides: Sequence[str]) -> dict[str, Any]:
    pairs = [one.partition("=") for one in overrides]
    for one, (key, sign, _) in zip(overrides, pairs, strict=True):
        if not key or not sign:
            raise click.UsageError(f"--set takes KEY=VALUE, not {one!r}.")
    return {key: value for key, _, value in pairs}
