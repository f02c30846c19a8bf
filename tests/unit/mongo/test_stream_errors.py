"""What each answer of the server asks of the watch, in order of precedence."""

from __future__ import annotations

import pytest
from pymongo.errors import (
    AutoReconnect,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from reconciler.mongo.stream_errors import classify
from reconciler.ports.watch import FailureKind

NOT_RESUMABLE: dict[str, object] = {"errorLabels": ["NonResumableChangeStreamError"]}


def answer(code: int, details: dict[str, object] | None = None) -> OperationFailure:
    return OperationFailure("no", code, details or {})


@pytest.mark.parametrize(
    ("error", "has_token", "kind", "reason"),
    [
        (AutoReconnect("gone"), True, FailureKind.TRANSIENT, "connection"),
        (NetworkTimeout("silent"), True, FailureKind.TRANSIENT, "connection"),
        (ServerSelectionTimeoutError("no primary"), False, FailureKind.TRANSIENT, "connection"),
        (NotPrimaryError("stepped down"), True, FailureKind.TRANSIENT, "connection"),
        (answer(286), True, FailureKind.POSITION_LOST, "history_lost"),
        (answer(286), False, FailureKind.POSITION_LOST, "history_lost"),
        (answer(280), True, FailureKind.POSITION_LOST, "fatal_stream_error"),
        (answer(260), True, FailureKind.POSITION_LOST, "invalid_token"),
        (answer(40647), True, FailureKind.POSITION_LOST, "invalid_token"),
        (answer(10334), True, FailureKind.POSITION_LOST, "event_too_large"),
        (answer(136), True, FailureKind.POSITION_LOST, "capped_position_lost"),
        (answer(9), True, FailureKind.POSITION_LOST, "invalid_token"),
        (answer(15), True, FailureKind.POSITION_LOST, "invalid_token"),
        (answer(9), False, FailureKind.REFUSED, "code_9"),
        (answer(40573), False, FailureKind.UNSUPPORTED, "no_change_streams"),
        (answer(40573), True, FailureKind.UNSUPPORTED, "no_change_streams"),
        (answer(40324), False, FailureKind.UNSUPPORTED, "no_change_streams"),
        (answer(13), True, FailureKind.FORBIDDEN, "no_privilege"),
        (answer(18), False, FailureKind.FORBIDDEN, "no_privilege"),
        (answer(20), False, FailureKind.REFUSED, "code_20"),
        (answer(43), True, FailureKind.TRANSIENT, "code_43"),
        (answer(26), False, FailureKind.TRANSIENT, "code_26"),
        (answer(123_456), True, FailureKind.TRANSIENT, "code_123456"),
        (answer(123_456, NOT_RESUMABLE), True, FailureKind.POSITION_LOST, "invalid_token"),
        (PyMongoError("?"), True, FailureKind.TRANSIENT, "PyMongoError"),
    ],
)
def test_classifying(error: PyMongoError, *, has_token: bool, kind: FailureKind, reason: str) -> None:
    failure = classify(error, has_token=has_token)
    assert (failure.kind, failure.reason) == (kind, reason)
    assert failure.detail
