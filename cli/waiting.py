"""Waiting for a database that is just starting, for a bounded time."""

from __future__ import annotations

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from cli.composition import Parts
from reconciler.errors import Outage
from reconciler.ledger.migrate import current_revision


def wait_for_ledger(parts: Parts) -> None:
    """Wait until the ledger's database answers. Raises Outage after ``ledger.wait_max_s``.

    MongoDB needs no such loop: its driver waits for a server by itself. A SQLite file is there or it is not.
    """
    is_file = parts.engine.dialect.name == "sqlite"
    for attempt in Retrying(
        retry=retry_if_exception_type(Outage),
        stop=stop_after_delay(0 if is_file else parts.settings.ledger.wait_max_s),
        wait=wait_exponential_jitter(multiplier=0.2, max=2),
        reraise=True,
    ):
        with attempt:
            current_revision(parts.engine)
