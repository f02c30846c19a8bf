"""Writes that MongoDB refuses. Each keeps the server's reason, so that it holds up no other write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pymongo import UpdateMany, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, OperationFailure

from reconciler.errors import Refused
from reconciler.mongo.connection import Document
from reconciler.mongo.driver_errors import blames_the_work
from reconciler.redaction import redact

WORDS_MAX = 300
REMEDY = "Correct the document, or the rule or right that refuses it"
_NO_RIGHT = 13


class WriteRefusal(str):
    """Why MongoDB refuses a write, in its own words: without secrets, and not longer than anybody reads."""

    __slots__ = ()

    @classmethod
    def of(cls, error: Mapping[str, Any]) -> WriteRefusal:
        """Make one from an error in the server's answer."""
        text = redact(" ".join(str(error.get("errmsg", "")).split()))
        return cls(f"{text[:WORDS_MAX]} (code {error.get('code')})")


def write_each(
    collection: Collection[Document], updates: Sequence[UpdateOne | UpdateMany]
) -> tuple[int, dict[int, WriteRefusal]]:
    """Write in one bulk; returns how many documents matched, and place → why that update is refused.

    The others are written all the same. Raises the driver's error where all of it failed, or another try may do.
    """
    if not updates:
        return 0, {}
    try:
        return collection.bulk_write(list(updates), ordered=False).matched_count, {}
    except BulkWriteError as error:
        return int(error.details["nMatched"]), refused_places(error)


def refused_places(error: BulkWriteError) -> dict[int, WriteRefusal]:
    """Place in the bulk → why that update is refused. Raises the error where another try may do."""
    if not blames_the_work(error):
        raise error
    return {one["index"]: WriteRefusal.of(one) for one in error.details["writeErrors"]}


def refusal_of(error: OperationFailure) -> WriteRefusal | None:
    """Why a whole command is refused, a missing right among the reasons; None where another try may do."""
    if error.code != _NO_RIGHT and not blames_the_work(error):
        return None
    details: dict[str, Any] = {**(error.details or {}), "code": error.code}
    return WriteRefusal.of((details.get("writeErrors") or [details])[0])


@contextmanager
def in_its_words() -> Iterator[None]:
    """Raise a refused write as :class:`Refused` (``is_answer``), with MongoDB's message as its reason."""
    try:
        yield
    except OperationFailure as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        raise Refused("mongodb", refusal, REMEDY, is_answer=True) from error
