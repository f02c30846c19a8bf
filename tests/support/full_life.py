"""The life of one participation, from its campaign's funding to the refund of the rest, as steps that may be repeated.

Whoever repeats a step does it as a person or a daemon does after a crash: it looks at what is there, and does what is
still to be done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from bson.objectid import ObjectId
from sqlalchemy.engine import Engine

from app.parts import Parts, parts_of
from jobs.check.options import CheckOptions
from jobs.payment.repaying import Repaying
from reconciler.clock import utc_now
from reconciler.config import load
from reconciler.domain.ids import DocumentId
from reconciler.errors import UsageError
from reconciler.ledger import schema
from reconciler.ledger.journal.decisions import Signature
from reconciler.ports.journal import BatchStamp
from tests.support.ledger import ToldClock
from tests.support.platform import Platform

SIGNED = Signature(by="asha", reason="a life")
SETTINGS: Mapping[str, object] = {
    "payout.hold_days": 3,
    "payout.refund_grace_days": 10,
    "payout.platform_fee_bps": 1000,
    "payout.approval_threshold": {"INR": "3000"},
}


class Life:
    """A campaign of 5000.00 and one participation in it that is due 3300.00. ``born_on``: the day of its first step."""

    def __init__(self, platform: Platform, *, born_on: int) -> None:
        self.born_on = born_on
        self.campaign_id = platform.campaign(targetImpressions=2000, budget=5000)
        self.participation_id = str(platform.participation(self.campaign_id))

    def ledger_rows(self, engine: Engine) -> dict[str, Sequence[object]]:
        """What the ledger holds of it, without what no two lives have in common."""
        participation, campaign = f"oid:{self.participation_id}", f"oid:{self.campaign_id}"
        tables = {
            schema.entries: ("kind", "reason", "corrects"),
            schema.payouts: ("payout_key", "kind", "amount_minor", "fee_minor", "rule", "trigger"),
            schema.fundings: ("n", "budget_minor", "amount_minor"),
            schema.hold_events: ("event", "reason", "amount_minor"),
        }
        found: dict[str, Sequence[object]] = {}
        with engine.connect() as connection:
            for table, names in tables.items():
                rows = connection.execute(sa.select(table).where(table.c.campaign_id == campaign)).mappings()
                found[table.name] = sorted(repr([self._plain(row[name]) for name in names]) for row in rows)
            is_mine = schema.decisions.c.subject.contains(participation)
            decided = connection.execute(sa.select(schema.decisions.c.kind).where(is_mine)).scalars()
            found["decisions"] = sorted(decided)
            escrow = schema.accounts.c.account == f"campaign:{campaign}:escrow"
            found["escrow"] = list(
                connection.execute(sa.select(schema.accounts.c.balance_minor).where(escrow)).scalars()
            )
        return found

    def documents(self, platform: Platform) -> dict[str, object]:
        """What MongoDB shows of it, likewise."""
        participation = platform.read("campaignparticipations", ObjectId(self.participation_id))
        wallet = platform.wallet_of(ObjectId(self.participation_id))
        lines = platform.database["transactions"].find({"campaignId": self.campaign_id})
        keys = platform.database["gkeys"].find({"lockedWith": str(self.campaign_id)})
        shared = ("balance", "withdrawableBalance", "heldBalance", "totalEarnings")
        return {
            "participation": [participation.get(name) for name in ("status", "finalEarningsTransferred")],
            "campaign": platform.read("campaigns", self.campaign_id)["status"],
            "wallet": [wallet[name] for name in shared],
            "lines": sorted(
                repr([line.get("type"), line.get("transactionType"), line.get("amount")]) for line in lines
            ),
            "keys": sorted(str(key["status"]) for key in keys),
        }

    def _plain(self, value: object) -> object:
        return value.replace(self.participation_id, "P") if isinstance(value, str) else value


@contextmanager
def opened(settings: Mapping[str, object]) -> Iterator[tuple[Parts, list[int]]]:
    """The product, and by how many days its clocks are ahead: a list of one number, which may be changed."""
    days = [0]

    def clock() -> datetime:
        return utc_now() + timedelta(days=days[0])

    with parts_of(load(None, {}, dict(settings)), clock=clock, ledger_clock=ToldClock(clock)) as parts:
        yield parts, days


def _sweep(parts: Parts, _participation_id: str) -> None:
    parts.sweep.step("test")


def _approve(parts: Parts, participation_id: str) -> None:
    subject = f"payout:oid:{participation_id}:1"
    query = sa.select(schema.decisions.c.batch).where(schema.decisions.c.subject == subject)
    with parts.engine.connect() as connection:
        if connection.execute(query).first() is not None:
            return
    parts.decisions.approve(subject, SIGNED)


def _keep_house(parts: Parts, _participation_id: str) -> None:
    parts.housekeeping.step()


def _reverse(parts: Parts, participation_id: str) -> None:
    # Refused where it was done before.
    with suppress(UsageError):
        parts.decisions.reverse(f"payout:oid:{participation_id}:1", SIGNED)


def _repay(parts: Parts, participation_id: str) -> None:
    repaying = Repaying(deciding=parts.deciding, post=parts.journal.repay, clock=parts.clock)
    with suppress(UsageError):
        chosen, stamp = DocumentId.from_tagged(f"oid:{participation_id}"), BatchStamp(run_id="repay", trigger="repay")
        _, sequences = repaying.repay(chosen, SIGNED.by, SIGNED.reason, stamp)
        parts.projector.project(sequences)


def _check(parts: Parts, _participation_id: str) -> None:
    # As if the lease of a check that died had expired: on the database's own clock, which no test moves.
    with parts.engine.begin() as connection:
        connection.execute(sa.delete(schema.leases))
    report, _ = parts.full_check.step(CheckOptions(trigger="test"))
    assert report.breaks_by_kind() == {}, report.breaks_by_kind()


CHECK = "full check"
STEPS: Mapping[str, tuple[int, Callable[[Parts, str], Any]]] = {
    "fund, and hold for approval": (0, _sweep),
    "approve": (0, _approve),
    "pay, and complete the campaign": (0, _sweep),
    "release": (4, _keep_house),
    "reverse": (5, _reverse),
    "show the reversal": (5, _sweep),
    "repay": (6, _repay),
    "show the repayment": (6, _sweep),
    "release again": (10, _keep_house),
    "refund": (20, _keep_house),
    CHECK: (20, _check),
}
"""What is done → the day on which, and how."""


LASTS_DAYS = 30


def take(step: str, parts: Parts, days: list[int], participation_id: str, born_on: int) -> None:
    """Do one step, on its day of that life."""
    day, do = STEPS[step]
    days[0] = born_on + day
    do(parts, participation_id)
