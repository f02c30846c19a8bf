"""Recording, wired: MongoDB behind the two routes that overlays call. Needs the API's packages."""

from __future__ import annotations

from app.parts import defaults_of
from reconciler.api.recording_routes import Recording, recording
from reconciler.clock import utc_now
from reconciler.config import Settings
from reconciler.domain.parsing import Unreadable
from reconciler.domain.recording import RecordingPolicy, parse_milestones
from reconciler.metrics import Metrics
from reconciler.mongo.connection import Connection
from reconciler.mongo.recording import GroupRecorder
from reconciler.mongo.recording_group import RecordingGroup
from reconciler.ports.hints import Hints


def recording_of(settings: Settings, connection: Connection, hints: Hints, metrics: Metrics | None = None) -> Recording:
    """What :func:`reconciler.api.recording_routes.recording_router` serves. Nothing runs before it is started."""
    return recording(recorder_of(settings, connection), hints, settings.api, metrics)


def recorder_of(settings: Settings, connection: Connection) -> GroupRecorder:
    """What writes groups of reports. ``connection`` may be shared; one thread writes."""
    limits = settings.api.recording
    milestones = parse_milestones(limits.milestones)
    assert not isinstance(milestones, Unreadable)  # the settings were checked
    group = RecordingGroup(
        connection,
        settings.mapping,
        defaults_of(settings),
        RecordingPolicy(milestones=milestones, own_target=settings.completion.scope == "streamer"),
        key_ttl_s=limits.key_ttl_s,
    )
    return GroupRecorder(connection, group, deadline_s=limits.deadline_s, clock=utc_now)
