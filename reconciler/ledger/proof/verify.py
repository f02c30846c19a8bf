"""Proving the ledger from itself: the chain from its first batch, every sum, every amount, every balance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, Engine

from reconciler.errors import DatabaseFailure
from reconciler.ledger import schema
from reconciler.ledger.driver_errors import sentence_of
from reconciler.ledger.engine import reading
from reconciler.ledger.proof.anchor import Anchor, check_anchor
from reconciler.ledger.proof.balances import check_balances
from reconciler.ledger.proof.damage import check_file, check_rules, check_structure, is_damage
from reconciler.ledger.proof.faults import Faults
from reconciler.ledger.proof.table_sums import as_text, table_sums
from reconciler.ledger.proof.walking import Walk
from reconciler.ports.integrity import Integrity

Result = TypeVar("Result")


class SqlVerifier:
    """Walks the whole ledger in bounded memory, in one snapshot. ``with_sums``: also adds up the rows of its tables."""

    def __init__(self, engine: Engine, *, with_sums: bool = False) -> None:
        self._engine = engine
        self._with_sums = with_sums

    def verify(self, anchor: Anchor | None = None) -> Integrity:
        """Check everything, and name what is wrong: faults are values, in the order of the ledger.

        Memory holds a batch at a time, however many there are. Raises DatabaseFailure, or UsageError
        where there is no ledger.
        """
        of_file = file_faults(self._engine)
        if of_file is not None:
            return of_file
        faults = Faults()
        try:
            with reading(self._engine) as connection:
                found = _verified(connection, anchor, faults)
                if not self._with_sums or found.faults:
                    return found
                sums = table_sums(connection, after=None, up_to=found.chain_verified_to)
                return replace(found, table_sums=as_text(sums))
        except _Unreadable:
            return _unread(faults)
        except DatabaseFailure as error:
            # The very first page may be unreadable, and the connection fails before anything was asked.
            cause = error.__cause__
            if not isinstance(cause, exc.DBAPIError) or not is_damage(cause):
                raise
            faults.add("chain_broken", f"the ledger cannot be opened: {sentence_of(cause.orig)}")
            return _unread(faults)


def file_faults(engine: Engine) -> Integrity | None:
    """What is wrong with a SQLite ledger's file itself; None if nothing is. Call it before the file is opened."""
    faults = Faults()
    check_file(engine, faults)
    return _unread(faults) if faults else None


class _Unreadable(Exception):
    """The ledger cannot be read any further; the fault is noted."""


def _verified(connection: Connection, anchor: Anchor | None, faults: Faults) -> Integrity:
    walk: Walk | None = None

    def walked() -> Walk:
        nonlocal walk
        walk = Walk(connection, faults)
        walk.run()
        return walk

    _step(faults, "the file", lambda: check_structure(connection, faults))
    if faults:
        raise _Unreadable
    if anchor is not None:
        given = anchor
        _step(faults, "the chain", lambda: check_anchor(connection, given, faults))
    done = _step(faults, lambda: f"the journal {walk.position}" if walk else "the journal", walked)
    _step(faults, "the rules", lambda: check_rules(connection, faults))
    _step(faults, "the postings", lambda: check_balances(connection, faults))
    head = connection.execute(sa.select(schema.chain_head)).one_or_none()
    return Integrity(
        entries=done.entries,
        ledger_sequence=head.sequence if head else 0,
        chain_head=head.hash if head else "",
        chain_verified_to=done.verified_to,
        faults=faults.in_order(),
        payouts=done.payouts,
    )


def _step(faults: Faults, where: str | Callable[[], str], step: Callable[[], Result]) -> Result:
    """One step. What cannot be read is a fault, at the place named; an outage or a missing right stays what it is."""
    try:
        return step()
    except exc.DBAPIError as error:
        if not is_damage(error):
            raise
        place = where if isinstance(where, str) else where()
        faults.add("chain_broken", f"{place} cannot be read: {sentence_of(error.orig)}")
        raise _Unreadable from error


def _unread(faults: Faults) -> Integrity:
    return Integrity(entries=0, ledger_sequence=0, chain_head="", chain_verified_to=0, faults=faults.in_order())
