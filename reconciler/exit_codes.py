"""What the exit code of the process means. Cron jobs and monitors depend on these numbers: they never change."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    CLEAN = 0
    """Nothing is wrong, or all that was wrong has been repaired. Also a sweep that holds some, and SIGTERM."""
    BREAKS = 1
    """An open break that nobody acknowledged, of severity warning or above, remains."""
    USAGE = 2
    """Configuration or usage: the command cannot work as it was given. Also a ledger that is not migrated."""
    UNREACHABLE = 3
    """A database could not be reached within its bounded wait."""
    HALTED = 4
    """A broken invariant stopped paying, and a person has to look."""


UNEXPECTED = 70
"""A defect of this program (sysexits' EX_SOFTWARE): none of the codes with a promise behind them."""
