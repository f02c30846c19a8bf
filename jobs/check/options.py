"""What a full check is asked for, and what it says while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.process.running import Interrupted, RunInProgress

Progress = Callable[[int, int], None]
"""Called with how many participations were checked, and about how many there are."""

SECTION = "full_check"
"""Where the status board shows a check."""


class Stopped(Interrupted):
    """The check was asked to end before it was through; nothing is reported, and a later one goes on from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """``campaign_id``: only this campaign (plain identity). ``trigger``: who asked, kept with what is repaired.

    ``report_id``: what the report is to be called, where it was announced already.
    """

    trigger: str
    dry_run: bool = False
    campaign_id: str | None = None
    report_id: str | None = None
    is_halted: bool = False
    """Paying is halted: the check says so, whatever it finds."""
    remembers: bool = True
    """False: breaks are compared with those remembered, and not kept. A rehearsal that a person asked for; a check that
    repairs nothing because paying is off or halted does see what is there, and remembers it."""
    writes_progress: bool = False
    """Whether progress is written into the ledger's database. A rehearsal holds that database's lock, on SQLite against
    this very process too: then progress is written when the rehearsal is over."""

    def report_id_of(self, run: RunInProgress) -> str:
        """The identity announced, or one of the time and the run."""
        return self.report_id or f"{run.record.started_at:%Y%m%dT%H%M%SZ}-{run.run_id[:8]}"
