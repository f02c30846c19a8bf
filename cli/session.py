"""What one call of the command line was given, before any command begins."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.config import Settings, load
from reconciler.telemetry import configure_logging


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Flags that every command shares."""

    config_path: Path | None
    overrides: Mapping[str, object]
    as_json: bool

    def settings(self, more: Mapping[str, object] | None = None) -> Settings:
        """The effective settings, with logging set up by them. Raises ConfigError."""
        settings = load(self.config_path, os.environ, {**self.overrides, **(more or {})})
        configure_logging(settings.log, sys.stderr)
        return settings
