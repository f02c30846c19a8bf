"""What the test page shows: a participation, its campaign and its streamer's wallet."""

from __future__ import annotations

from reconciler.clock import utc_text
from reconciler.mongo.trials import TrialReader
from reconciler.queries import Document
from reconciler.queries.identities import UnknownName, identities_of


def trial_document(reader: TrialReader, text: str) -> Document | None:
    """The three documents of the participation that a text names, as they are now; None where there is none."""
    try:
        identities = identities_of(text)
    except UnknownName:
        return None
    for identity in identities:
        found = reader.look(identity)
        if found is not None:
            completed_at = found["participation"]["completed_at"]
            found["participation"]["completed_at"] = utc_text(completed_at) if completed_at else None
            return found | {"participation_id": identity.value}
    return None
