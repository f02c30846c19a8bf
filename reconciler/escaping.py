"""What a terminal would obey instead of showing. Imports nothing, so that every layer may use it."""

from __future__ import annotations


def escaped(text: str, *, keep: str = "") -> str:
    """Text with escapes for what cannot be seen: control characters (ESC, C1), and those that turn the reading order.

    Whoever names a document could else clear a screen, or have an amount read backwards. ``keep``: characters that
    stand for themselves, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in keep else one.encode("unicode_escape").decode("ascii") for one in text
    )
