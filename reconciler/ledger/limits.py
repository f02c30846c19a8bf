"""How long a wait for the ledger's database may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long waits may take, in seconds."""

    answer_s: float = 5
    """Without a result, before the server is asked whether it works on the statement."""
    lock_s: float = 15
    """For a lock."""
    hold_s: float = 15
    """For which a session of ours may hold a lock that others wait for, while its own process sends nothing."""
    statement_s: float = 900
    """For the server to work on one statement."""
    idle_s: float = 300
    """Between two statements of a transaction."""

    @classmethod
    def within(cls, wait_max_s: float, statement_s: float, hold_s: float | None = None) -> Limits:
        """Limits for a wait of ``wait_max_s`` for a lock: it is asked who holds the lock before the wait ends."""
        return cls(
            answer_s=min(cls.answer_s, wait_max_s / 3),
            lock_s=wait_max_s,
            hold_s=wait_max_s if hold_s is None else hold_s,
            statement_s=statement_s,
        )

    def settings(self) -> dict[str, str]:
        """The settings of a session. Options in the URL override these."""
        return {
            "statement_timeout": f"{self.statement_s * 1000:.0f}",
            "lock_timeout": f"{self.lock_s * 1000:.0f}",
            "idle_in_transaction_session_timeout": f"{self.idle_s * 1000:.0f}",
            # No compiling of plans: one of many short questions looks dear enough for it, and is over sooner.
            "jit": "off",
        }
