"""Every setting: its name, unit, limits, default and the reason of the default.

Charter: :func:`load` reads one file and the mappings it is given, nothing else; no connection is opened and no
name is looked up. What is invalid cannot be built. Credentials are ``SecretStr`` and never reach an error message.
"""

from reconciler.config.api import ApiSettings
from reconciler.config.load import load
from reconciler.config.mapping import (
    CampaignFields,
    Collections,
    GKeyFields,
    MappingSettings,
    ParticipationFields,
    TransactionFields,
    WalletFields,
)
from reconciler.config.models import (
    CompletionSettings,
    FullCheckSettings,
    HousekeepingSettings,
    LedgerSettings,
    LogSettings,
    MongodbSettings,
    PayoutSettings,
    ProjectionSettings,
    ReportsSettings,
    Settings,
    SweepSettings,
)
from reconciler.config.recording import RecordingSettings

__all__ = [
    "ApiSettings",
    "CampaignFields",
    "Collections",
    "CompletionSettings",
    "FullCheckSettings",
    "GKeyFields",
    "HousekeepingSettings",
    "LedgerSettings",
    "LogSettings",
    "MappingSettings",
    "MongodbSettings",
    "ParticipationFields",
    "PayoutSettings",
    "ProjectionSettings",
    "RecordingSettings",
    "ReportsSettings",
    "Settings",
    "SweepSettings",
    "TransactionFields",
    "WalletFields",
    "load",
]
