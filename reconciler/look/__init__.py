"""How things look to people, wherever they are shown: on pages, in reports, on a terminal.

Charter: text and style only. Nothing here reads a database or a file of data; who draws pages loads :data:`STYLES`.
"""

from __future__ import annotations

from pathlib import Path

STYLES = Path(__file__).parent / "css"
"""Where the style sheets lie that reports include and pages link to."""
