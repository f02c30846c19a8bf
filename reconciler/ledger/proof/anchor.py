"""An anchor: where the chain stood at some time, as one line to be kept elsewhere.

A chain shows that single rows were changed. Whoever can write every row can also write all hashes anew; only a hash
that was kept elsewhere shows that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.errors import UsageError
from reconciler.ledger.engine import reading
from reconciler.ledger.proof.faults import Faults
from reconciler.ledger.schema import chain, chain_head, entries, ledger_identity

_FORM = re.compile(r"ledger=([0-9a-f-]{36}),batch=(\d{1,18}),sequence=(\d{1,18}),hash=([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The end of a chain: after ``batch`` batches and ``sequence`` entries its hash was ``hash``."""

    ledger_id: str
    batch: int
    sequence: int
    hash: str

    def __str__(self) -> str:
        """One word, so that no shell takes it apart."""
        return f"ledger={self.ledger_id},batch={self.batch},sequence={self.sequence},hash={self.hash}"

    @classmethod
    def parse(cls, text: str) -> Anchor:
        """Read what :meth:`__str__` wrote. Raises UsageError."""
        match = _FORM.fullmatch("".join(text.split()))
        if match is None:
            raise UsageError("an anchor is one line as `ledger anchor` prints it: ledger=…,batch=…,sequence=…,hash=…")
        ledger_id, batch, sequence, of_chain = match.groups()
        return cls(ledger_id=ledger_id, batch=int(batch), sequence=int(sequence), hash=of_chain)


def anchor_of(engine: Engine) -> Anchor:
    """Where the chain stands now."""
    with reading(engine) as connection:
        head = connection.execute(sa.select(chain_head)).one()
        ledger_id = connection.execute(sa.select(ledger_identity.c.ledger_id)).scalar_one()
    return Anchor(ledger_id=ledger_id, batch=head.batch, sequence=head.sequence, hash=head.hash)


def check_anchor(connection: Connection, anchor: Anchor, faults: Faults) -> None:
    """Note a fault unless the chain still contains the anchor. What lies before it, the walk verifies."""
    ledger_id = connection.execute(sa.select(ledger_identity.c.ledger_id)).scalar_one_or_none()
    if ledger_id != anchor.ledger_id:
        faults.add("chain_broken", f"this is ledger {ledger_id}, and the anchor is of ledger {anchor.ledger_id}")
        return
    if anchor.batch == 0:
        return
    last = connection.execute(sa.select(sa.func.max(chain.c.batch))).scalar_one()
    found = connection.execute(sa.select(chain.c.hash).where(chain.c.batch == anchor.batch)).scalar_one_or_none()
    if found is None:
        detail = f"the chain ends with batch {last or 0}, and the anchor was taken at batch {anchor.batch}"
        faults.add("chain_broken", detail, batch=(last or 0) + 1)
    elif found != anchor.hash:
        detail = f"the history up to batch {anchor.batch} is not the one that was anchored: it was written anew"
        faults.add("chain_broken", detail, batch=anchor.batch)
    else:
        until = sa.select(sa.func.max(entries.c.sequence)).where(entries.c.batch <= anchor.batch)
        sequence = connection.execute(until).scalar_one() or 0
        if sequence != anchor.sequence:
            detail = (
                f"batch {anchor.batch} ended with entry {anchor.sequence} when it was anchored, now with {sequence}"
            )
            faults.add("chain_broken", detail, batch=anchor.batch)
