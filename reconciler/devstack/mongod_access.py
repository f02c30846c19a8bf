"""Who may enter a mongod started with access control: its nodes by a shared key, a test by a name and a password."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from pymongo import MongoClient

if TYPE_CHECKING:
    from pathlib import Path

ADMIN = "devstack"
KEY_BYTES = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The key that the nodes of one replica set share and its first user's password, drawn anew for each."""

    key: str = field(default_factory=lambda: secrets.token_hex(KEY_BYTES), repr=False)
    admin_password: str = field(default_factory=lambda: secrets.token_hex(KEY_BYTES), repr=False)

    def write_key(self, file: Path) -> None:
        """mongod refuses a key that others could read."""
        file.write_text(self.key, encoding="ascii")
        file.chmod(0o600)

    @property
    def as_member(self) -> dict[str, Any]:
        """Arguments with which a client enters as the nodes do: it may do everything, before there is any user."""
        return {
            "username": "__system",
            "password": self.key,
            "authSource": "local",
            "authMechanism": "SCRAM-SHA-256",
        }

    def create_admin(self, client: MongoClient[dict[str, Any]]) -> None:
        """The user that the replica set's own URI names."""
        client.admin.command("createUser", ADMIN, pwd=self.admin_password, roles=["root"])


def credentials(user: str, password: str) -> str:
    """The part of a URI before the hosts. Users are kept in the database ``admin``, where a URI looks for them."""
    return f"{quote_plus(user)}:{quote_plus(password)}@"
