"""What the API asks, answered by the parts: each class implements a Protocol of :mod:`reconciler.api.context`.

They work on parts of their own, with connections of their own: a slow reader at the API takes none from the sweep.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from app.page_ports import overview_document
from app.parts import Parts
from app.preparing import halting
from cli import payout_view
from cli.explain_command import document, tell
from cli.identities import identities_of, streamer_forms, tagged_forms
from cli.people_commands import hold_row
from reconciler.api.context import CheckTicket, Document, PayoutQuery
from reconciler.clock import utc_text
from reconciler.deciding import Deciding
from reconciler.domain.campaign import CampaignTerms
from reconciler.domain.decision import Due
from reconciler.domain.ids import DocumentId
from reconciler.domain.money import format_minor
from reconciler.domain.posted import PayoutStatus
from reconciler.errors import UsageError
from reconciler.ledger.engine import reading
from reconciler.ledger.journal.decisions import Signature
from reconciler.ledger.migrate import require_current
from reconciler.ledger.operations.check_requests import CheckRequest, CheckRequests
from reconciler.ledger.operations.overview import overview
from reconciler.ledger.reads.general_ledger import Period
from reconciler.ledger.reads.halts import current_halt
from reconciler.ledger.reads.participation_history import participation_history
from reconciler.ledger.reads.payout_list import PayoutFilter, payout_lines, payouts_of
from reconciler.mongo.connection import is_standalone
from reconciler.ports.facts import FactsPage
from reconciler.ports.hints import Hints
from reconciler.reports.payout_rows import PAYOUT_COLUMNS
from reconciler.reports.tables import record

_REPORT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SHOWN_OF_REPORT = (
    "report_id",
    "kind",
    "trigger",
    "as_of",
    "started_at",
    "finished_at",
    "duration_s",
    "dry_run",
    "verdict",
    "exit_code",
    "breaks_by_kind",
    "repairs",
)


@dataclass(frozen=True, slots=True)
class LedgerBooks:
    """The ledger, read."""

    parts: Parts

    def payouts(self, query: PayoutQuery) -> list[Document]:
        """Payouts and reversals, newest first. Who is not known to the ledger has none."""
        try:
            chosen = self._filter(query)
        except UsageError:
            return []
        lines = payout_lines(self.parts.engine, chosen)
        return [record(line, PAYOUT_COLUMNS) for line in lines]

    def payout(self, key: str) -> list[Document]:
        """All about the payouts that a key or a participation's identity names."""
        try:
            lines = payouts_of(self.parts.engine, key, tagged_forms(key))
        except UsageError:
            return []
        found = []
        for line in lines:
            history = participation_history(self.parts.engine, DocumentId.from_tagged(line.participation_id))
            found.append(payout_view.document(line, history))
        return found

    def explain(self, participation_id: str) -> Document | None:
        """Why a participation was paid or not."""
        try:
            told = tell(self.parts, participation_id)
        except UsageError:
            return None
        return document(told)

    def holds(self) -> list[Document]:
        """Payouts that wait."""
        return [hold_row(hold) for hold in self.parts.ledger.open_holds()]

    def halt(self) -> Document | None:
        """The halt that nobody has ended."""
        with reading(self.parts.engine) as connection:
            found = current_halt(connection)
        return None if found is None else {"since": utc_text(found.since), "cause": found.cause}

    def last_run(self, kind: str) -> Document | None:
        """The newest run of a kind that ended."""
        run = self.parts.runs.latest(kind)
        if run is None or run.finished_at is None:
            return None
        return {
            "run_id": run.run_id,
            "started_at": utc_text(run.started_at),
            "finished_at": utc_text(run.finished_at),
            "outcome": run.outcome or "",
            "counts": dict(run.counts),
        }

    def outbox(self) -> Mapping[str, int]:
        """How much is still to be told."""
        counts = self.parts.outbox.counts()
        return {"pending": counts.pending, "blocked": counts.blocked}

    def overview(self) -> Document:
        """How everything stands by the ledger."""
        return overview_document(overview(self.parts.engine))

    def require_ready(self) -> None:
        """Raises Outage, NotMigrated or UsageError."""
        require_current(self.parts.engine, makes=False)

    def _filter(self, query: PayoutQuery) -> PayoutFilter:
        return PayoutFilter(
            period=Period(since=query.since, until=query.until),
            campaigns=() if query.campaign is None else tagged_forms(query.campaign),
            streamer_id=None if query.streamer is None else streamer_forms(query.streamer)[-1],
            status=None if query.status is None else PayoutStatus(query.status),
            trigger=query.trigger,
            currency=query.currency,
            newest=query.limit,
            before=query.before,
        )


@dataclass(frozen=True, slots=True)
class CampaignFacts:
    """Campaigns as MongoDB and the ledger have them. ``hints`` take hints while this daemon leads."""

    parts: Parts
    hints: Hints

    def require_ready(self) -> None:
        """Raises Outage when MongoDB has no primary that answers."""
        is_standalone(self.parts.connection)

    def completion(self, campaign_id: str) -> Document | None:
        """How far a campaign is; by one snapshot of its participations."""
        identity = self._known(campaign_id)
        if identity is None:
            return None
        page = self.parts.facts.read_campaign(identity)
        campaign = self.parts.facts.campaigns([identity])[identity.tagged]
        shown: Document = {
            "campaignId": identity.value,
            "status": campaign.status,
            "asOf": utc_text(page.facts_at),
            "participations": len(page.participations),
            **self._decided(page),
        }
        if isinstance(campaign, CampaignTerms):
            paid_minor = self.parts.ledger.gross_paid_minor(identity)
            shown |= {
                "paymentType": campaign.payment_type.value,
                "currency": campaign.currency,
                "targetImpressions": campaign.target_impressions,
                "budgetMinor": campaign.budget_minor,
                "paidMinor": paid_minor,
                "paid": format_minor(paid_minor, campaign.currency),
            }
        else:
            shown["problems"] = [str(problem) for problem in campaign.problems]
        return shown

    def hint(self, campaign_id: str) -> bool:
        """Have the campaign looked at soon."""
        identity = self._known(campaign_id)
        if identity is None:
            return False
        self.hints.campaign(identity)
        return True

    def _known(self, text: str) -> DocumentId | None:
        try:
            identities = identities_of(text)
        except UsageError:
            return None
        found = self.parts.facts.campaigns(identities)
        return next((one for one in identities if one.tagged in found), None)

    def _decided(self, page: FactsPage) -> Document:
        parts = self.parts
        decisions = Deciding(facts=parts.facts, ledger=parts.ledger, policy=parts.policy).decide(page).decisions
        due_count, impressions, reasons = 0, 0, Counter[str]()
        for decision in decisions:
            counted = decision.participation.impressions
            impressions += counted if isinstance(counted, int) else 0
            if isinstance(decision, Due):
                due_count += 1
            else:
                reasons[decision.reason.value] += 1
        reasons["malformed"] += len(page.participations) - len(decisions)
        return {
            "impressions": impressions,
            "due": due_count,
            "notDue": {reason: count for reason, count in sorted(reasons.items()) if count},
            "isComplete": bool(decisions) and due_count == 0 and not (+reasons).keys() - _IS_SETTLED,
        }


_IS_SETTLED = frozenset({"already_paid", "reversed", "rejected_by_person", "settled_before_us", "forfeited"})


@dataclass(frozen=True, slots=True)
class PeopleDesk:
    """Decisions of people. ``wake``: called afterwards, so that what follows from one is not left to the next round."""

    parts: Parts
    wake: Callable[[], None]

    def approve(self, subject: str, by: str, reason: str, seen_minor: int | None = None) -> str:
        """Approve a payout that waits."""
        signed = Signature(by=by, reason=reason)
        return self._decided(lambda: self.parts.decisions.approve(subject, signed, seen_minor))

    def reject(self, subject: str, by: str, reason: str) -> str:
        """Reject a payout that waits."""
        signed = Signature(by=by, reason=reason)
        return self._decided(lambda: self.parts.decisions.reject(subject, signed))

    def reverse(self, payout_key: str, by: str, reason: str) -> str:
        """Take a payout back."""
        signed = Signature(by=by, reason=reason)
        return self._decided(lambda: self.parts.decisions.reverse(payout_key, signed))

    def resume(self, by: str, reason: str, seen: datetime | None = None) -> str:
        """Let paying go on."""
        result = self.parts.decisions.resume(Signature(by=by, reason=reason), seen)
        self.wake()
        return result

    def _decided(self, decide_now: Callable[[], str]) -> str:
        with halting(self.parts):
            # What an older copy of the ledger posts would raise its sequence until it looked like the newest.
            self.parts.guard.check()
            result = decide_now()
        self.wake()
        return result


@dataclass(frozen=True, slots=True)
class CheckDesk:
    """Full checks on demand. ``wake``: has the leader look at once, when it is this process."""

    requests: CheckRequests
    wake: Callable[[], None]

    def request(self, by: str) -> tuple[CheckTicket, bool]:
        """Ask for a check."""
        found, is_new = self.requests.request(by)
        self.wake()
        return _ticket(found), is_new

    def ticket(self, report_id: str) -> CheckTicket | None:
        """A check that was asked for."""
        found = self.requests.find(report_id)
        return None if found is None else _ticket(found)


class ReportFiles:
    """Reports on disk. Heads are kept in memory by name and time of change: a report is written once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._heads: dict[tuple[str, int], Document] = {}

    def newest(self, limit: int) -> list[Document]:
        """Heads of reports, the newest first."""
        paths = [path for path in self._directory.glob("*.json") if path.stem != "latest"]
        aged = sorted(((path.stat().st_mtime_ns, path.stem, path) for path in paths), reverse=True)[:limit]
        heads = {(name, age_ns): self._heads.get((name, age_ns)) or self._head(path) for age_ns, name, path in aged}
        self._heads = heads
        return [head for head in heads.values() if head]

    def file(self, report_id: str, form: str) -> Path | None:
        """The file of a report in a format."""
        if not _REPORT_ID.fullmatch(report_id):
            return None
        path = self._directory / f"{report_id}.{form}"
        return path if path.is_file() else None

    def _head(self, path: Path) -> Document:
        try:
            report: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(report, dict) or not str(report.get("schema", "")).startswith("reconciliation-report/"):
            return {}
        forms = [form for form in ("json", "csv", "html") if path.with_suffix(f".{form}").is_file()]
        return {**{name: report.get(name) for name in _SHOWN_OF_REPORT}, "formats": forms}


def _ticket(found: CheckRequest) -> CheckTicket:
    return CheckTicket(
        report_id=found.report_id,
        requested_by=found.requested_by,
        requested_at=found.requested_at,
        started_at=found.started_at,
        finished_at=found.finished_at,
        outcome=found.outcome,
        error=found.error,
        done_count=found.done_count,
        expected_count=found.expected_count,
    )
