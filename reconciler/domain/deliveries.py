"""Delivering an event to an endpoint, as plain data: what can become of an attempt, and when the next one is due."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from math import ceil

from reconciler.backoff import Backoff


class Answer(StrEnum):
    """What became of one attempt, in the order in which it is asked."""

    DELIVERED = "delivered"
    """Any 2xx."""
    GONE = "gone"
    """410: the receiver wants nothing any more."""
    REDIRECTED = "redirected"
    """Any 3xx: never followed, since nobody configured where it leads."""
    REFUSED = "refused"
    """Any other status."""
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    """No connection, no TLS, or no HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where events go; every one of ``secrets`` signs. Neither those nor the URL are shown by accident."""

    name: str
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent: a body, and the identity that receivers deduplicate by."""

    event_id: str
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer, with the HTTP status if there was one."""

    answer: Answer
    status_code: int | None = None


def answer_of_status(status_code: int) -> Answer:
    """What an HTTP status means."""
    if 200 <= status_code < 300:
        return Answer.DELIVERED
    if status_code == 410:
        return Answer.GONE
    return Answer.REDIRECTED if 300 <= status_code < 400 else Answer.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long to wait after each failed attempt; after ``attempts_max`` attempts a delivery is given up."""

    backoff: Backoff
    attempts_max: int

    def wait(self, attempts: int, chance: float) -> timedelta | None:
        """How long to wait after the ``attempts``-th attempt failed, or None: it was the last.

        ``chance`` lies in [0, 1) and takes up to a quarter off, so that what failed together does not come back
        together.
        """
        if attempts >= self.attempts_max:
            return None
        return timedelta(milliseconds=ceil(self.backoff.delay_s(attempts) * (1000 - 250 * chance)))
