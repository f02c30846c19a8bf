"""Identities of documents, and the permanent keys of what is posted about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from reconciler.domain.parsing import Unreadable, kind_of, parse_text

ID_LENGTH_MAX = 200
"""Longest string identity accepted. An index entry in PostgreSQL holds 2,704 bytes; a longer one would fail the
whole batch, and one document may never stop the others."""


class IdKind(StrEnum):
    """The BSON type of an identity; part of it, since an ObjectId and a string of the same hex differ."""

    OBJECT_ID = "oid"
    STRING = "str"


@dataclass(frozen=True, slots=True, order=True)
class DocumentId:
    """Identity of a document, with its type: ``oid:64b…`` and ``str:64b…`` are two documents."""

    kind: IdKind
    value: str

    @property
    def tagged(self) -> str:
        """The form that stands in keys and in the ledger: ``oid:<hex>`` or ``str:<text>``."""
        return f"{self.kind.value}:{self.value}"

    @property
    def made_at(self) -> datetime | None:
        """When an ObjectId was made: its first four bytes are seconds. None for text."""
        if self.kind is not IdKind.OBJECT_ID:
            return None
        return datetime.fromtimestamp(int(self.value[:8], 16), UTC)

    @classmethod
    def from_tagged(cls, text: str) -> DocumentId:
        """Read :attr:`tagged` back. Raises ValueError on text that this program never wrote."""
        kind, _, value = text.partition(":")
        return cls(IdKind(kind), value)

    def __str__(self) -> str:
        """Plain hex or text, as people write it and as reports show it."""
        return self.value


def plain_id(tagged: str) -> str:
    """A tagged identity without its kind, as reports show it; empty for an empty text. Raises ValueError."""
    return DocumentId.from_tagged(tagged).value if tagged else ""


def tie_break(tagged: str) -> tuple[bool, str]:
    """Sort key of a tagged identity that agrees with MongoDB's order of ``_id``: strings before ObjectIds."""
    return tagged.startswith(f"{IdKind.OBJECT_ID.value}:"), tagged


def parse_id(value: object) -> DocumentId | Unreadable:
    """An identity as it came from a document: a :class:`DocumentId`, or a non-empty string."""
    if isinstance(value, DocumentId):
        return value
    if value is None:
        return Unreadable("is missing")
    if type(value) is not str:
        return Unreadable(f"is a {kind_of(value)}, not an ObjectId or a string")
    if not value:
        return Unreadable("is an empty string")
    if len(value) > ID_LENGTH_MAX:
        return Unreadable(f"is longer than {ID_LENGTH_MAX} characters")
    text = parse_text(value)
    return text if isinstance(text, Unreadable) else DocumentId(IdKind.STRING, text)


def payout_key(participation_id: DocumentId, n: int) -> str:
    """Permanent key of the ``n``-th payout of a participation. ``n`` is 1 but for repayments by a person."""
    return f"payout:{participation_id.tagged}:{n}"


def fund_key(campaign_id: DocumentId, n: int) -> str:
    """Permanent key of the ``n``-th movement between a brand's funding and a campaign's escrow."""
    return f"fund:{campaign_id.tagged}:{n}"


def payout_fingerprint(
    *, participation_id: DocumentId, campaign_id: DocumentId, streamer_id: str, currency: str, n: int
) -> str:
    """SHA-256 over a payout's identity, and only that.

    The facts it was decided on are left out on purpose: viewers go on counting while two sweeps race, and the
    one that comes second must find that *its* payout exists, whatever it had computed.
    """
    identity = "\n".join((participation_id.tagged, campaign_id.tagged, streamer_id, currency, str(n)))
    return hashlib.sha256(identity.encode()).hexdigest()


def statement_line_id(entry_key: str) -> str:
    """Hex ObjectId of the ``transactions`` line of an entry: the first 12 bytes of SHA-256 of its key."""
    return hashlib.sha256(entry_key.encode()).hexdigest()[:24]
