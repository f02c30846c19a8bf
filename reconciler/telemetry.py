"""Logs: one line an event, to one stream, for people or for a collector, without credentials.

A line is a sentence, an action and ids::

    log = structlog.get_logger(__name__)
    log.info("paid a participation", action="payout_posted", payout_key=key)

Lines of libraries that use the standard library's logging go through the same formatter.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.stdlib import ProcessorFormatter

from reconciler.escaping import escaped
from reconciler.redaction import STRUCK, names_a_secret, redact

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

    from reconciler.config import LogSettings

__all__ = ["configure_logging", "redact"]

# Their information level logs every job and statement, and pymongo's debug level prints whole commands, documents
# included: no document is logged, so not even debug opens these.
_QUIET_LIBRARIES = (
    "alembic",
    "apscheduler",
    "asyncio",
    "httpcore",
    "httpx",
    "pymongo",
    "sqlalchemy",
    "urllib3",
    "uvicorn",
)

_PROSE = frozenset({"event", "exception", "stack"})

_PLAIN = (int, float, bool, type(None))


def configure_logging(settings: LogSettings, stream: TextIO) -> None:
    """Send structlog and the standard library's logging, warnings included, to ``stream`` (stderr) and nowhere else.

    May be called again; the last call counts. Tracebacks are rendered without local variables.
    """
    shared: tuple[Processor, ...] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    formatter = ProcessorFormatter(
        foreign_pre_chain=shared,
        # Redaction is the last step before rendering: whatever was added on the way passes it, tracebacks too.
        processors=[ProcessorFormatter.remove_processors_meta, redact_event, escape_event, _renderer(settings, stream)],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    root.setLevel(level)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(capture=True)


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that makes every value safe to print, at any depth.

    What is not plain data is turned into text first, since a renderer would print its ``repr`` unseen.
    """
    return {key: _safe(key, value) for key, value in event.items()}


def escape_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The structlog processor that escapes control characters and line breaks, so that no terminal obeys them."""
    return {
        key: escaped(value, keep="\n\t" if key in _PROSE else "") if isinstance(value, str) else value
        for key, value in event.items()
    }


def _safe(key: str, value: object) -> object:
    if isinstance(value, _PLAIN):
        return value
    if names_a_secret(key):
        return STRUCK
    if isinstance(value, Mapping):
        return {str(name): _safe(str(name), item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_safe(key, item) for item in value]
    if isinstance(value, BaseException):
        return redact(f"{type(value).__name__}: {value}")
    return redact(str(value))


def _renderer(settings: LogSettings, stream: TextIO) -> Processor:
    if settings.format == "json":
        return structlog.processors.JSONRenderer()
    if settings.format == "console" or stream.isatty():
        return ConsoleRenderer(colors=True, exception_formatter=plain_traceback)
    return _plain_line


def _plain_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """``2026-01-31T03:30:00Z info paid a participation action=payout_posted …``: for files and pipes."""
    timestamp, level, said = event.pop("timestamp", ""), event.pop("level", ""), event.pop("event", "")
    event.pop("logger", None)
    details: list[str] = [event.pop(name) for name in ("stack", "exception") if name in event]
    line = " ".join([str(timestamp), str(level), str(said), *(f"{key}={_word(event[key])}" for key in event)])
    return "\n".join([line, *details])


def _word(value: Any) -> str:
    text = str(value)
    return text if text and not any(sign.isspace() or sign in "\"'=" for sign in text) else repr(text)
