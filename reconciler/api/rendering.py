"""Pages from templates. Everything is escaped; a page loads nothing that this server does not serve."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from reconciler.clock import utc_text
from reconciler.look import text as look

HERE = Path(__file__).parent
STATIC = HERE / "static"

environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def when(value: Any, zone: str) -> Markup | str:
    """A time as people read it in their zone, with UTC to the second for who points at it; empty for nothing."""
    found = look.moment(value, look.zone_of(zone)) if value is not None else None
    if found is None:
        return "" if value is None else str(value)
    utc = found.astimezone(UTC)
    shown = f"{found.day} {found:%b, %H:%M:%S}" if _is_near(utc) else f"{found.day} {found:%b %Y, %H:%M}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc_text(utc), f"{utc:%Y-%m-%d %H:%M:%S} UTC", shown
    )


def _is_near(utc: datetime) -> bool:
    """Whether the year goes without saying: within half a year."""
    return abs((datetime.now(UTC) - utc).days) < 180


def _urlpart(value: Any) -> str:
    """A value as one part of a path or query."""
    return quote(str(value), safe="")


def _breakable(text: Any) -> Markup:
    """Text that may be broken after an underscore: names of rules are long."""
    return Markup(escape(text).replace("_", Markup("_<wbr>")))  # noqa: S704 - escaped just here


environment.filters.update(
    money=look.money,
    count=look.count,
    words=look.words,
    visible=look.visible,
    when=when,
    utc=utc_text,
    urlpart=_urlpart,
    breakable=_breakable,
)
environment.globals.update(plural=look.plural)


def render(request: Request, template: str, values: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
    """A page. Templates see ``request`` beside the values."""
    text = environment.get_template(template).render(request=request, **values)
    return HTMLResponse(text, status_code=status)
