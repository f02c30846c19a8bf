"""Recording over a real replica set: the recorder alone, and the routes in an application of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from app.recording import recorder_of, recording_of
from reconciler.api.recording_routes import recording_router
from reconciler.config import Settings, load
from reconciler.domain.ids import DocumentId
from reconciler.domain.recording import Outcome, RecordingKind, ViewerReport
from reconciler.mongo.connection import Connection
from reconciler.mongo.recording import GroupRecorder

PEER = "192.0.2.1"
UNLIMITED = {
    "api.recording.token_per_s_max": 0,
    "api.recording.address_per_s_max": 0,
    "api.recording.impressions_per_minute_max": 0,
}


class HeardHints:
    """Remembers what was hinted."""

    def __init__(self) -> None:
        self.participations: list[DocumentId] = []
        self._lock = threading.Lock()

    def participation(self, participation_id: DocumentId) -> None:
        with self._lock:
            self.participations.append(participation_id)

    def campaign(self, campaign_id: DocumentId) -> None:
        raise AssertionError("recording hints participations only")


def recording_settings(**overrides: Any) -> Settings:
    """Defaults without rate limits; ``api__recording__count_max=5`` overrides a setting."""
    return load(None, {}, UNLIMITED | {key.replace("__", "."): value for key, value in overrides.items()})


def make_recorder(connection: Connection, **overrides: Any) -> GroupRecorder:
    return recorder_of(recording_settings(**overrides), connection)


def impressions(token: str, count: int = 1, key: str | None = None) -> ViewerReport:
    return ViewerReport(token=token, kind=RecordingKind.IMPRESSION, count=count, key=key)


def clicks(token: str, count: int = 1, key: str | None = None) -> ViewerReport:
    return ViewerReport(token=token, kind=RecordingKind.CLICK, count=count, key=key)


def alone(recorder: GroupRecorder, report: ViewerReport) -> Outcome:
    [outcome] = recorder.record([report])
    return outcome


@asynccontextmanager
async def served(
    connection: Connection, *, triggers: HeardHints | None = None, **overrides: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that has the two routes and nothing else."""
    recording = recording_of(recording_settings(**overrides), connection, triggers or HeardHints())
    app = FastAPI()
    app.include_router(recording_router(recording))
    transport = httpx.ASGITransport(app=app, client=(PEER, 5000))
    async with recording.running(), httpx.AsyncClient(transport=transport, base_url="http://recording") as client:
        yield client


def ask(
    connection: Connection,
    talk: Callable[[httpx.AsyncClient], Awaitable[None]],
    *,
    triggers: HeardHints | None = None,
    **overrides: Any,
) -> None:
    """Let ``talk`` speak with a served application."""

    async def run() -> None:
        async with served(connection, triggers=triggers, **overrides) as client:
            await talk(client)

    asyncio.run(run())
