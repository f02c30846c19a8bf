"""The lease: which daemon's loops run. A row with an epoch that only grows, judged by the database's clock alone.

Safety never rests on it: keys and the ledger's lock make a second payment impossible. It spares two daemons from doing
the same work, and its epoch keeps out one that slept through its own replacement (the *fence*).

Times are written by the database too (:mod:`reconciler.ledger.database_clock`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reconciler.errors import LeaseLost
from reconciler.ledger.database_clock import NOW, database_now
from reconciler.ledger.engine import reading, writing
from reconciler.ledger.revisions import known_revisions, require_compatible
from reconciler.ledger.schema import leases

PAYING = "paying"
"""The lease of all periodic work, such as sweeps, checks and deliveries: one daemon does all of it."""

CHECKING = "full_check"
"""The lease of the full check, in whatever process it runs: never two at once."""

_UNTIL = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now', '+' || :ttl_s || ' seconds') || '000'",
    "postgresql": "clock_timestamp() + make_interval(secs => CAST(:ttl_s AS double precision))",
}
_FAR = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now', '+' || (:ttl_s * 4) || ' seconds') || '000'",
    "postgresql": "clock_timestamp() + 4 * make_interval(secs => CAST(:ttl_s AS double precision))",
}
"""No lease reaches so far: a clock was wrong when it was taken, or the row was edited."""
_TTL_MAX = {"sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 hour') || '000'", "postgresql": "now() + interval '1h'"}
_LONG_PAST = {"sqlite": "'1970-01-01 00:00:00.000000'", "postgresql": "to_timestamp(0)"}
_GIVEN_BACK_YEAR = 1970
_HELD = "SELECT 1 FROM leases WHERE name = :name AND expires_at > {now} AND expires_at < {ttl_max}"
_LOCK = {"sqlite": "", "postgresql": " FOR SHARE"}

_ACQUIRE = """
INSERT INTO leases (name, holder, epoch, expires_at) VALUES (:name, :holder, 1, {until})
ON CONFLICT (name) DO UPDATE SET
    holder = excluded.holder,
    expires_at = {until},
    epoch = leases.epoch + CASE WHEN leases.holder <> excluded.holder OR leases.expires_at < {now} THEN 1 ELSE 0 END
WHERE leases.holder = excluded.holder OR leases.expires_at < {now} OR leases.expires_at > {far}
RETURNING epoch
"""
_RESIGN = "UPDATE leases SET expires_at = {long_past} WHERE name = :name AND holder = :holder AND epoch = :epoch"
_FENCE = "SELECT 1 FROM leases WHERE name = :name AND holder = :holder AND epoch = :epoch{lock}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseState:
    """Who has a lease, for people to read. ``expires_in_s``: by the database's clock; below zero nobody has it."""

    holder: str
    epoch: int
    expires_at: datetime
    expires_in_s: float

    @property
    def is_held(self) -> bool:
        """Whether it had not expired."""
        return self.expires_in_s > 0

    @property
    def was_given_back(self) -> bool:
        """Whether its last holder let go by itself; then nobody knows when it would have expired."""
        return self.expires_at.year <= _GIVEN_BACK_YEAR


def lease_state(connection: Connection, name: str) -> LeaseState | None:
    """Who has a lease, or had it last; None before it was first taken."""
    row = connection.execute(sa.select(leases).where(leases.c.name == name)).one_or_none()
    if row is None:
        return None
    expires_in_s = (row.expires_at - database_now(connection)).total_seconds()
    return LeaseState(
        holder=row.holder, epoch=row.epoch, expires_at=row.expires_at, expires_in_s=round(expires_in_s, 3)
    )


@dataclass(frozen=True, slots=True)
class _Term:
    """What a thread works under: the epoch in which it began, and whether it may still go on by our own clock."""

    epoch: int
    may_go_on: Callable[[], bool]


class Lease:
    """A lease as one holder takes, keeps and returns it.

    Every process draws a ``holder`` of its own: two must never share one.
    """

    def __init__(self, engine: Engine, *, name: str, holder: str, ttl: timedelta) -> None:
        self.engine = engine
        self._who = {"name": name, "holder": holder}
        self._ttl_s = f"{ttl.total_seconds():.3f}"
        self._known = known_revisions()
        self._epoch: int | None = None
        self._of_thread = threading.local()

    def acquire(self) -> int | None:
        """Take the lease, or renew it; returns the epoch, or None while another holder has it.

        A lease that reaches far beyond ``ttl`` counts as expired: a clock was wrong when it was written. The epoch
        grows when the lease changes hands, and when it had expired even if nobody else took it: work that was begun
        before must not go on. Raises NotMigrated when the ledger was migrated beyond this program.
        """
        with writing(self.engine) as connection:
            require_compatible(connection, self._known)
            found = connection.execute(_in_dialect(connection, _ACQUIRE), {**self._who, "ttl_s": self._ttl_s})
            self._epoch = found.scalar_one_or_none()
        return self._epoch

    def resign(self) -> None:
        """Let go: whoever asks next has it. The row stays, and with it the epoch."""
        epoch, self._epoch = self._epoch, None
        if epoch is None:
            return
        with writing(self.engine) as connection:
            connection.execute(_in_dialect(connection, _RESIGN), {**self._who, "epoch": epoch})

    def holder(self) -> str | None:
        """Who had it last, for people to read; None before the first."""
        query = sa.select(leases.c.holder).where(leases.c.name == self._who["name"])
        with reading(self.engine) as connection:
            return connection.execute(query).scalar_one_or_none()

    @contextmanager
    def term(self, may_go_on: Callable[[], bool] = lambda: True) -> Iterator[int]:
        """Have this thread work as the holder, under the present epoch, until the block ends.

        The fence asks ``may_go_on`` too. Raises LeaseLost where the lease is not held.
        """
        epoch = self._epoch
        if epoch is None:
            raise LeaseLost("the lease is not held")
        self._of_thread.term = _Term(epoch, may_go_on)
        try:
            yield epoch
        finally:
            self._of_thread.term = None

    def fence(self, connection: Connection) -> None:
        """Check that the term of this thread is not over, right after a payment's lock. Raises LeaseLost.

        Until the transaction ends nobody can take the lease over or renew it (PostgreSQL locks the row, SQLite
        everything), so keep it short. A thread without a term does what a person asked for, and needs no lease.
        """
        term: _Term | None = getattr(self._of_thread, "term", None)
        if term is None:
            return
        found = connection.execute(_in_dialect(connection, _FENCE), {**self._who, "epoch": term.epoch})
        if found.one_or_none() is None:
            raise LeaseLost(f"the lease has changed hands since this was begun (epoch {term.epoch})")
        if not term.may_go_on():
            raise LeaseLost(f"the lease was not renewed in time (epoch {term.epoch})")


def is_held(connection: Connection, name: str) -> bool:
    """Whether anybody holds a lease at this moment."""
    return connection.execute(_in_dialect(connection, _HELD), {"name": name}).one_or_none() is not None


def _in_dialect(connection: Connection, statement: str) -> sa.TextClause:
    dialect = connection.dialect.name
    words = {"now": NOW, "until": _UNTIL, "far": _FAR, "ttl_max": _TTL_MAX, "long_past": _LONG_PAST, "lock": _LOCK}
    return sa.text(statement.format(**{name: by_dialect[dialect] for name, by_dialect in words.items()}))
