"""What an error of MongoDB is: of the moment, refused, or ours. One table, by the server's codes and labels.

What stands in no table is of the moment: trying again is never wrong, only slow. ``is_answer`` then says that the very
work was refused, so that whoever does much at once can find out which part of it is to blame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from bson.errors import InvalidBSON
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    InvalidOperation,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from reconciler.errors import DatabaseFailure, Defect, Outage, Refused

LOGIN = "Mend the user and the password in mongodb.uri, or grant this user its roles (docs/operations.md)"
INDEX = "Run `python run.py migrate`, which makes the indexes, and look whether one of them is hidden"
MISSING = "Look at mongodb.database and mapping: is the collection where they say?"
VALIDATION = "The collection's validator or an index of it forbids what has to be written there: relax it"
UNDECODABLE = "Write the document anew: a field of it has a length that contradicts itself"
SERVER = "The server is too old for this program, or its settings forbid it (docs/operations.md)"

FORBIDDEN = frozenset({13, 18, 31, 8000})
"""Unauthorized, AuthenticationFailed, RoleNotFound, AtlasError."""

REFUSED: Mapping[int, str] = {
    **dict.fromkeys(FORBIDDEN, LOGIN),
    11: LOGIN,  # UserNotFound
    26: MISSING,  # NamespaceNotFound
    73: MISSING,  # InvalidNamespace
    166: MISSING,  # CommandNotSupportedOnView
    27: INDEX,  # IndexNotFound
    291: INDEX,  # NoQueryExecutionPlans: a hint that fits no index
    85: INDEX,  # IndexOptionsConflict
    86: INDEX,  # IndexKeySpecsConflict
    121: VALIDATION,  # DocumentValidationFailure
    59: SERVER,  # CommandNotFound
    115: SERVER,  # CommandNotSupported
    303: SERVER,  # a feature that its compatibility version lacks
}
"""Code → what a person has to do."""

OURS = frozenset({2, 9, 14, 15, 16, 17, 22, 40, 52, 54, 56, 57, 66, 10334, 16554, 17280, 17419, 17420, 40415})
"""BadValue, FailedToParse, TypeMismatch and their like: an update or a query that a server does not take."""

OF_THE_MOMENT = frozenset(
    {
        *(24, 43, 46, 50, 64, 72, 112, 202, 251, 262, 290, 292),  # time, locks and memory
        *(63, 133, 134, 146, 150, 175, 225, 239, 246, 267, 365, 462, 13388),  # a cluster or a snapshot that moved on
        *(91, 189, 10058, 10107, 11600, 11602, 13435, 13436),  # another primary, or none now
        14031,  # OutOfDiskSpace
    }
)
"""Another document in their place would have got the same."""

_HINT = "hint provided"
"""BadValue says it of an index that is not there, and of much else."""

_CAUSED_BY = ":: caused by ::"
_NO_SESSIONS = "Sessions are not supported"


def failure_of(error: PyMongoError) -> DatabaseFailure:
    """A driver's error, as one of our families."""
    reason = first_line(error)
    if isinstance(error, OperationFailure) and not isinstance(error, ConnectionFailure):
        return _of_answer(error, reason)
    if isinstance(error, DocumentTooLarge):
        return Defect("mongodb", reason, is_answer=True)
    if isinstance(error, InvalidOperation):
        return Outage("mongodb", f"the connection was closed: {reason}")
    # A connection of before a server became a replica set has no sessions: it ends, and the next one has.
    has_answered = isinstance(error, NotPrimaryError) or is_without_sessions(error)
    return Outage("mongodb", reason, has_answered=has_answered)


def blames_the_work(error: PyMongoError) -> bool:
    """Whether the server has refused what was asked, and would refuse it again."""
    return failure_of(error).is_answer


def is_without_sessions(error: PyMongoError) -> bool:
    """Whether a connection was made while its server was neither a replica set nor ready to be read."""
    return isinstance(error, ConfigurationError) and _NO_SESSIONS in str(error)


def _of_answer(error: OperationFailure, reason: str) -> DatabaseFailure:
    codes = codes_of(error)
    if _is_of_the_moment(error, codes):
        return Outage("mongodb", reason, has_answered=True)
    is_answer = not codes & FORBIDDEN
    remedies = [REFUSED[code] for code in sorted(codes) if code in REFUSED]
    if _HINT in reason:
        remedies, is_answer = [INDEX], False
    if remedies:
        return Refused("mongodb", reason, remedies[0], is_answer=is_answer)
    if codes & OURS:
        return Defect("mongodb", reason, is_answer=True)
    return Outage("mongodb", reason, is_answer=True)


def codes_of(error: OperationFailure) -> set[int]:
    """The server's codes: of a bulk write, those of its writes."""
    details = error.details or {} if isinstance(error, BulkWriteError) else {}
    codes = {one.get("code", 0) for one in details.get("writeErrors", ())}
    return codes or {error.code or 0}


def _is_of_the_moment(error: OperationFailure, codes: set[int]) -> bool:
    """Also where the write was done, and no majority said so in time: doing it again changes nothing."""
    if error.has_error_label("RetryableWriteError") or error.has_error_label("TransientTransactionError"):
        return True
    # Of what was written beside a refused write nobody knows then whether it stays, so all of it is done again.
    if isinstance(error, WriteConcernError) or (error.details or {}).get("writeConcernErrors"):
        return True
    return bool(codes & OF_THE_MOMENT)


def first_line(error: PyMongoError) -> str:
    """The driver's message without the description of the topology and the full server answer behind it.

    Of a bulk write, what the server says of the first write that it refused: the driver only says that some were.
    """
    text = str(error)
    if isinstance(error, BulkWriteError):
        said = [one.get("errmsg", "") for one in (error.details or {}).get("writeErrors", ())]
        text = said[0] if said and said[0] else text
    text = text.split(", full error:")[0].split(", Topology Description:")[0].split(" (configured timeouts:")[0]
    lines = text.strip().splitlines()
    if len(lines) > 1 and _CAUSED_BY in text:
        # The query stands first, as a tree of many lines with what was asked for; the cause is what comes last.
        lines = text.rsplit(_CAUSED_BY, maxsplit=1)[-1].strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into a :class:`DatabaseFailure`."""
    try:
        yield
    except PyMongoError as error:
        raise failure_of(error) from error
    except InvalidBSON as error:
        # Of all that came with it: whoever asked halves what was asked for until the document is alone.
        raise Refused("mongodb", f"a document cannot be decoded: {error}", UNDECODABLE, is_answer=True) from error
