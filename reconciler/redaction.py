"""Keeping credentials out of everything people read: logs, errors, reports.

Imports nothing, so that every layer may use it. It prefers to strike out too much: what is struck out can be
looked up in the configuration, what was printed cannot be taken back.
"""

from __future__ import annotations

import re

STRUCK = "***"

_SENSITIVE = (
    r"password|passwd|passphrase|(?<![a-z])pass(?![a-z])|pwd|secret|token|credential|signature|api[-_.]?key"
    r"|access[-_.]?key|authorization|authmechanismproperties"
)
_SENSITIVE_KEY = re.compile(_SENSITIVE, re.IGNORECASE)

# A name is looked at once, from its beginning, and never given back: time stays linear in the text's length.
_PARAMETER = re.compile(
    rf"""(?<![\w.%-])(?=[\w.%-]*?(?:{_SENSITIVE}))([\w.%-]++\s?=\s?)(?:'[^']*'(?![^&\s])|"[^"]*"(?![^&\s])|[^&\s]+)""",
    re.IGNORECASE,
)
_RUN = re.compile(r"\S+")


def redact(text: str) -> str:
    """The text without user names and passwords of URLs, and without values of password-like parameters.

    ``mongodb://app:pw@db1/?authSource=admin`` becomes ``mongodb://***@db1/?authSource=admin``; parameters of
    libpq's ``host=db password=pw`` are struck out too.
    """
    if "://" in text:
        text = _RUN.sub(_without_userinfo, text)
    if "=" in text:
        text = _PARAMETER.sub(rf"\1{STRUCK}", text)
    return text


def names_a_secret(key: str) -> bool:
    """Whether a value under this key is a secret whatever it looks like: ``password``, ``browserSourceToken``."""
    return _SENSITIVE_KEY.search(key) is not None


def _without_userinfo(run: re.Match[str]) -> str:
    # Up to the *last* @ of the run: a password typed unescaped may itself hold @, / or a quote.
    before, at, host = run[0].rpartition("@")
    scheme, separator, _ = before.partition("://")
    if not at or not separator:
        return run[0]
    if _PARAMETER.search(f"{before}{at}"):
        # The @ may stand inside the parameter's value, and then what follows is no host but the rest of it.
        return f"{scheme}{separator}{STRUCK}"
    return f"{scheme}{separator}{STRUCK}@{host}"
