"""The state of everything that the ledger's tables know, for people and for monitors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from reconciler.domain.breaks import BreakStatus, Severity
from reconciler.ledger.engine import reading
from reconciler.ledger.operations.break_records import BreakFilter, SqlBreakRecords
from reconciler.ledger.operations.lease import PAYING, LeaseState, lease_state
from reconciler.ledger.operations.outbox import outbox_counts
from reconciler.ledger.operations.runs import RunLog
from reconciler.ledger.reads.halts import HaltState, current_halt
from reconciler.ledger.reads.ledger_reads import open_holds_where
from reconciler.ledger.schema import chain_head, ledger_identity
from reconciler.ports.outbox import OutboxCounts
from reconciler.ports.runs import RunRecord

_CHECKS_LOOKED_AT = 20
_CHECKS = ("full_check", "campaign_check")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerOverview:
    """``open_breaks``: kind → how many of severity warning and above. ``holds``: reason → how many.

    ``last_sweep`` and ``last_check`` are the newest that ended, however they did; ``running_check`` one that goes on.
    """

    ledger_id: str
    sequence: int
    chain_head: str
    lease: LeaseState | None
    halt: HaltState | None
    last_sweep: RunRecord | None
    last_check: RunRecord | None
    running_check: RunRecord | None
    open_breaks: Mapping[str, int]
    acknowledged_breaks_count: int
    holds: Mapping[str, int]
    outbox: OutboxCounts


def overview(engine: Engine) -> LedgerOverview:
    """The present state. Raises Outage."""
    runs, breaks = RunLog(engine), SqlBreakRecords(engine)
    checks = runs.newest(_CHECKS, _CHECKS_LOOKED_AT)
    unsettled = Counter(
        line.record.kind
        for line in breaks.lines(BreakFilter(status=BreakStatus.OPEN))
        if line.record.severity != Severity.INFO.label
    )
    acknowledged = breaks.lines(BreakFilter(status=BreakStatus.ACKNOWLEDGED))
    last_sweep = runs.latest("sweep")
    with reading(engine) as connection:
        head = connection.execute(sa.select(chain_head)).one()
        return LedgerOverview(
            ledger_id=connection.execute(sa.select(ledger_identity.c.ledger_id)).scalar_one(),
            sequence=head.sequence,
            chain_head=head.hash,
            lease=lease_state(connection, PAYING),
            halt=current_halt(connection),
            last_sweep=last_sweep,
            last_check=next((one for one in checks if one.outcome is not None), None),
            running_check=next((one for one in checks if one.outcome is None), None),
            open_breaks=dict(sorted(unsettled.items())),
            acknowledged_breaks_count=len(acknowledged),
            holds=dict(sorted(Counter(one.reason for one in open_holds_where(connection, sa.true())).items())),
            outbox=outbox_counts(connection),
        )
