"""What the pages ask beside the API's routes, answered by the parts (:mod:`reconciler.api.context`)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from app.parts import Parts
from cli.break_commands import COLUMNS, row_of
from cli.identities import identities_of
from cli.webhook_commands import delivery_row, endpoint_rows
from reconciler.api.context import Document
from reconciler.clock import utc_text
from reconciler.domain.break_memory import BreakStatus
from reconciler.domain.campaign import CampaignDefaults
from reconciler.errors import UsageError
from reconciler.ledger.journal.decisions import Signature
from reconciler.ledger.operations.break_decisions import BreakDecisions
from reconciler.ledger.operations.break_records import BreakFilter
from reconciler.ledger.operations.deliveries import DeliveryFilter, list_deliveries
from reconciler.ledger.operations.overview import LedgerOverview
from reconciler.mongo.trials import TrialReader
from reconciler.ports.runs import RunRecord
from reconciler.reports.tables import record


def overview_document(found: LedgerOverview) -> Document:
    """How everything stands by the ledger, for JSON."""
    lease, halt = found.lease, found.halt
    return {
        "sequence": found.sequence,
        "halt": None if halt is None else {"since": utc_text(halt.since), "cause": halt.cause},
        "lease": None if lease is None else {"holder": lease.holder, "epoch": lease.epoch, "is_held": lease.is_held},
        "last_sweep": _run(found.last_sweep),
        "last_check": _run(found.last_check),
        "running_check": _run(found.running_check),
        "open_breaks": dict(found.open_breaks),
        "acknowledged_breaks": found.acknowledged_breaks_count,
        "holds": dict(found.holds),
        "outbox": {"pending": found.outbox.pending, "blocked": found.outbox.blocked},
    }


@dataclass(frozen=True, slots=True)
class RememberedBreaks:
    """Breaks by the book, and what people say about them."""

    parts: Parts

    def open_breaks(self, limit: int) -> list[Document]:
        """Open breaks, the gravest and oldest first."""
        return self._rows(BreakStatus.OPEN, limit)

    def acknowledged_breaks(self, limit: int) -> list[Document]:
        """Those that somebody acknowledged, in the same order."""
        return self._rows(BreakStatus.ACKNOWLEDGED, limit)

    def acknowledge(self, break_id: str, by: str, reason: str) -> str:
        """Record that a person knows of an open break."""
        decisions = BreakDecisions(self.parts.journal, run_id=str(uuid.uuid4()))
        decisions.acknowledge([break_id], Signature(by=by, reason=reason))
        return "acknowledged"

    def _rows(self, status: BreakStatus, limit: int) -> list[Document]:
        lines, now = self.parts.breaks.lines(BreakFilter(status=status))[:limit], self.parts.clock()
        return [record(row_of(line, now), COLUMNS) for line in lines]


@dataclass(frozen=True, slots=True)
class WebhookBooks:
    """Deliveries by the ledger."""

    parts: Parts

    def endpoints(self) -> list[Document]:
        """How far each endpoint is behind."""
        return endpoint_rows(self.parts)

    def deliveries(self, status: str | None, limit: int) -> list[Document]:
        """Deliveries of the newest events."""
        found = list_deliveries(self.parts.engine, DeliveryFilter(status=status, limit=limit))
        return [delivery_row(one) for one in found]


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """What the test page shows."""

    parts: Parts

    def find(self, token: str) -> str | None:
        """The participation with a recording token."""
        found = self._reader().find(token)
        return None if found is None else found.tagged

    def look(self, participation_id: str) -> Document | None:
        """A participation, its campaign and its streamer's wallet."""
        try:
            identities = identities_of(participation_id)
        except UsageError:
            return None
        reader = self._reader()
        for identity in identities:
            found = reader.look(identity)
            if found is not None:
                completed_at = found["participation"]["completed_at"]
                found["participation"]["completed_at"] = utc_text(completed_at) if completed_at else None
                return found | {"participation_id": identity.value}
        return None

    def _reader(self) -> TrialReader:
        settings = self.parts.settings
        defaults = CampaignDefaults(
            currency=settings.payout.default_currency,
            fixed_impressions_per_unit=settings.completion.fixed_impressions_per_unit,
        )
        return TrialReader(self.parts.connection, settings.mapping, defaults)


def _run(run: RunRecord | None) -> dict[str, Any] | None:
    if run is None:
        return None
    return {
        "run_id": run.run_id,
        "trigger": run.trigger,
        "started_at": utc_text(run.started_at),
        "finished_at": None if run.finished_at is None else utc_text(run.finished_at),
        "outcome": run.outcome,
        "error": run.error,
        "counts": dict(run.counts),
    }
