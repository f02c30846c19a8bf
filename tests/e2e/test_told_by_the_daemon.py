"""From a participation past its target to a signed request at somebody's endpoint, through run.py."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.support.command_line import CommandLine
from tests.support.platform import Platform
from tests.support.receiver import SECRET, Received, Receiver, status

VARIABLE = "RECONCILER__WEBHOOKS__ENDPOINTS"


def settings_for(receiver: Receiver, **more: str) -> dict[str, str]:
    endpoints = [{"name": "billing", "url": receiver.url, "secret": SECRET}]
    return {VARIABLE: json.dumps(endpoints), "RECONCILER__SWEEP__INTERVAL_S": "1"} | more


def of_type(received: list[Received], event_type: str) -> list[dict[str, Any]]:
    return [one.payload["data"] for one in received if one.payload["type"] == event_type]


def test_a_payout_is_told_by_the_daemon(run_py: CommandLine, platform: Platform) -> None:
    campaign_id = platform.campaign()
    participation_id = platform.participation(campaign_id)
    assert run_py.run("migrate").code == 0
    with Receiver() as receiver:
        settings = settings_for(receiver)
        with run_py.start(**settings) as daemon:
            received = receiver.wait_for(2)
            # An endpoint that hangs neither delays payments nor the end.
            receiver.behave = receiver.hang
            platform.participation(platform.campaign())
            receiver.wait_for(3)
            platform.participation(platform.campaign())
            daemon.wait_for("payouts_posted", times=3)
            daemon.send(signal.SIGTERM)
            assert daemon.ended(within_s=10) == 0
            assert daemon.events("daemon_stopped")
            assert SECRET not in "".join(daemon.lines)
            assert receiver.url not in "".join(daemon.lines)

        assert all(one.is_signed for one in received)
        [settled] = of_type(received, "participation.settled")
        assert (settled["participation_id"], settled["amount_minor"]) == (str(participation_id), 330_000)
        [completed] = of_type(received, "campaign.completed")
        assert (completed["campaign_id"], completed["total_minor"]) == (str(campaign_id), 330_000)

        listed = run_py.run("webhooks", "list", "--json", **settings).json()
        states = [one["status"] for one in listed["deliveries"]]
        assert (states.count("delivered"), set(states)) == (2, {"delivered", "pending"})
        assert listed["endpoints"][0]["pending"] == len(states) - 2

        event_id = received[0].event_id
        shown = run_py.run("webhooks", "show", event_id, "--json", **settings).json()
        assert shown["payload"] == received[0].payload
        replayed = run_py.run("webhooks", "replay", event_id, "--by", "asha", "--json", **settings).json()
        assert replayed == {"replayed": 1, "by": "asha"}
        shown = run_py.run("webhooks", "show", event_id, "--json", **settings).json()
        assert [(one["status"], one["replayed_by"]) for one in shown["deliveries"]] == [("pending", "asha")]


def test_an_endpoint_can_be_tried_without_any_database(tmp_path: Path) -> None:
    run_py = CommandLine(folder=tmp_path)
    with Receiver() as receiver:
        settings = settings_for(receiver)
        tried = run_py.run("webhooks", "test", "billing", "--json", **settings)
        assert (tried.code, tried.json()["outcome"]) == (0, "delivered")
        [received] = receiver.received
        assert received.is_signed
        assert received.payload["type"] == "webhook.test"

        receiver.behave = status(503)
        failed = run_py.run("webhooks", "test", "billing", "--json", **settings)
        assert (failed.code, failed.json()["status_code"]) == (1, 503)

        unknown = run_py.run("webhooks", "test", "crm", **settings)
        assert (unknown.code, unknown.sentence) == (2, "there is no endpoint crm; configured are: billing.")
