"""Recovering an older copy of the ledger: payments that MongoDB shows and this copy lacks are posted again.

What no document shows was never projected, and is found by the next sweep as due. The wallet's own memory of the
ledger keeps a payment that is posted again from being credited twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.deciding import Deciding, unsettled
from reconciler.domain.batch import Outcome
from reconciler.domain.decision import Decision, Due
from reconciler.domain.ids import DocumentId
from reconciler.domain.ledger_snapshot import Lost, PayoutRequest
from reconciler.ports.history import StatementLine
from reconciler.ports.journal import BatchStamp, Poster, PostingBatch

_HOLD = "earnings_hold"
_PAYMENTS = frozenset({"earnings_credit", _HOLD})
_RELEASE = "earnings_release"
_REVERSAL = "earnings_reversal"


class Traces(Protocol):
    """What MongoDB shows of this ledger's past."""

    def own_lines(self) -> Iterator[Sequence[StatementLine]]:
        """Statement lines that this program wrote, in pages."""
        ...

    def wallet_versions(self) -> Iterator[tuple[str, str, int]]:
        """(streamer, currency, version) of everything that wallets say they have seen."""
        ...


@dataclass(slots=True, kw_only=True)
class Recovery:
    """What a recovery did. ``unresolved``: payments MongoDB shows that could not be posted again, and why."""

    posted: int = 0
    released: int = 0
    reversed: int = 0
    versions_raised: int = 0
    unresolved: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovering:
    """Recovers. ``poster`` posts also while paying is halted, for this is what ends the halt.

    ``release`` and ``reverse`` do again what was done to the payout of a key before; False where there is nothing to
    do. ``raise_versions`` raises the ledger's counters that lie at or below what wallets have seen, by streamer and
    currency, and returns how many.
    """

    deciding: Deciding
    poster: Poster
    traces: Traces
    release: Callable[[str], bool]
    reverse: Callable[[str], bool]
    raise_versions: Callable[[Mapping[tuple[str, str], int]], int]
    hold_days: timedelta

    def recover(self, stamp: BatchStamp) -> Recovery:
        """Post what is lacking. Raises Outage or InvariantBroken; may be run again."""
        result = Recovery()
        freed: list[str] = []
        taken_back: list[str] = []
        for page in self.traces.own_lines():
            self._recover_page([line for line in page if line.statement_type in _PAYMENTS], stamp, result)
            freed += [line.payout_key for line in page if line.statement_type == _RELEASE]
            taken_back += [line.payout_key for line in page if line.statement_type == _REVERSAL]
        # After all payments, whatever page these stood on: else what was taken back would be given again. Releases come
        # first: a payout is taken back from where it lay.
        result.released = sum(self.release(payout_key) for payout_key in sorted(freed))
        result.reversed = sum(self.reverse(payout_key) for payout_key in sorted(taken_back))
        # A wallet whose payment is still lacking would give it back with its next projection: nothing is raised then.
        if result.unresolved:
            return result
        seen: dict[tuple[str, str], int] = {}
        for streamer_id, currency, version in self.traces.wallet_versions():
            seen[streamer_id, currency] = version
        result.versions_raised = self.raise_versions(seen)
        return result

    def _recover_page(self, lines: Sequence[StatementLine], stamp: BatchStamp, result: Recovery) -> None:
        known_keys = self.deciding.ledger.existing_keys([line.payout_key for line in lines])
        lost: dict[DocumentId, list[StatementLine]] = defaultdict(list)
        for line in sorted(lines, key=lambda one: one.payout_key):
            if line.payout_key not in known_keys:
                lost[line.participation_id].append(line)
        if not lost:
            return
        page = self.deciding.facts.read(sorted(lost))
        requests = []
        for decision in self.deciding.decide_beyond(page, unsettled).decisions:
            for line in lost.pop(decision.participation.participation_id):
                why = _why_not(decision, line)
                if why is not None:
                    result.unresolved.append(f"{line.payout_key}: {why}")
                elif isinstance(decision, Due):
                    n = int(line.payout_key.rpartition(":")[2])
                    requests.append(
                        PayoutRequest(due=decision, facts_at=page.facts_at, n=n, lost=self._lost(line, page.facts_at))
                    )
        result.unresolved += [f"{one.payout_key}: its participation is gone" for own in lost.values() for one in own]
        if requests:
            outcomes = self.poster.post(PostingBatch(requests=requests), stamp).outcomes
            result.posted += sum(outcome is Outcome.NEW for outcome in outcomes.values())
            result.unresolved += [
                f"{key}: {outcome.value}" for key, outcome in outcomes.items() if outcome is not Outcome.NEW
            ]

    def _lost(self, line: StatementLine, read_at: datetime) -> Lost:
        """When its days are over counts from the line: money that people hold must not be locked again."""
        if line.statement_type != _HOLD:
            return Lost(release_at=None)
        return Lost(release_at=(line.at or read_at) + self.hold_days)


def _why_not(decision: Decision, line: StatementLine) -> str | None:
    """What keeps a payment that MongoDB shows from being posted again; None when nothing does."""
    if not isinstance(decision, Due):
        return f"{decision.reason.value} {decision.detail}".rstrip()
    if (decision.net_minor, decision.terms.currency) != (line.amount_minor, line.currency):
        return f"shows {line.amount_minor} minor units of {line.currency}, computed now {decision.net_minor}"
    return None
