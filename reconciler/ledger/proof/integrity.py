"""Verifies the ledger for a full check: the chain from where the last check ended, and sums over all rows.

Walking the chain of a million payouts takes minutes, and what lies before a milestone changes only by somebody's hand.
So a check walks on from there. It adds up the rows of every table to see that earlier ones are unchanged, and sums
every entry and every account in SQL. The whole chain is walked where any of this finds something, from time to time,
and always by `ledger verify` (docs/decisions/0031, 0055).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from reconciler.clock import Clock, is_of_the_future
from reconciler.errors import DatabaseFailure
from reconciler.ledger.bulk import put
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.proof.damage import check_structure, is_damage
from reconciler.ledger.proof.faults import Faults
from reconciler.ledger.proof.table_sums import added, as_text, differing, table_sums
from reconciler.ledger.proof.verify import SqlVerifier, file_faults
from reconciler.ledger.proof.walking import Milestone, Walk
from reconciler.ledger.schema import chain, chain_head, chain_marks
from reconciler.ports.integrity import Integrity, IntegrityFault

_FAULTS_MAX = 200
NOT_THE_SAME = "is not the one that was verified before"

_UNBALANCED = sa.text(
    """
SELECT p.sequence, p.currency, COUNT(*), SUM(p.amount_minor) FROM postings p
GROUP BY p.sequence, p.currency HAVING COUNT(*) < 2 OR SUM(p.amount_minor) <> 0 ORDER BY p.sequence LIMIT :limit
"""
)
_WITHOUT_POSTINGS = sa.text(
    """
SELECT e.sequence, e.currency FROM entries e
WHERE NOT EXISTS (SELECT 1 FROM postings p WHERE p.sequence = e.sequence AND p.currency = e.currency)
ORDER BY e.sequence LIMIT :limit
"""
)
_BALANCES = sa.text(
    """
SELECT a.account, a.currency, a.balance_minor, a.version, COALESCE(s.total, 0), COALESCE(s.legs, 0)
FROM accounts a LEFT JOIN (
    SELECT account, currency, SUM(amount_minor) AS total, COUNT(*) AS legs FROM postings GROUP BY account, currency
) s ON s.account = a.account AND s.currency = a.currency
WHERE a.balance_minor <> COALESCE(s.total, 0) OR a.version <> COALESCE(s.legs, 0)
ORDER BY a.account, a.currency LIMIT :limit
"""
)
_NEGATIVE = sa.text(
    """
SELECT p.sequence, p.account, p.currency, p.balance_after_minor FROM postings p
JOIN accounts a ON a.account = p.account AND a.currency = p.currency
WHERE p.balance_after_minor < 0 AND a.kind = 'escrow' ORDER BY p.sequence LIMIT :limit
"""
)


class CheckVerifier:
    """Verifies for full checks. ``whole_after``: how long after a whole walk the next one is due."""

    def __init__(self, engine: Engine, *, clock: Clock, whole_after: timedelta) -> None:
        self._engine = engine
        self._clock = clock
        self._whole_after = whole_after

    def verify(self) -> Integrity:
        """Check the ledger, and name what is wrong. Raises DatabaseFailure, or UsageError where there is no ledger."""
        of_file = file_faults(self._engine)
        if of_file is not None:
            return of_file
        found, since = self._verified_since()
        if found is None or found.faults:
            # Wherever something is wrong, or was not looked at for long, the whole walk says what and where.
            written_anew = _history_faults(found)
            found, since = SqlVerifier(self._engine, with_sums=True).verify(), self._clock()
            found = found if found.faults else replace(found, faults=written_anew)
        if not found.faults:
            self._keep(found, since)
        return found

    def _verified_since(self) -> tuple[Integrity | None, datetime]:
        """What was found since the milestone, and when the whole chain was walked; None: walk it now."""
        now = self._clock()
        try:
            with reading(self._engine) as connection:
                mark = connection.execute(sa.select(chain_marks)).one_or_none()
                if mark is None:
                    return None, now
                if now - mark.whole_at >= self._whole_after or is_of_the_future(mark.whole_at, now):
                    return None, now
                return _verified_since(connection, mark), mark.whole_at
        except DatabaseFailure as error:
            cause = error.__cause__
            if not isinstance(cause, exc.DBAPIError) or not is_damage(cause):
                raise
            return None, now

    def _keep(self, result: Integrity, whole_at: datetime) -> None:
        row = {
            "id": 1,
            "batch": result.chain_verified_to,
            "sequence": result.ledger_sequence,
            "hash": result.chain_head,
            "entries": result.entries,
            "payouts": result.payouts,
            "whole_at": whole_at,
            "table_sums": result.table_sums,
        }
        with writing(self._engine) as connection:
            put(connection, chain_marks, [row])


def _history_faults(found: Integrity | None) -> tuple[IntegrityFault, ...]:
    """Faults that no walk finds: the chain is right in itself, but not the one that was verified before."""
    return tuple(one for one in found.faults if one.detail.endswith(NOT_THE_SAME)) if found else ()


def _verified_since(connection: Connection, mark: sa.Row[Any]) -> Integrity | None:
    """Everything since a milestone, and the sums over all; None where the file itself is damaged."""
    faults = Faults()
    check_structure(connection, faults)
    if faults:
        return None
    before = table_sums(connection, after=None, up_to=mark.batch)
    changed = differing(mark.table_sums, as_text(before))
    for table in changed:
        faults.add("chain_broken", f"rows of {table} up to batch {mark.batch} are not those that were verified before")
    kept = connection.execute(sa.select(chain.c.hash).where(chain.c.batch == mark.batch)).scalar_one_or_none()
    if mark.batch and kept != mark.hash:
        # Where the chain's rows are those of before, it is the milestone that somebody changed.
        what = NOT_THE_SAME if chain.name in changed else "has not the hash of the milestone"
        faults.add("chain_broken", f"batch {mark.batch} {what}", batch=mark.batch)
    start = Milestone(batch=mark.batch, hash=mark.hash, sequence=mark.sequence, entries=mark.entries)
    walk = Walk(connection, faults, start)
    walk.run()
    _check_sums(connection, faults)
    head = connection.execute(sa.select(chain_head)).one_or_none()
    new = table_sums(connection, after=mark.batch, up_to=walk.verified_to)
    return Integrity(
        entries=walk.entries,
        ledger_sequence=head.sequence if head else 0,
        chain_head=head.hash if head else "",
        chain_verified_to=walk.verified_to,
        faults=faults.in_order(),
        payouts=mark.payouts + walk.payouts,
        table_sums=as_text(added(before, new)),
    )


def _check_sums(connection: Connection, faults: Faults) -> None:
    limit = {"limit": _FAULTS_MAX}
    for sequence, currency, legs, total in connection.execute(_UNBALANCED, limit):
        detail = f"entry {sequence} has {legs} postings that sum to {total} minor units of {currency}"
        faults.add("ledger_unbalanced", detail, sequence=sequence)
    for sequence, currency in connection.execute(_WITHOUT_POSTINGS, limit):
        faults.add("ledger_unbalanced", f"entry {sequence} has no postings of {currency}", sequence=sequence)
    for account, currency, balance, version, total, legs in connection.execute(_BALANCES, limit):
        detail = (
            f"{account} holds {balance} minor units of {currency} at version {version}; "
            f"its {legs} postings sum to {total}"
        )
        faults.add("balance_differs", detail)
    for sequence, account, currency, after in connection.execute(_NEGATIVE, limit):
        detail = f"entry {sequence} leaves {account} at {after} minor units of {currency}"
        faults.add("escrow_negative", detail, sequence=sequence)
