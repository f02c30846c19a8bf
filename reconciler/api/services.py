"""What a route works with, found at the application that serves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.convertors import Convertor, register_url_convertor

from reconciler.api.auth import Authenticator
from reconciler.api.check_requesting import CheckRequesting
from reconciler.api.context import ApiContext
from reconciler.api.database_health import DatabaseHealth
from reconciler.api.offload import Offload
from reconciler.api.pages.flashes import Flashes
from reconciler.api.pages.summary_cache import SummaryCache
from reconciler.api.streams import OpenStreams


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What requests share: the context, the threads on which it may be used, who may come in, and open streams."""

    context: ApiContext
    offload: Offload
    authenticator: Authenticator
    streams: OpenStreams
    check_requests: CheckRequesting
    ledger_health: DatabaseHealth
    mongodb_health: DatabaseHealth
    summaries: SummaryCache
    flashes: Flashes


def services_of(request: Request) -> Services:
    """The services of the application that serves a request."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


ServicesOf = Annotated[Services, Depends(services_of)]


class _Identity(Convertor[str]):
    """``{key:identity}`` in an address: whatever a document is named by, also what ``path`` lacks, line breaks."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor("identity", _Identity())
