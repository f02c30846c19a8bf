"""What every error of MongoDB is, by its codes and labels: of the moment, refused, or ours. None halts."""

from __future__ import annotations

import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidOperation,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
    WTimeoutError,
)

from reconciler.errors import Defect, Outage, Refused
from reconciler.mongo.driver_errors import OF_THE_MOMENT, OURS, REFUSED, failure_of


def refused_write(*codes: int, concern: bool = False) -> BulkWriteError:
    writes = [{"index": 0, "code": code, "errmsg": f"the server's words of {code}"} for code in codes]
    return BulkWriteError({"writeErrors": writes, "writeConcernErrors": [{"code": 64}] if concern else []})


def labelled(label: str) -> OperationFailure:
    return OperationFailure("label", 121, {"errorLabels": [label]})


@pytest.mark.parametrize(
    ("error", "family", "is_answer"),
    [
        (OperationFailure("not authorized", 13), Refused, False),
        (OperationFailure("Authentication failed.", 18), Refused, False),
        (OperationFailure("Atlas", 8000), Refused, False),
        (OperationFailure("ns does not exist", 26), Refused, True),
        (OperationFailure("index not found", 27), Refused, True),
        (OperationFailure("no query solutions", 291), Refused, True),
        (OperationFailure("Document failed validation", 121), Refused, True),
        (OperationFailure("hint provided does not correspond to an existing index", 2), Refused, False),
        (OperationFailure("unknown operator", 2), Defect, True),
        (OperationFailure("$round only supports numeric types", 16554), Defect, True),
        (OperationFailure("the document is too large", 17419), Defect, True),
        (DocumentTooLarge("too large"), Defect, True),
        (OperationFailure("interrupted", 11601), Outage, True),
        (OperationFailure("E11000 duplicate key", 11000), Outage, True),
        (OperationFailure("a code of tomorrow", 99999), Outage, True),
        (OperationFailure("operation exceeded time limit", 50), Outage, False),
        (ExecutionTimeout("exceeded", 50), Outage, False),
        (OperationFailure("ExceededTimeLimit", 262), Outage, False),
        (OperationFailure("no disk space", 14031), Outage, False),
        (WTimeoutError("waiting for replication timed out", 64), Outage, False),
        (WriteConcernError("not enough members", 100), Outage, False),
        (labelled("RetryableWriteError"), Outage, False),
        (labelled("TransientTransactionError"), Outage, False),
        (refused_write(121), Refused, True),
        (refused_write(121, concern=True), Outage, False),
        (refused_write(concern=True), Outage, False),
        (refused_write(112), Outage, False),
        (NotPrimaryError("not primary", {"code": 10107}), Outage, False),
        (ConfigurationError("Sessions are not supported by this MongoDB deployment"), Outage, False),
        (AutoReconnect("connection closed"), Outage, False),
        (NetworkTimeout("timed out"), Outage, False),
        (ServerSelectionTimeoutError("No servers found yet"), Outage, False),
        (InvalidOperation("Cannot use MongoClient after close"), Outage, False),
    ],
)
def test_each_error_is_what_its_code_says(error: PyMongoError, family: type, is_answer: bool) -> None:
    failure = failure_of(error)
    assert (type(failure), failure.is_answer) == (family, is_answer)


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        (AutoReconnect("connection closed"), True),
        (ServerSelectionTimeoutError("No servers found yet"), True),
        (NotPrimaryError("not primary"), False),
        (WTimeoutError("waiting for replication timed out", 64), False),
        (OperationFailure("a code of tomorrow", 99999), False),
        (ConfigurationError("Sessions are not supported by this MongoDB deployment"), False),
    ],
)
def test_only_a_server_that_does_not_answer_cannot_be_reached(error: PyMongoError, is_away: bool) -> None:
    assert ("cannot be reached" in str(failure_of(error))) is is_away


def test_of_a_bulk_write_the_servers_words_are_told() -> None:
    assert "the server's words of 121" in str(failure_of(refused_write(121)))


def test_the_cause_is_told_and_not_the_query_before_it() -> None:
    words = (
        "error processing query: ns=x.y\n{ campaignId: 7 }\n planner returned error :: caused by :: hint provided no"
    )
    assert str(failure_of(OperationFailure(words, 2))).startswith(
        "MongoDB refuses this program something: hint provided no. Run `python run.py migrate`"
    )


def test_no_code_stands_in_two_tables() -> None:
    assert not OURS & OF_THE_MOMENT
    assert not set(REFUSED) & (OURS | OF_THE_MOMENT)
