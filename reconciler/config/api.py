"""The API's section: where it listens, what it takes, and whom it knows."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from reconciler.config import checks
from reconciler.config.recording import RecordingSettings
from reconciler.config.section import Seconds, Section, Whole

JWT_SECRET_BYTES_MIN = 32
"""What HMAC-SHA-256 needs (RFC 7518, 3.2): a shorter secret is guessed offline from one token."""

_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


class ApiKey(Section):
    """A key that somebody holds, as we know it."""

    name: str
    """Who acts with it; kept with every decision."""
    role: Literal["viewer", "admin"]
    """viewer reads, admin acts."""
    sha256: str
    """SHA-256 of the key in hex: the key itself is written down nowhere."""


def parse_api_keys(value: object) -> list[ApiKey]:
    """Keys as a list of sections, or as text ``name:role:sha256,name:role:sha256``. Raises ValueError."""
    if isinstance(value, str):
        parts = [one.strip().split(":") for one in value.strip("[] ").split(",") if one.strip()]
        value = [dict(zip(("name", "role", "sha256"), part, strict=False)) for part in parts]
    if not isinstance(value, list):
        raise ValueError("must be a list of keys, each with name, role and sha256")
    keys = [one if isinstance(one, ApiKey) else _api_key(one) for one in value]
    if len({key.name for key in keys}) < len(keys):
        raise ValueError("must name each key differently, since the name is kept with what its holder decides")
    return keys


def _api_key(value: object) -> ApiKey:
    if not isinstance(value, dict) or set(value) != {"name", "role", "sha256"}:
        raise ValueError("must give each key exactly name, role and sha256, as `run.py apikey new` prints them")
    name, role, digest = (str(value[part]) for part in ("name", "role", "sha256"))
    if not _KEY_NAME.fullmatch(name):
        raise ValueError("must name keys with up to 64 letters, digits, dots, underscores and hyphens")
    if not _SHA256.fullmatch(digest):
        raise ValueError(f"must give the key {name} a sha256 of 64 small hex digits")
    match role:
        case "viewer" | "admin":
            return ApiKey(name=name, role=role, sha256=digest)
    raise ValueError(f"must give the key {name} the role viewer or admin")


def _texts(value: object) -> object:
    """A list; from the environment, text with commas."""
    return [one.strip() for one in value.strip("[] ").split(",") if one.strip()] if isinstance(value, str) else value


def _origins(value: list[str]) -> list[str]:
    for one in value:
        parts = urlsplit(one)
        if parts.scheme not in {"http", "https"} or not parts.netloc or one != f"{parts.scheme}://{parts.netloc}":
            raise ValueError("must list origins such as https://app.example.com, without a path and without *")
    return value


def _host(value: str) -> str:
    if not checks.is_address(value) and not _HOST_NAME.fullmatch(value):
        raise ValueError("must be an IP address or a host name")
    return value


def _jwt_secret(value: SecretStr) -> SecretStr:
    if 0 < len(value.get_secret_value().encode()) < JWT_SECRET_BYTES_MIN:
        raise ValueError(f"must have at least {JWT_SECRET_BYTES_MIN} bytes, since a shorter one can be guessed")
    return value


def _jwks_url(value: str) -> str:
    if not value:
        return value
    parts = urlsplit(value)
    is_local = parts.scheme == "http" and checks.is_loopback(parts.hostname or "")
    if (parts.scheme != "https" and not is_local) or not parts.hostname or parts.username is not None:
        raise ValueError("must be a https URL without credentials (http only on this machine)")
    return value


class ApiAuthSettings(Section):
    """Whom the API knows. Nothing of it set: anybody on this machine is an admin, and nobody else gets in."""

    jwt_secret: Annotated[SecretStr, AfterValidator(_jwt_secret)] = SecretStr("")
    """Secret of tokens signed with HS256, 32 bytes or more. Empty: no such token is taken."""
    jwks_url: Annotated[str, AfterValidator(_jwks_url)] = ""
    """Where the identity provider publishes its keys; tokens signed with RS256 or ES256 are checked against them.
    Empty: no such token is taken."""
    audience: str = ""
    """The aud that tokens must have. Needed with jwks_url: the provider signs tokens for other services too."""
    issuer: str = ""
    """The iss that tokens must have. Needed with jwks_url."""
    roles_claim: Annotated[str, Field(min_length=1, max_length=100)] = "roles"
    """The claim that holds admin or viewer, as text or in a list: identity providers name it differently."""
    api_keys: Annotated[list[ApiKey], BeforeValidator(parse_api_keys)] = Field(default_factory=list)
    """Keys for machines, made by `run.py apikey new`. In an environment variable: name:role:sha256,name:role:sha256."""

    @property
    def is_configured(self) -> bool:
        """Whether there is any way to authenticate."""
        return bool(self.jwt_secret.get_secret_value() or self.jwks_url or self.api_keys)

    @model_validator(mode="after")
    def _provider_is_pinned(self) -> Self:
        if self.jwks_url and not (self.audience and self.issuer):
            raise ValueError("must set audience and issuer with jwks_url, since a provider signs for others too")
        return self


class ApiSettings(Section):
    """The API and the pages, inside the daemon."""

    enabled: bool = False
    """Whether the daemon serves them. Off, so that a first run needs neither their packages nor a free port."""
    host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    """The address to listen on. Other machines reach it only when api.auth is set; without it, only a loopback address
    is taken."""
    port: Whole = Field(default=8080, ge=0, le=65_535)
    """The port; 0 takes a free one and logs it, for tests."""
    cors_origins: Annotated[list[str], BeforeValidator(_texts), AfterValidator(_origins)] = Field(default_factory=list)
    """Origins whose pages may call the API from a browser. Empty: browsers keep every other site away."""
    trusted_proxies: Annotated[str, AfterValidator(checks.networks)] = ""
    """Networks of the proxies whose X-Forwarded headers are believed, as 10.0.0.0/8, 192.0.2.7: behind one that speaks
    https, cookies are Secure and limits count the real caller. Empty: nobody's, since anybody can write them."""
    body_bytes_max: Whole = Field(default=65_536, ge=1_024, le=10_485_760)
    """Bytes of a request's body; more is refused. What is asked for in earnest takes a few hundred."""
    request_timeout_s: Seconds = 10
    """Seconds a request may take before it is answered with 504; streams of events are exempt. Longer than any answer
    takes when both databases are well."""
    threads_max: Whole = Field(default=8, ge=1, le=64)
    """Threads that ask the databases for the API, with connections of their own: what bounds how much it can take from
    the sweep."""
    recording: RecordingSettings = Field(default_factory=RecordingSettings)
    """How impressions and clicks are taken in."""
    test_page: bool = False
    """Whether /test records impressions by hand. Off: it is for trying things out."""
    auth: ApiAuthSettings = Field(default_factory=ApiAuthSettings)
    """Whom the API knows."""

    @model_validator(mode="after")
    def _strangers_stay_out(self) -> Self:
        if self.enabled and not self.auth.is_configured and not checks.is_loopback(self.host):
            raise ValueError(
                "must stay on a loopback host such as 127.0.0.1 until api.auth is set, since anybody who reaches it "
                "would be an admin"
            )
        return self
