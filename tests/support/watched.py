"""The daemon in a thread of the test's own process: its parts can be asked, and its log be waited for."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bson.objectid import ObjectId
from structlog.testing import capture_logs

from app.parts import Parts, parts_of
from app.process import lease_of, run_until_stopped
from reconciler.clock import utc_now
from reconciler.config import load
from reconciler.devstack.process import wait_until
from reconciler.domain.ids import DocumentId, IdKind
from reconciler.ledger.migrate import upgrade
from reconciler.mongo.indexes import create_missing

WITHIN_S = 60.0
"""Longer than anything takes on a busy machine; nothing waits for it that goes well."""

QUIET_FOR = timedelta(seconds=0.3)
"""The lease, the scheduler and the stream each ask for a first sweep, within this of one another."""

QUICK: Mapping[str, object] = {
    "sweep.interval_s": 600,
    "housekeeping.interval_s": 600,
    "mongodb.wait_max_s": 2,
    "watch.retry_s": 0.2,
    "watch.retry_max_s": 0.5,
    "watch.await_s": 0.2,
    "watch.silence_max_s": 3,
    "watch.recheck_s": 0.3,
    "watch.keep_s": 0.1,
    "watch.campaign_interval_ms": 50,
}
"""Sweeps so rare that only the watch can have been it, and waits that a test can afford."""


@dataclass(slots=True, kw_only=True)
class Watched:
    """A daemon that runs, and what it said."""

    parts: Parts
    said: list[Any]
    ends: list[Any] = field(default_factory=list)

    def events(self, action: str, **fields: object) -> list[Mapping[str, Any]]:
        """The log lines of an action so far, with some fields."""
        lines = [line for line in list(self.said) if line.get("action") == action]
        return [line for line in lines if all(line.get(name) == value for name, value in fields.items())]

    def wait_for(self, action: str, *, times: int = 1, **fields: object) -> Mapping[str, Any]:
        """The log line of an action, once there are so many of them."""
        self.wait(lambda: len(self.events(action, **fields)) >= times, f"{times} × {action} {fields}")
        return self.events(action, **fields)[times - 1]

    def wait(self, holds: Callable[[], bool], what: str = "it") -> None:
        """Until something holds."""
        assert wait_until(holds, timeout_s=WITHIN_S), f"{what} did not come; {self.stream}; said: {self.said[-12:]}"

    @property
    def stream(self) -> Mapping[str, Any]:
        """The status board's section of the stream."""
        return defaultdict(lambda: None, self.parts.status.snapshot().get("stream", {}))

    def wait_streaming(self) -> None:
        """Until it watches, and the sweeps that its start asked for are done."""
        self.wait(lambda: self.stream["state"] == "streaming", "streaming")
        self.wait_swept(self.stream["since"])

    def wait_swept(self, since: datetime | None = None) -> None:
        """Until a sweep that began after a time has ended, and no further one has begun for a moment."""

        def is_quiet() -> bool:
            sweep = self.parts.status.snapshot().get("sweep", {})
            began_at, ended_at = sweep.get("last_began_at"), sweep.get("last_finished_at")
            if not isinstance(began_at, datetime) or not isinstance(ended_at, datetime) or sweep["running_since"]:
                return False
            return (since is None or began_at >= since) and utc_now() - ended_at > QUIET_FOR

        self.wait(is_quiet, "the sweeps of the start")

    def wait_paid(self, *participation_ids: Any, trigger: str | None = "watch") -> None:
        """Until participations are paid, as the trigger of their payouts says: by the watch."""
        wanted = [tagged(one) for one in participation_ids]
        self.wait(lambda: set(wanted) <= triggers(self.parts).keys(), f"payouts of {wanted}")
        if trigger is not None:
            found = triggers(self.parts)
            assert {found[one] for one in wanted} == {trigger}, found

    def wait_idle(self) -> None:
        """Until no key waits or is worked on."""
        self.wait(lambda: self.parts.live.queue.oldest_unsettled() is None, "an idle queue")


@contextmanager
def watched(servers: Mapping[str, object], overrides: Mapping[str, object] | None = None) -> Iterator[Watched]:
    """A daemon on some servers, migrated; stopped at the end, and then every thread of it has to end."""
    settings = load(None, {}, {**QUICK, **servers, **(overrides or {})})
    with capture_logs() as said, lease_of(settings) as lease, parts_of(settings, fence=lease.fence) as parts:
        upgrade(parts.engine)
        create_missing(parts.connection, settings.mapping)
        running = Watched(parts=parts, said=said)
        thread = threading.Thread(target=lambda: running.ends.append(run_until_stopped(parts, lease)), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            parts.stopping.set()
            thread.join(WITHIN_S)
        assert not thread.is_alive()
        assert not running.ends[0].by_defect


def tagged(document_id: Any) -> str:
    """An identity as the ledger writes it."""
    kind = IdKind.OBJECT_ID if isinstance(document_id, ObjectId) else IdKind.STRING
    return DocumentId(kind, str(document_id)).tagged


def triggers(parts: Parts) -> dict[str, str]:
    """Tagged participation → what set its payout off."""
    with parts.engine.connect() as connection:
        rows = connection.exec_driver_sql('SELECT participation_id, "trigger" FROM payouts ORDER BY sequence')
        return {row[0]: row[1] for row in rows}
