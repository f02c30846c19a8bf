"""Looking how everything stands, once for all who watch: however many pages are open, the databases are asked once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from reconciler.api.context import ApiContext, Document, PayoutQuery
from reconciler.api.offload import Offload
from reconciler.api.pages.standing import Seen, Standing, standing_of
from reconciler.errors import DatabaseFailure, InvariantBroken, UsageError

FRESH_S = 0.9
"""How old what was seen may be. Streams look every second."""
PAYOUTS_SHOWN = 8


class Looking:
    """Keeps what was seen last. To be asked on the event loop."""

    def __init__(self, context: ApiContext, offload: Offload) -> None:
        self._context = context
        self._offload = offload
        self._lock = asyncio.Lock()
        self._seen: Standing | None = None
        self._seen_s = 0.0
        self._drawn: tuple[Standing, str] | None = None

    async def look(self) -> Standing:
        """How everything stands, at most a second ago. Raises Problem when too much waits for a thread."""
        async with self._lock:
            if self._seen is None or time.monotonic() - self._seen_s > FRESH_S:
                self._seen = standing_of(await self._offload(self._look))
                self._seen_s = time.monotonic()
            return self._seen

    def drawn(self, standing: Standing, draw: Callable[[Standing], str]) -> str:
        """What ``draw`` makes of a standing, drawn once for all who watch. It must not depend on who that is."""
        if self._drawn is None or self._drawn[0] is not standing:
            self._drawn = (standing, draw(standing))
        return self._drawn[1]

    def forget(self) -> None:
        """Look again next time: something was decided."""
        self._seen_s = 0.0

    def _look(self) -> Seen:
        context = self._context
        away, overview, payouts, endpoints = "", None, list[Document](), list[Document]()
        try:
            overview = context.books.overview()
            payouts = context.books.payouts(PayoutQuery(limit=PAYOUTS_SHOWN))
            endpoints = context.webhooks.endpoints() if context.webhooks is not None else []
        except DatabaseFailure as failure:
            overview, away = None, f"{failure.in_short}."
        except UsageError:
            overview, away = None, "It is of another revision: run `python run.py migrate`."
        except InvariantBroken:
            overview, away = None, "It cannot be read as it should be: run `python run.py ledger verify`."
        reports = context.reports.newest(1)
        return Seen(
            board=context.status.snapshot(),
            is_leader=context.is_leader(),
            is_paying_on=context.is_paying_on,
            overview=overview,
            payouts=payouts,
            report=reports[0] if reports else None,
            endpoints=endpoints,
            away=away,
        )
