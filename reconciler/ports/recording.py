"""Where impressions and clicks are counted. ``reconciler.mongo`` implements it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from reconciler.domain.recording import Outcome as RecordingOutcome
from reconciler.domain.recording import ViewerReport


class Recorder(Protocol):
    """Where reports of impressions and clicks are counted."""

    def record(self, reports: Sequence[ViewerReport]) -> Sequence[RecordingOutcome]:
        """Record some reports together, each whole or not at all; an outcome for each, in their order.

        Raises nothing: an outage is a refusal of each report it met. Not for two threads at once.
        """
        ...
