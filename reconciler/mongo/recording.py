"""Recording in groups: one transaction a group, tried again where that is safe, and taken apart where one document
stops it.

The transaction is the whole of the guarantee: the counters, the budget and the idempotency keys of a group are
committed together by a majority, or not at all. Whoever is killed at any point leaves nothing half done.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pymongo
import structlog
from pymongo import ReadPreference
from pymongo.client_session import ClientSession
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from reconciler.backoff import Backoff
from reconciler.clock import Clock
from reconciler.domain.recording import Outcome, Recorded, RecordingRefusal, RefusedReport, ViewerReport
from reconciler.mongo.connection import WRITE_TIMEOUT_MS, Connection
from reconciler.mongo.recording_group import NotFoundAgain, RecordingGroup

log = structlog.get_logger(__name__)

CONFLICTS_MAX = 5
"""Tries until a group counts as stopped by a document that somebody else is changing: some 50 ms."""
APART_S_MAX = 1.0
"""How long a group is taken apart to find the document that stops it, while other reports wait."""

ABORT_S_MAX = 1.0
"""How long a server may take to abort a transaction, beyond the deadline of a group."""

_LEFT_S_MIN = 0.001
_CONFLICT_PAUSES = Backoff(first_s=0.004, max_s=1.0)
_OUTAGE_PAUSE_S = 0.1
_TRANSIENT = "TransientTransactionError"
_UNKNOWN = "UnknownTransactionCommitResult"
# WriteConflict, LockTimeout, LockBusy; a key that another daemon stored meanwhile.
_CONFLICTS = frozenset({112, 24, 46, 11000})
# Of one document: validation, size, depth, an immutable field, an index's own rules.
_REJECTIONS = frozenset({2, 9, 14, 15, 66, 121, 10334, 16766, 17280, 17419, 17420})


class GroupRecorder:
    """The :class:`reconciler.ports.recording.Recorder` on MongoDB, which has to be a replica set."""

    def __init__(self, connection: Connection, group: RecordingGroup, *, deadline_s: float, clock: Clock) -> None:
        self._client = connection.client
        self._group = group
        self._deadline_s = deadline_s
        self._clock = clock
        self._is_out = False

    def record(self, reports: Sequence[ViewerReport]) -> list[Outcome]:
        """Record some reports together. Returns an outcome for each, in their order, and raises no driver's error."""
        return self._record(list(reports), time.monotonic() + self._deadline_s, None)

    def _record(self, reports: list[ViewerReport], deadline: float, apart_until: float | None) -> list[Outcome]:
        written = self._try(reports, deadline)
        if not isinstance(written, RecordingRefusal):
            return written
        tokens = sorted({report.token for report in reports})
        if written not in (RecordingRefusal.BUSY, RecordingRefusal.REJECTED) or len(tokens) == 1:
            return [RefusedReport(refusal=written)] * len(reports)
        if apart_until is None:
            apart_until = time.monotonic() + APART_S_MAX
        if time.monotonic() >= apart_until:
            return [RefusedReport(refusal=RecordingRefusal.BUSY)] * len(reports)
        # One document that cannot be changed must not hold up the others.
        first = set(tokens[: len(tokens) // 2])
        halves = ([one for one in reports if one.token in first], [one for one in reports if one.token not in first])
        answers = [iter(self._record(half, deadline, apart_until)) for half in halves]
        return [next(answers[0 if report.token in first else 1]) for report in reports]

    def _try(self, reports: list[ViewerReport], deadline: float) -> list[Outcome] | RecordingRefusal:
        """Outcomes of a transaction that is committed; or why there is none."""
        conflicts_count = 0
        while True:
            try:
                outcomes = self._once(reports, deadline)
            except NotFoundAgain:
                return RecordingRefusal.REJECTED
            except PyMongoError as error:
                refusal = _refusal_of(error)
                if refusal is RecordingRefusal.REJECTED:
                    return refusal
                if refusal is RecordingRefusal.BUSY:
                    conflicts_count += 1
                    if conflicts_count >= CONFLICTS_MAX:
                        return refusal
                    # Two that run into each other must not do so in step for ever.
                    time.sleep(_CONFLICT_PAUSES.delay_s(conflicts_count) * random.uniform(0.5, 1))  # noqa: S311
                    continue
                self._say_out(error)
                if not error.has_error_label(_TRANSIENT) or time.monotonic() + _OUTAGE_PAUSE_S >= deadline:
                    return RecordingRefusal.UNAVAILABLE
                time.sleep(_OUTAGE_PAUSE_S)
            else:
                self._say_back()
                return outcomes

    def _once(self, reports: list[ViewerReport], deadline: float) -> list[Outcome]:
        with self._client.start_session() as session:
            try:
                # The deadline covers every wait below: for a server, for an answer, for a majority. (0 is no limit.)
                with pymongo.timeout(max(deadline - time.monotonic(), _LEFT_S_MIN)):
                    session.start_transaction(
                        read_concern=ReadConcern("snapshot"),
                        write_concern=WriteConcern("majority", wtimeout=WRITE_TIMEOUT_MS),
                        read_preference=ReadPreference.PRIMARY,
                    )
                    outcomes = self._group.write(reports, session, self._clock())
                    is_committed = self._commit(session, deadline)
            finally:
                _abort_unfinished(session)
        return outcomes if is_committed else _unknown(reports, outcomes)

    def _commit(self, session: ClientSession, deadline: float) -> bool:
        """True once a majority has it; False when nobody says. Raises what says that it was not committed."""
        while True:
            try:
                session.commit_transaction()
            except PyMongoError as error:
                if error.has_error_label(_TRANSIENT):
                    raise
                self._say_out(error)
                # Asking again is safe: the server answers for this very transaction.
                if not error.has_error_label(_UNKNOWN) or time.monotonic() + _OUTAGE_PAUSE_S >= deadline:
                    return False
                time.sleep(_OUTAGE_PAUSE_S)
            else:
                return True

    def _say_out(self, error: PyMongoError) -> None:
        if not self._is_out:
            self._is_out = True
            log.warning(
                "MongoDB does not take what is recorded",
                action="recording_out",
                error=type(error).__name__,
                code=error.code if isinstance(error, OperationFailure) else None,
            )

    def _say_back(self) -> None:
        if self._is_out:
            self._is_out = False
            log.info("MongoDB takes what is recorded again", action="recording_back")


def _abort_unfinished(session: ClientSession) -> None:
    """Let go of the documents of a transaction that will not be committed, whatever is left of the deadline.

    Past it the driver would not even send the abort, and the server would keep the documents from everybody until it
    gives the transaction up by itself, after a minute.
    """
    if session.in_transaction:
        # Errors of an abort are swallowed by the driver: there is nothing to be done about them.
        with pymongo.timeout(ABORT_S_MAX):
            session.abort_transaction()


def _unknown(reports: Sequence[ViewerReport], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Outcomes of a transaction of which nobody says whether it was committed: only what was known before it holds."""
    in_question = {
        report.key
        for report, outcome in zip(reports, outcomes, strict=True)
        if isinstance(outcome, Recorded) and not outcome.replayed and report.key is not None
    }
    unknown = RefusedReport(refusal=RecordingRefusal.OUTCOME_UNKNOWN)
    return [
        # The answer to the same key later in the group repeats what may not have happened.
        unknown if report.key in in_question or (isinstance(outcome, Recorded) and not outcome.replayed) else outcome
        for report, outcome in zip(reports, outcomes, strict=True)
    ]


def _refusal_of(error: PyMongoError) -> RecordingRefusal:
    if isinstance(error, ConnectionFailure):
        return RecordingRefusal.UNAVAILABLE
    codes = _codes(error)
    if codes & _CONFLICTS:
        return RecordingRefusal.BUSY
    return RecordingRefusal.REJECTED if codes & _REJECTIONS else RecordingRefusal.UNAVAILABLE


def _codes(error: PyMongoError) -> set[int]:
    """The server's codes: one of the command, or one of each write of a bulk."""
    if not isinstance(error, OperationFailure):
        return set()
    details = error.details or {}
    codes = {write["code"] for write in details.get("writeErrors", ())}
    return codes | ({error.code} if error.code is not None else set())
