"""The summary of every page, kept for a second: however many pages are open, the databases are asked once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from reconciler.api.context import ApiContext
from reconciler.api.offload import Offload
from reconciler.api.pages.summary import Seen, Summary, summary_of
from reconciler.errors import DatabaseFailure, InvariantBroken, UsageError
from reconciler.ledger.operations.overview import overview
from reconciler.queries import Document
from reconciler.queries.payouts import PayoutQuery, payout_rows
from reconciler.queries.webhooks import endpoint_rows

FRESH_S = 0.9
"""How old a summary may be. Streams ask for one every second."""
PAYOUTS_SHOWN = 8


class SummaryCache:
    """Keeps the last summary. Only the event loop may use it."""

    def __init__(self, context: ApiContext, offload: Offload) -> None:
        self._context = context
        self._offload = offload
        self._lock = asyncio.Lock()
        self._seen: Summary | None = None
        self._seen_s = 0.0
        self._drawn: tuple[Summary, str] | None = None

    async def current(self) -> Summary:
        """Return a summary of at most a second ago. Raises Problem when too many requests wait for a thread."""
        async with self._lock:
            if self._seen is None or time.monotonic() - self._seen_s > FRESH_S:
                self._seen = summary_of(await self._offload(self._found))
                self._seen_s = time.monotonic()
            return self._seen

    def drawn(self, summary: Summary, draw: Callable[[Summary], str]) -> str:
        """Draw a summary, once for all readers. ``draw`` must not depend on who reads."""
        if self._drawn is None or self._drawn[0] is not summary:
            self._drawn = (summary, draw(summary))
        return self._drawn[1]

    def forget(self) -> None:
        """Drop the summary, since somebody decided something."""
        self._seen_s = 0.0

    def _found(self) -> Seen:
        context = self._context
        away, found, payouts, endpoints = "", None, list[Document](), list[Document]()
        try:
            found = overview(context.engine)
            payouts = payout_rows(context.engine, PayoutQuery(limit=PAYOUTS_SHOWN))
            endpoints = endpoint_rows(context.deliveries, context.endpoints)
        except DatabaseFailure as failure:
            found, away = None, f"{failure.in_short}."
        except UsageError:
            found, away = None, "It is of another revision: run `python run.py migrate`."
        except InvariantBroken:
            found, away = None, "It cannot be read as it should be: run `python run.py ledger verify`."
        reports = context.reports.newest(1)
        return Seen(
            board=context.status.snapshot(),
            is_leader=context.is_leader(),
            is_paying_on=context.is_paying_on,
            overview=found,
            payouts=payouts,
            report=reports[0] if reports else None,
            endpoints=endpoints,
            away=away,
        )
