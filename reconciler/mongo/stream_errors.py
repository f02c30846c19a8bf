"""Classifies errors of the driver and the server by what the watch has to do about them.

All other errors are classified by :mod:`reconciler.mongo.driver_errors`.

Sources: the driver specification of change streams (what a driver resumes by itself never comes here), and what
Debezium, mongo-kafka, Airbyte, PowerSync and Meteor had to learn; ``docs/watch.md`` has the table.
"""

from __future__ import annotations

from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from reconciler.mongo.driver_errors import FORBIDDEN, first_line
from reconciler.ports.watch import FailureKind, StreamFailure

NO_CHANGE_STREAMS = frozenset(
    {
        40573,  # the $changeStream stage is only supported on replica sets
        40324,  # unrecognised pipeline stage: a server without change streams
    }
)
POSITION_LOST = {
    136: "capped_position_lost",
    260: "invalid_token",
    280: "fatal_stream_error",
    286: "history_lost",
    10334: "event_too_large",
    40647: "invalid_token",
    50811: "invalid_token",
}
"""Code → reason. One remedy for all: nothing can be gone on from, so open at now and look at everything."""
TOKEN_UNREADABLE = frozenset({2, 9, 14, 15, 40415, 50795})
"""What a server answers to a token that is none. Without a token the same codes mean that it refuses the pipeline."""
REFUSED = frozenset({2, 9, 14, 15, 20, 59, 72, 115, 40415})
"""The server has understood, and does not take it: asking again at once gives the same answer."""


def classify(error: PyMongoError, *, has_token: bool) -> StreamFailure:
    """Classify an error. An unknown one is transient: trying again later is never wrong, only slow."""
    detail = first_line(error)
    if not isinstance(error, OperationFailure):
        reason = "connection" if isinstance(error, ConnectionFailure) else type(error).__name__
        return StreamFailure(kind=FailureKind.TRANSIENT, reason=reason, detail=detail)
    code = error.code or 0
    if isinstance(error, ConnectionFailure):
        return StreamFailure(kind=FailureKind.TRANSIENT, reason="connection", detail=detail)
    if code in NO_CHANGE_STREAMS:
        return StreamFailure(kind=FailureKind.UNSUPPORTED, reason="no_change_streams", detail=detail)
    if code in FORBIDDEN:
        return StreamFailure(kind=FailureKind.FORBIDDEN, reason="no_privilege", detail=detail)
    if code in POSITION_LOST:
        return StreamFailure(kind=FailureKind.POSITION_LOST, reason=POSITION_LOST[code], detail=detail)
    if error.has_error_label("NonResumableChangeStreamError") or (has_token and code in TOKEN_UNREADABLE):
        return StreamFailure(kind=FailureKind.POSITION_LOST, reason="invalid_token", detail=detail)
    if code in REFUSED:
        return StreamFailure(kind=FailureKind.REFUSED, reason=f"code_{code}", detail=detail)
    return StreamFailure(kind=FailureKind.TRANSIENT, reason=f"code_{code}", detail=detail)
