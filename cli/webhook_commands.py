"""Commands about events and webhooks: look at deliveries, send again what was given up, try an endpoint."""

from __future__ import annotations

import json
import uuid

import click
import structlog

from app.sending import require_sending, send_once
from cli import render
from cli.opening import open_ledger
from cli.session import Session, as_json_option, print_json
from reconciler.clock import utc_now, utc_text
from reconciler.config import Settings
from reconciler.config.webhooks import WebhookEndpoint
from reconciler.domain.deliveries import Answer, Message
from reconciler.domain.events import PAYLOAD_VERSION
from reconciler.errors import UsageError
from reconciler.exit_codes import ExitCode
from reconciler.ledger.operations.deliveries import DeliveryFilter
from reconciler.ledger.operations.events import read_event
from reconciler.queries.webhooks import delivery_rows, endpoint_rows, event_document

log = structlog.get_logger(__name__)

_SHOWN = ("event_id", "type", "endpoint", "status", "attempts", "outcome", "not_before")


@click.group()
def webhooks() -> None:
    """Events, and the endpoints that are told of them."""


@webhooks.command(name="list")
@click.option("--status", type=click.Choice(["pending", "delivered", "dead"]), help="Only these; dead: given up.")
@click.option("--endpoint", metavar="NAME", help="Only deliveries to this endpoint.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The newest.")
@as_json_option
@click.pass_obj
def list_command(session: Session, *, status: str | None, endpoint: str | None, limit: int) -> ExitCode:
    """Deliveries, those of the newest events first, and how far each endpoint is behind."""
    with open_ledger(session) as parts:
        found = delivery_rows(parts.engine, DeliveryFilter(status=status, endpoint=endpoint, limit=limit))
        endpoints = endpoint_rows(parts.deliveries, parts.settings.webhooks.endpoints)
    if session.as_json:
        print_json({"endpoints": endpoints, "deliveries": found})
        return ExitCode.CLEAN
    if endpoints:
        render.rows("Endpoints", tuple(endpoints[0]), endpoints)
    render.rows("Deliveries", _SHOWN, found)
    return ExitCode.CLEAN


@webhooks.command()
@click.argument("event_id")
@as_json_option
@click.pass_obj
def show(session: Session, *, event_id: str) -> ExitCode:
    """One event: its payload, and what became of it at each endpoint."""
    with open_ledger(session) as parts:
        event = read_event(parts.engine, event_id)
        if event is None:
            raise UsageError(f"there is no event {event_id}")
        document = event_document(parts.engine, event)
    if session.as_json:
        print_json(document)
        return ExitCode.CLEAN
    names = ("event_id", "type", "subject", "status", "occurred_at", "recorded_at")
    render.facts("Event", [*((name, str(document[name])) for name in names), ("payload", event.payload or "pruned")])
    render.rows("Deliveries", _SHOWN, document["deliveries"])
    return ExitCode.CLEAN


@webhooks.command()
@click.argument("event_id", required=False)
@click.option("--dead", is_flag=True, help="Everything that was given up, instead of one event.")
@click.option("--endpoint", metavar="NAME", help="Only to this endpoint.")
@click.option("--by", required=True, metavar="NAME", help="Who decides; kept with the delivery.")
@as_json_option
@click.pass_obj
def replay(session: Session, *, event_id: str | None, dead: bool, endpoint: str | None, by: str) -> ExitCode:
    """Deliver again: an event, or with --dead all that was given up. The daemon sends it within seconds."""
    if (event_id is None) is not dead:
        raise click.UsageError("Name an event, or say --dead.")
    if endpoint is not None:
        _endpoint(session.settings(), endpoint)
    with open_ledger(session) as parts:
        if event_id is None:
            count = parts.deliveries.replay_dead(endpoint, by)
        else:
            count = parts.deliveries.replay(event_id, endpoint, by)
            if not count:
                raise UsageError(f"event {event_id} has no delivery that could be sent again")
    log.info("events are delivered again", action="webhook_replayed", event_id=event_id, count=count, by=by)
    return render.done({"replayed": count, "by": by}, as_json=session.as_json)


@webhooks.command()
@click.argument("endpoint")
@click.option("--by", required=True, metavar="NAME", help="Who decides.")
@as_json_option
@click.pass_obj
def enable(session: Session, *, endpoint: str, by: str) -> ExitCode:
    """Send to an endpoint again that answered 410 Gone; what waited for it goes out."""
    _endpoint(session.settings(), endpoint)
    with open_ledger(session) as parts:
        if not parts.deliveries.enable(endpoint):
            raise UsageError(f"{endpoint} is not disabled")
    log.info("an endpoint gets events again", action="webhook_enabled", endpoint=endpoint, by=by)
    return render.done({"endpoint": endpoint, "result": "enabled", "by": by}, as_json=session.as_json)


@webhooks.command()
@click.argument("endpoint")
@as_json_option
@click.pass_obj
def test(session: Session, *, endpoint: str) -> ExitCode:
    """Send a signed event of type webhook.test to an endpoint, now and once. Exit code 1: it was not taken."""
    settings = session.settings()
    chosen = _endpoint(settings, endpoint)
    require_sending(settings)
    message = _test_message()
    answered = send_once(settings.webhooks, chosen, message)
    document = {
        "event_id": message.event_id,
        "endpoint": endpoint,
        "outcome": answered.answer.value,
        "status_code": answered.status_code,
    }
    render.done(document, as_json=session.as_json)
    return ExitCode.CLEAN if answered.answer is Answer.DELIVERED else ExitCode.BREAKS


def _test_message() -> Message:
    event_id = f"evt_{uuid.uuid4().hex}"
    envelope = {
        "type": "webhook.test",
        "version": PAYLOAD_VERSION,
        "id": event_id,
        "timestamp": utc_text(utc_now()),
        "data": {},
    }
    return Message(event_id=event_id, payload=json.dumps(envelope, separators=(",", ":")))


def _endpoint(settings: Settings, name: str) -> WebhookEndpoint:
    names = [endpoint.name for endpoint in settings.webhooks.endpoints]
    if name not in names:
        raise UsageError(f"there is no endpoint {name}; configured are: {', '.join(names) or 'none'}")
    return settings.webhooks.endpoints[names.index(name)]
