"""Settings of recording: how much one report may count, how fast, and when completion is looked at."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from reconciler.config import checks
from reconciler.config.section import Seconds, Section, Whole
from reconciler.domain.recording import COUNT_MAX


class RecordingSettings(Section):
    """How impressions and clicks are taken in."""

    count_max: Whole = Field(default=COUNT_MAX, ge=1, le=COUNT_MAX)
    """Largest count of one report: what viewers did since the last one, and no more can be claimed at once."""
    milestones: Annotated[str, AfterValidator(checks.milestones)] = "50:1000, 100:10000, 500"
    """Impressions at which completion is looked at beside the target itself: every 50 up to 1,000, every 100 up to
    10,000, every 500 beyond. A look at each would cost more than recording it. Empty: at the target only."""
    token_per_s_max: Whole = Field(default=20, ge=0, le=1_000_000)
    """Reports a second of one token, on the long run: an overlay reports about once a second. 0: no limit."""
    impressions_per_minute_max: Whole = Field(default=6_000, ge=0, le=1_000_000_000)
    """Impressions a minute of one token, whatever the reports that carry them; what was not used of a minute may come
    at once. Fits one overlay: each second what a hundred viewers saw. Whoever has the overlay's URL could else report
    a target's worth in a second, and be paid for it. Higher where one overlay has more viewers; 0: no limit."""
    token_burst_max: Whole = Field(default=100, ge=1, le=1_000_000)
    """Reports of one token at once: what an overlay sends after its network was away for a while."""
    address_per_s_max: Whole = Field(default=200, ge=0, le=1_000_000)
    """Reports a second of one address, on the long run, with whatever tokens: many streamers behind one network, but
    nobody who tries tokens out. Higher, or 0 (no limit), where the platform's own servers report for everybody."""
    address_burst_max: Whole = Field(default=1000, ge=1, le=1_000_000)
    """Reports of one address at once."""
    group_max: Whole = Field(default=500, ge=1, le=5_000)
    """Reports that are written together at most: bounds how long one transaction is open."""
    queue_max: Whole = Field(default=10_000, ge=1, le=1_000_000)
    """Reports that wait at most; more are told to come again. Bounds memory while MongoDB is away."""
    deadline_s: Seconds = 15
    """Seconds until a report that MongoDB did not take is given up: longer than an election (about 12)."""
    key_ttl_s: Seconds = 86_400
    """Seconds for which an idempotency key is remembered: a day, as clients expect. Each takes some 250 bytes."""

    @model_validator(mode="after")
    def _a_report_fits(self) -> Self:
        if 0 < self.impressions_per_minute_max < self.count_max:
            raise ValueError("must have an impressions_per_minute_max of count_max or more, or 0 for no limit")
        return self
