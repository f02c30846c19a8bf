"""The API's section."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from reconciler.config import checks
from reconciler.config.recording import RecordingSettings
from reconciler.config.section import Section


class ApiSettings(Section):
    """The API, inside the daemon."""

    trusted_proxies: Annotated[str, AfterValidator(checks.networks)] = ""
    """Networks of the proxies whose X-Forwarded-For is believed, as 10.0.0.0/8, 192.0.2.7. Empty: nobody's, since
    anybody can write that header."""
    recording: RecordingSettings = Field(default_factory=RecordingSettings)
    """How impressions and clicks are taken in."""
