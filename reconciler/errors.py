"""The errors of the reconciler. What is expected is a value; only these families are raised.

::

    ReconcilerError
    ├── DatabaseFailure      a database did not do what was asked; a daemon says so once and tries again
    │   ├── Outage           of the moment: it is away, busy or full; a command exits 3
    │   ├── Refused          a right, a table, a schema or a setting is missing: a command exits 2
    │   └── Defect           it does not take what this program asked of it: a command exits 70
    ├── InvariantBroken      our own check found what must never be: paying halts, exit 4
    ├── Halted               paying has stopped until a person resumes it: exit 4
    ├── LeaseLost            another daemon leads, or may: stop working and stand by
    ├── ConfigError          a setting is wrong: exit 2
    └── UsageError           the command cannot work as it was given: exit 2
        ├── NotMigrated      the ledger's schema is older than this program
        └── ClockOff         this host's clock is wrong, or the ledger's: nothing is posted until they agree

``str()`` of each is one sentence for a person, without credentials.
"""

from __future__ import annotations

from typing import Literal

from reconciler.redaction import redact

Database = Literal["mongodb", "ledger"]


class ReconcilerError(Exception):
    """The root of every error that this program raises on purpose."""


class DatabaseFailure(ReconcilerError):
    """A database did not do what was asked, and nothing of it was kept. Trying again does no harm.

    ``reason`` may quote a driver's message: credentials are struck out of it. ``is_answer``: the database is there and
    has refused this very work. Then a part of it may be to blame, and the rest may do.
    """

    def __init__(self, database: Database, reason: str, *, is_answer: bool = False) -> None:
        super().__init__(database, reason)
        self.database: Database = database
        self.reason = redact(reason)
        self.is_answer = is_answer

    @property
    def what(self) -> str:
        """What the database did, in a few words without the driver's, which may name hosts and roles."""
        return "did not do what was asked"

    @property
    def in_short(self) -> str:
        """What anybody may know."""
        name = "MongoDB" if self.database == "mongodb" else "The ledger's database"
        return f"{name} {self.what}"

    def __str__(self) -> str:
        return f"{self.in_short}: {self.reason}"


class Outage(DatabaseFailure):
    """A database is away, busy, full or just changing its role. It may do at the next try, without anybody's help.

    ``has_answered``: it is there, and has said why it cannot now.
    """

    def __init__(self, database: Database, reason: str, *, is_answer: bool = False, has_answered: bool = False) -> None:
        super().__init__(database, reason, is_answer=is_answer)
        self.has_answered = has_answered or is_answer

    @property
    def what(self) -> str:
        return "cannot do it now" if self.has_answered else "cannot be reached"


class Refused(DatabaseFailure):
    """A database will not do it until a person has done something there: a right, a table, a setting is missing.

    ``remedy`` says what to do, as a sentence without its full stop.
    """

    def __init__(self, database: Database, reason: str, remedy: str, *, is_answer: bool = False) -> None:
        super().__init__(database, reason, is_answer=is_answer)
        self.remedy = remedy

    @property
    def what(self) -> str:
        return "refuses this program something"

    def __str__(self) -> str:
        return f"{super().__str__().rstrip('.')}. {self.remedy}"


class Defect(DatabaseFailure):
    """A database does not take what this program asked of it: a constraint, a value, a statement."""

    @property
    def what(self) -> str:
        return "does not take what this program asked of it"

    def __str__(self) -> str:
        return f"{super().__str__().rstrip('.')}. This is a defect"


class InvariantBroken(ReconcilerError):
    """Something that must never happen did: nothing more may be paid until a person has looked.

    ``invariant`` is its name in docs/invariants.md, ``detail`` says what was found where.
    """

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(invariant, detail)
        self.invariant = invariant
        self.detail = redact(detail)

    def __str__(self) -> str:
        return f"The invariant {self.invariant} is broken: {self.detail}"


class Halted(ReconcilerError):
    """Paying has stopped, and a person has to resume it; ``since`` and ``cause`` are those of the halt."""

    def __init__(self, since: str, cause: str) -> None:
        super().__init__(since, cause)
        self.since = since
        self.cause = redact(cause)

    def __str__(self) -> str:
        return (
            f"Paying is halted since {self.since} ({self.cause}); when the cause is mended, run "
            "`python run.py resume --by NAME --reason TEXT`"
        )


class LeaseLost(ReconcilerError):
    """What a daemon began as the leader must not be committed: it no longer is, or can no longer know.

    Neither an outage nor a fault: another daemon does the work, and this one stands by. ``reason`` completes the
    sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = redact(reason)

    def __str__(self) -> str:
        return f"This daemon does not lead: {self.reason}"


class ConfigError(ReconcilerError):
    """A setting is unknown or invalid. The message names its key, where it came from and what is wrong."""


class UsageError(ReconcilerError):
    """The command cannot work as it was given: a wrong argument, or something has to be done first."""


class NotMigrated(UsageError):
    """The ledger's schema is not the one this program needs; ``run.py migrate`` brings it there."""


class ClockOff(UsageError):
    """This host and the ledger do not agree on the time: nothing is posted, and it is tried again.

    A usage error, and no outage: nothing is out of reach, and it does not pass without somebody who sets a clock.
    """
