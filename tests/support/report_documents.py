"""Reports without a check: the JSON document with all its rows, seeded, of every kind and of every verdict."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from reconciler.domain.breaks import CATALOGUE, BreakKind, Severity

AS_OF = datetime(2026, 11, 26, 2, 30, tzinfo=UTC)
HOSTILE = "<img src=x onerror=alert(1)>\"'</title></style></svg><script>alert(2)</script>{{ 7*7 }}\u202eevil"
"""Text that breaks out of elements, attributes, drawings and templates, if anything lets it."""

_DETAILS = {
    BreakKind.DUE_BUT_UNPAID: "2,512 impressions against a target of 2,000, and no payout",
    BreakKind.HELD: "3300.00 INR is due, and the escrow holds 1210.00 INR",
    BreakKind.DUE_BUT_INELIGIBLE: "the campaign was funded in INR, and says USD now",
    BreakKind.STRANDED: "87 % of the budget is used; completion.budget_exhausted would pay it",
    BreakKind.EXISTS_DIFFERENT: "the payout with this key names another streamer",
    BreakKind.CAMPAIGN_MISSING: "no campaign has this very identity",
    BreakKind.MARKED_PAID_ELSEWHERE: "finalEarningsTransferred is true, and the ledger has no payout",
    BreakKind.DUPLICATE_PARTICIPATION: "65a1b2c3d4e5f60718293a4b of the same streamer was paid",
    BreakKind.MALFORMED: "impressions: is NaN; estimatedEarnings: is text that is no number",
    BreakKind.PROJECTION_STALE: "participation: finalEarnings is 1, not 3300.00",
    BreakKind.EFFECT_BLOCKED: "wallet: no wallet has this userId",
    BreakKind.WALLET_NEGATIVE: "withdrawableBalance is -120.50",
    BreakKind.AMOUNT_DIFFERS: "3299.99 was posted; its stored facts make 3300.00",
    BreakKind.CHAIN_BROKEN: "batch 311: the hash of entry 8,412 does not follow from its rows",
    BreakKind.LEDGER_UNBALANCED: "entry 8,412 sums to 0.01 INR",
}
_WITH_AMOUNTS = {BreakKind.DUE_BUT_UNPAID, BreakKind.HELD, BreakKind.STRANDED, BreakKind.AMOUNT_DIFFERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleReport:
    """What a page is drawn from."""

    document: dict[str, Any]
    rows: Sequence[dict[str, Any]]


def clean() -> SampleReport:
    """Nothing was ever paid, and nothing is wrong: the empty case."""
    return SampleReport(document=_document(random.Random(1), [], "clean"), rows=[])


def eventful(count: int = 40, *, seed: int = 1) -> SampleReport:
    """``count`` breaks of all kinds but critical ones, some acknowledged or repaired, with money in waiting."""
    chance = random.Random(seed)
    kinds = [kind for kind in _DETAILS if CATALOGUE[kind].severity < Severity.CRITICAL]
    rows = [_row(chance, kinds[number % len(kinds)], number) for number in range(count)]
    rows.sort(key=lambda row: (["critical", "error", "warning", "info"].index(row["severity"]), row["kind"]))
    return SampleReport(document=_full(chance, _document(chance, rows, "breaks")), rows=rows)


def halted() -> SampleReport:
    """A ledger that contradicts itself."""
    chance = random.Random(2)
    rows = [_row(chance, kind, number) for number, kind in enumerate(_DETAILS) if kind is not BreakKind.HELD]
    for row in rows:
        row["status"] = "open"
    rows.sort(key=lambda row: ["critical", "error", "warning", "info"].index(row["severity"]))
    document = _full(chance, _document(chance, rows, "halted"))
    document["exit_code"] = 4
    document["integrity"] |= {"zero_sum": False, "chain_verified_to": 310}
    return SampleReport(document=document, rows=rows)


def hostile() -> SampleReport:
    """Every text of every row, and every text of the document that comes from elsewhere, is HOSTILE."""
    report = eventful(20)
    kept = {"status", "severity", "currency", "first_seen"}
    rows = [
        {name: HOSTILE if isinstance(value, str) and name not in kept else value for name, value in row.items()}
        for row in report.rows
    ]
    document = report.document | {"breaks": rows, "trigger": HOSTILE, "config_fingerprint": HOSTILE}
    document["breaks_by_kind"] = {HOSTILE: len(rows)}
    for name in ("accrued", "held", "stranded"):
        document["waiting"][name] = [
            {key: HOSTILE if isinstance(value, str) and key != "currency" else value for key, value in row.items()}
            for row in document["waiting"][name]
        ]
    for row in document["paid_by_day"][::2]:
        row["campaign_id"] = HOSTILE
    return SampleReport(document=document, rows=rows)


def _document(chance: random.Random, rows: Sequence[dict[str, Any]], verdict: str) -> dict[str, Any]:
    """A document of the contract, in which nothing was ever paid and nothing waits."""
    kinds = Counter(row["kind"] for row in rows)
    broken = sum(row["status"] == "open" and row["severity"] != "info" for row in rows)
    rest = {"matched": 11_873, "not_due": 7_402, "withheld": 0, "held": 212, "in_flight": 37, "settled_before_us": 410}
    parts = {**(rest if rows else dict.fromkeys(rest, 0)), "broken": broken, "malformed": kinds["malformed"]}
    return {
        "schema": "reconciliation-report/1",
        "report_id": "20261126T023000Z-1f0c9a2b",
        "kind": "full_check",
        "trigger": "full_check",
        "as_of": _iso(AS_OF),
        "started_at": _iso(AS_OF),
        "finished_at": _iso(AS_OF + timedelta(seconds=21.4)),
        "duration_s": 21.4,
        "dry_run": False,
        "verdict": verdict,
        "exit_code": 1 if verdict == "breaks" else 0,
        "config_fingerprint": "9d1c4f4be0b24d8f",
        "positions": {
            "ledger_sequence": 25_114 if rows else 0,
            "chain_head": f"{chance.getrandbits(256):064x}",
            "resume_token_age_s": None,
        },
        "completeness": {"participations": sum(parts.values()), **parts},
        "totals": [],
        "breaks_by_kind": dict(sorted(kinds.items())),
        "repairs": {
            "paid": sum(row["status"] == "repaired" and row["kind"] == "due_but_unpaid" for row in rows),
            "projected": sum(row["status"] == "repaired" and row["kind"] == "projection_stale" for row in rows),
        },
        "carried": {"new": len(rows) // 3, "carried": len(rows) - len(rows) // 3, "cleared": 4 if rows else 0},
        "breaks": list(rows),
        "integrity": {
            "entries": 25_114 if rows else 0,
            "zero_sum": True,
            "balances_rederived": True,
            "chain_verified_to": 1_204 if rows else 0,
        },
        "timezone": "UTC",
        "waiting": {"accrued": [], "held": [], "stranded": [], "totals": []},
        "withheld": [],
        "paid_by_day": [],
        "settled_before_us": [],
    }


def _full(chance: random.Random, document: dict[str, Any]) -> dict[str, Any]:
    campaigns = [_identity(chance) for _ in range(9)]
    document["timezone"] = "Asia/Kolkata"
    document["paid_by_day"] = paid_by_day(chance, campaigns, AS_OF.date(), 31)
    paid: Counter[str] = Counter()
    for row in document["paid_by_day"]:
        paid[row["currency"]] += row["gross_minor"]
    held = {"INR": 1_212_050, "KWD": 420_500, "JPY": 88_000}
    document["totals"] = [
        {
            "currency": currency,
            "expected_minor": paid[currency] + held[currency] + 33_000,
            "paid_minor": paid[currency],
            "held_minor": held[currency],
            "reversed_minor": 132_000 if currency == "INR" else 0,
            "refunded_minor": 25_000 if currency == "INR" else 0,
            "difference_minor": held[currency] + 33_000,
            "explained_minor": held[currency] + (33_000 if currency != "KWD" else 32_999),
            "unexplained_minor": 0 if currency != "KWD" else 1,
            "explained_by": {"held": held[currency], "due_but_unpaid": 33_000 if currency != "KWD" else 32_999},
            "counts": {"payouts": 11_873 if currency == "INR" else 214},
        }
        for currency in ("INR", "JPY", "KWD")
    ]
    document["waiting"] = _waiting(chance, campaigns)
    document["settled_before_us"] = [{"currency": "INR", "participations": 410, "amount_minor": 135_300_000}]
    return document


def _waiting(chance: random.Random, campaigns: Sequence[str]) -> dict[str, Any]:
    titles = ("Diwali drop: headsets", "Monsoon sale — ₹ off", "Campus cup", "नई शुरुआत", "Speedrun week")
    return {
        "accrued": [
            {"campaign_id": campaign, "title": title, "currency": "INR", "participations": 40 - number * 6,
             "accrued_minor": chance.randrange(10**5, 10**8)}
            for number, (campaign, title) in enumerate(zip(campaigns, titles, strict=False))
        ],
        "held": [
            {"participation_id": _identity(chance), "campaign_id": campaigns[0], "streamer_id": _identity(chance),
             "payout_key": "", "currency": "INR", "amount_minor": 330_000, "reason": reason,
             "since": _iso(AS_OF - timedelta(days=age)), "age_s": age * 86_400}
            for age, reason in ((19, "over_budget"), (3, "over_budget"), (1, "over_approval_threshold"))
        ],
        "stranded": [
            {"campaign_id": campaigns[3], "currency": "INR", "accrued_minor": 64_210, "reason": "budget_exhausted"}
        ],
        "totals": [
            {"currency": "INR", "accrued_minor": 214_118_400, "held_minor": 990_000, "stranded_minor": 64_210},
            {"currency": "JPY", "accrued_minor": 1_204_000, "held_minor": 88_000, "stranded_minor": 0},
        ],
    }  # fmt: skip


def paid_by_day(chance: random.Random, campaigns: Sequence[str], last: date, days: int) -> list[dict[str, Any]]:
    """Payments of some days, of which some have none; the campaign "" stands for all that are not named."""
    rows = []
    for age in range(days):
        day = last - timedelta(days=age)
        for number, campaign in enumerate((*campaigns[:7], "")):
            if chance.random() < 0.55 or day.weekday() == 6:
                continue
            currency = "KWD" if number == 5 else "JPY" if number == 6 else "INR"
            payouts = chance.randrange(1, 60)
            gross = payouts * chance.choice([330_000, 99_990, 125_000])
            rows.append(
                {"day": day.isoformat(), "campaign_id": campaign, "currency": currency, "payouts": payouts,
                 "gross_minor": gross, "fee_minor": gross // 50, "amount_minor": gross - gross // 50,
                 "reversed_minor": 66_000 if age % 11 == 3 else 0}
            )  # fmt: skip
    return rows


def _row(chance: random.Random, kind: BreakKind, number: int) -> dict[str, Any]:
    amounts: tuple[int | None, int | None, int | None] = (None, None, None)
    if kind in _WITH_AMOUNTS:
        expected = chance.choice([330_000, 99_990, 1_254_000])
        actual = expected - 1 if kind is BreakKind.AMOUNT_DIFFERS else 0
        amounts = (expected, actual, actual - expected)
    status = "open"
    if kind in {BreakKind.DUE_BUT_UNPAID, BreakKind.PROJECTION_STALE} and number % 3 != 2:
        status = "repaired"
    elif number % 9 == 4:
        status = "acknowledged"
    age_s = chance.choice([0, 3_700, 86_400, 4 * 86_400, 12 * 86_400, 45 * 86_400, 140 * 86_400])
    participation = _identity(chance)
    is_campaign = kind is BreakKind.STRANDED or CATALOGUE[kind].severity.label == "critical"
    return {
        "break_id": f"b-{number:06x}",
        "kind": kind.value,
        "reason": {"held": "over_budget", "malformed": "participation", "stranded": "budget_exhausted"}.get(kind, ""),
        "severity": CATALOGUE[kind].severity.label,
        "status": status,
        "participation_id": "" if is_campaign else participation,
        "campaign_id": _identity(chance),
        "streamer_id": "" if is_campaign else _identity(chance),
        "payout_key": f"payout:oid:{participation}:1" if kind in {BreakKind.EFFECT_BLOCKED, BreakKind.HELD} else "",
        "currency": "INR" if amounts[0] is not None else "",
        "expected_minor": amounts[0],
        "actual_minor": amounts[1],
        "delta_minor": amounts[2],
        "first_seen": _iso(AS_OF - timedelta(seconds=age_s)),
        "age_s": age_s,
        "detail": _DETAILS[kind],
        "action": "repaired" if status == "repaired" else CATALOGUE[kind].action,
        "acknowledged_by": "Asha Rao" if status == "acknowledged" else "",
        "acknowledged_reason": "the brand confirmed the cut, ticket 4121" if status == "acknowledged" else "",
        "note": "",
    }


def _identity(chance: random.Random) -> str:
    return f"{chance.getrandbits(96):024x}"


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
