"""The demo: everything real, on this machine, in a minute. It knows what must come out, and fails if it does not."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from app.parts import Parts, parts_of
from app.preparing import prepare
from app.process import run_daemon
from cli import render, report_view
from cli.session import Session
from jobs.check.options import CheckOptions
from jobs.payment.sweep import SweepResult
from reconciler.clock import utc_now
from reconciler.config import Settings
from reconciler.devstack.planting import EXPECTED
from reconciler.devstack.process import DevstackError, free_port
from reconciler.devstack.sample import Sample, SampleSpec, generate, load
from reconciler.devstack.stack import Devstack
from reconciler.devstack.stranding import stranded_campaigns
from reconciler.devstack.viewers import Viewers
from reconciler.errors import UsageError
from reconciler.exit_codes import ExitCode
from reconciler.ledger.migrate import upgrade
from reconciler.mongo import indexes
from reconciler.reports.model import Report

_DATABASE = "sponsorship_demo"
_API = {"api.enabled": True, "api.host": "127.0.0.1", "api.test_page": True}
"""Of the live demo. Whatever is configured beside it: nobody but this machine gets in."""
_USUAL_PORT = 8080
_BREAK_OF_OUTCOME = {"over_budget": "held"}
_BREAK_BESIDE = {"gkey_locked_later": "projection_stale"}
"""Paid, and named by the check all the same: the key was locked long after the payment, and nobody releases it."""
_NO_BREAK = {"paid", "below_target", "forfeited", "participation_not_active", "campaign_not_active"}


@click.command()
@click.option("--live", is_flag=True, help="Keep the daemon running with simulated viewers, until Ctrl-C.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which sample is generated.")
@click.option("--keep", type=click.Path(path_type=Path), help="Where the demo's files go; default: var/demo.")
@click.pass_obj
def demo(session: Session, *, live: bool, seed: int, keep: Path | None) -> ExitCode:
    """Run the whole thing on this machine: real servers, sample data, two sweeps, a full check."""
    folder = keep or Path("var/demo")
    folder.mkdir(parents=True, exist_ok=True)
    _say("Starting a MongoDB replica set and a PostgreSQL on free ports of this machine …")
    try:
        with Devstack(folder.absolute() / "servers") as stack:
            settings = session.settings(
                {
                    "mongodb.uri": stack.mongodb_uri,
                    "mongodb.database": _DATABASE,
                    "ledger.url": stack.ledger_url,
                    "reports.directory": str(folder / "reports"),
                    "log.level": "info" if live else "error",
                    **(_API if live else {}),
                    **({"api.port": _port()} if live else {}),
                }
            )
            sample = generate(SampleSpec(now=utc_now(), seed=seed))
            return _show(settings, sample, live=live)
    except DevstackError as error:
        raise UsageError(str(error)) from error


def _show(settings: Settings, sample: Sample, *, live: bool) -> ExitCode:
    with parts_of(settings) as parts:
        upgrade(parts.engine)
        counts = load(sample, parts.connection.database)
        indexes.create_missing(parts.connection, settings.mapping)
        prepare(parts, makes=True)
        _say(
            f"Loaded a sample platform: {counts['campaigns']} campaigns, {counts['campaignparticipations']} "
            f"participations, {counts['wallets']} wallets, {counts['gkeys']} G-keys. Some of it is broken on purpose."
        )
        first = _sweep(parts, "The first sweep pays everyone who is past target:")
        second = _sweep(parts, "The second sweep finds nobody left to pay:")
        _say("The full check compares every participation with the ledger and with what MongoDB shows:")
        report, path = parts.full_check.step(CheckOptions(trigger="demo"))
        report_view.show_report(report.as_json(len(report.sightings)), path)
        wrong = [*_wrong_payments(first, second, sample), *_wrong_breaks(report, sample, parts)]
    _say_next(settings, report)
    if wrong:
        for sentence in wrong:
            _say(f"UNEXPECTED: {sentence}")
        return ExitCode.BREAKS
    _say("The breaks above were planted in the sample, and they are exactly the ones expected. All is well.")
    if live:
        return _live(settings, seed=1)
    return ExitCode.CLEAN


def _sweep(parts: Parts, headline: str) -> SweepResult:
    _say(headline)
    result = parts.sweep.step("demo")
    render.sweep(result)
    return result


def _live(settings: Settings, *, seed: int) -> ExitCode:
    url = f"http://{settings.api.host}:{settings.api.port}"
    _say(f"Now the daemon runs at {url}, and simulated viewers watch. Ctrl-C ends it.")
    with parts_of(settings) as parts:
        viewers = Viewers(parts.connection.database[settings.mapping.collections.participations], seed=seed)
        viewers.start()
        try:
            return ExitCode(run_daemon(settings))
        finally:
            viewers.stop()


def _wrong_payments(first: SweepResult, second: SweepResult, sample: Sample) -> Iterable[str]:
    paid, paid_minor = first.settled.paid, dict(first.settled.paid_minor)
    if paid != sample.expected_paid_count or paid_minor != dict(sample.expected_paid_minor):
        yield f"the first sweep paid {paid} ({paid_minor}), not {sample.expected_paid_count}"
    if second.settled.paid:
        yield f"the second sweep paid {second.settled.paid} again"


def _wrong_breaks(report: Report, sample: Sample, parts: Parts) -> Iterable[str]:
    """The breaks found against those planted: of participations by identity, of campaigns by the campaign's."""
    found = {
        (one.found.kind.value, one.found.participation_id or one.found.campaign_id)
        for one in report.sightings
        if not one.found.repaired
    }
    expected = set(_expected_breaks(sample, parts))
    for kind, identity in sorted(expected - found):
        yield f"the check missed {kind} of {identity}"
    for kind, identity in sorted(found - expected):
        yield f"the check reports {kind} of {identity}, which is in order"


def _expected_breaks(sample: Sample, parts: Parts) -> Iterable[tuple[str, str]]:
    malformed_campaigns = {
        str(campaign.campaign_id)
        for page in parts.facts.paying_campaigns()
        for campaign in page
        if not hasattr(campaign, "rate")
    }
    for identity in malformed_campaigns:
        yield "malformed", identity
    for identity in stranded_campaigns(sample.campaigns(), sample.participations(), sample.spec.now):
        yield "stranded", identity
    for campaign in sample.campaigns():
        if not 1 <= campaign.get("gKeyCooloffHours", 1) <= 8_760:
            yield "cooloff_out_of_range", str(campaign["_id"])
    names: dict[str, Any] = dict(sample.planted_ids)
    for case, identities in names.items():
        outcome = EXPECTED[case]
        if case in _BREAK_BESIDE:
            yield from ((_BREAK_BESIDE[case], str(identity)) for identity in identities)
        if outcome in _NO_BREAK or (outcome == "malformed" and case.startswith("campaign_")):
            continue
        if outcome == "status_unknown":
            # One for each word, whoever has it.
            yield outcome, ""
            continue
        for identity in identities:
            yield _BREAK_OF_OUTCOME.get(outcome, outcome), str(identity)


def _say_next(settings: Settings, report: Report) -> None:
    reports = settings.reports.directory
    _say(
        f"The report lies in {reports}: open {reports / 'latest.html'} in a browser ({report.report_id}).\n"
        "Next: read docs/operations.md, try `make live`, or point MONGODB_URI and LEDGER_URL at your own databases\n"
        "and run `.venv/bin/python run.py --once --dry-run`."
    )


def _port() -> int:
    """The usual port, or a free one where something else has it."""
    with socket.socket() as probe:
        # As the server will do it: a port that was in use a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_API["api.host"], _USUAL_PORT))
        except OSError:
            return free_port()
    return _USUAL_PORT


def _say(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()
