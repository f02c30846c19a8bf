"""Every setting: its name, unit, limits, default and the reason of the default.

Charter: :func:`load` reads one file and the mappings it is given, nothing else; no connection is opened and no
name is looked up. What is invalid cannot be built. Credentials are ``SecretStr`` and never reach an error message.
"""

from reconciler.config.load import load
from reconciler.config.models import LogSettings, Settings

__all__ = ["LogSettings", "Settings", "load"]
