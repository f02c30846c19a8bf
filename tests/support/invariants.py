"""The invariants of docs/invariants.md (1 to 6, and 8), read from both databases without the code that keeps them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from bson.objectid import ObjectId

from reconciler.domain.money import minor_per_major
from reconciler.ledger import schema
from reconciler.ledger.proof.verify import SqlVerifier

if TYPE_CHECKING:
    from pymongo.database import Database
    from sqlalchemy.engine import Engine

Document = dict[str, Any]
Row = Mapping[str, Any]

EARNED_FIELDS = ("balance", "withdrawableBalance", "totalEarnings")
SHARED_FIELDS = (*EARNED_FIELDS, "heldBalance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Both databases at a moment when every effect had arrived."""

    wallets: Mapping[str, Document]
    """By user."""
    gkeys: Mapping[Any, Document]
    """By identity."""
    payout_keys: frozenset[str]
    paid_minor: Mapping[tuple[str, str], int]
    """(streamer, currency) → net amount."""
    journal: Mapping[str, frozenset[str]]
    """Table → its rows as text."""


def opening(engine: Engine, database: Database[Document]) -> Opening:
    """What :func:`violations` compares with. Documents added later have to be there before it is taken."""
    payouts = _rows(engine, schema.payouts)
    return Opening(
        wallets={wallet["userId"]: wallet for wallet in database["wallets"].find()},
        gkeys={key["_id"]: key for key in database["gkeys"].find()},
        payout_keys=frozenset(row["payout_key"] for row in payouts),
        paid_minor=_paid_minor(payouts),
        journal=_journal(engine),
    )


def violations(engine: Engine, database: Database[Document], since: Opening) -> list[str]:
    """Everything that is wrong, in words, once nobody writes any more and a sweep has run."""
    payouts = _rows(engine, schema.payouts)
    outbox = {row["sequence"]: row for row in _rows(engine, schema.outbox)}
    blocked = {row["payout_key"] for row in payouts if _is_blocked(outbox.get(row["sequence"]))}
    return [
        *ledger_violations(engine, since),
        *_outbox(payouts, outbox),
        *_participations(database, payouts, blocked),
        *_wallets(engine, database, payouts, blocked, since),
        *_statement_lines(database, payouts, blocked),
        *_gkeys(database, payouts, blocked, since),
    ]


def ledger_violations(engine: Engine, since: Opening) -> list[str]:
    """Invariants 1 to 6: these hold at every moment, also right after a crash."""
    entries, postings = _rows(engine, schema.entries), _rows(engine, schema.postings)
    payouts = _rows(engine, schema.payouts)
    return [
        *_at_most_once(entries, payouts),
        *_zero_sums(entries, postings),
        *_balances(_rows(engine, schema.accounts), postings),
        *_unchanged(engine, since),
        *_chain(engine),
    ]


def _at_most_once(entries: Sequence[Row], payouts: Sequence[Row]) -> Iterator[str]:
    seen: Counter[tuple[object, ...]] = Counter(("entry", row["key"]) for row in entries)
    # One automatic payment for a participation, ever, and one for a streamer in a campaign.
    seen.update((row["kind"], "of", row["participation_id"]) for row in payouts if row["decision_key"] is None)
    seen.update((row["kind"], row["campaign_id"], row["streamer_id"], row["n"]) for row in payouts)
    yield from (f"1: {what} posted {times} times" for what, times in seen.items() if times > 1)


def _zero_sums(entries: Sequence[Row], postings: Sequence[Row]) -> Iterator[str]:
    sums: Counter[tuple[int, str]] = Counter()
    legs: Counter[int] = Counter()
    for row in postings:
        sums[row["sequence"], row["currency"]] += row["amount_minor"]
        legs[row["sequence"]] += 1
    yield from (f"2: entry {entry} sums to {total}" for entry, total in sums.items() if total != 0)
    yield from (
        f"2: entry {row['key']} has {legs[row['sequence']]} legs" for row in entries if legs[row["sequence"]] < 2
    )


def _balances(accounts: Sequence[Row], postings: Sequence[Row]) -> Iterator[str]:
    derived: Counter[tuple[str, str]] = Counter()
    for row in sorted(postings, key=lambda row: (row["sequence"], row["leg"])):
        account = row["account"], row["currency"]
        derived[account] += row["amount_minor"]
        if row["account"].endswith(":escrow") and derived[account] < 0:
            yield f"4: {row['account']} was at {derived[account]} after entry {row['sequence']}"
    balances = {(row["account"], row["currency"]): row["balance_minor"] for row in accounts}
    for account in balances.keys() | derived.keys():
        if balances.get(account) != derived[account]:
            yield f"3: {account} holds {balances.get(account)}, its postings sum to {derived[account]}"


def _unchanged(engine: Engine, since: Opening) -> Iterator[str]:
    journal = _journal(engine)
    for table, rows in since.journal.items():
        yield from (f"5: gone from {table}, or changed: {row}" for row in rows - journal[table])


def _chain(engine: Engine) -> Iterator[str]:
    integrity = SqlVerifier(engine).verify()
    yield from (f"6: {fault.kind}: {fault.detail}" for fault in integrity.faults)
    batches = {row["batch"] for row in _rows(engine, schema.entries)}
    if max(batches, default=0) > integrity.chain_verified_to:
        yield f"6: the chain ends with batch {integrity.chain_verified_to}, the entries with {max(batches)}"


def _outbox(payouts: Sequence[Row], outbox: Mapping[int, Row]) -> Iterator[str]:
    for row in payouts:
        task = outbox.get(row["sequence"])
        if task is None:
            yield f"8: {row['payout_key']} has no place in the outbox"
        elif task["status"] != "done" and not (_is_blocked(task) and task["effect"] and task["reason"]):
            yield f"8: the effects of {row['payout_key']} are neither done nor named as blocked"


def _participations(database: Database[Document], payouts: Sequence[Row], blocked: set[str]) -> Iterator[str]:
    by_id = {_raw(row["participation_id"]): row for row in payouts}
    receipts = {"$or": [{"_id": {"$in": list(by_id)}}, {"earningsTransferredAt": {"$exists": True}}]}
    documents = {document["_id"]: document for document in database["campaignparticipations"].find(receipts)}
    yield from (f"8: {raw} has a receipt and no payout" for raw in documents.keys() - by_id.keys())
    for raw, row in by_id.items():
        expected = {
            "status": "completed",
            "finalEarnings": _major(row["amount_minor"], row["currency"]),
            "finalEarningsTransferred": True,
            "completionReason": row["rule"],
            "completedAt": row["created_at"],
            "earningsTransferredAt": row["created_at"],
        }
        shown = {field: documents.get(raw, {}).get(field) for field in expected}
        if row["payout_key"] not in blocked and shown != expected:
            yield f"8: participation {raw} shows {shown}, not {expected}"


def _wallets(
    engine: Engine, database: Database[Document], payouts: Sequence[Row], blocked: set[str], since: Opening
) -> Iterator[str]:
    now = {wallet["userId"]: wallet for wallet in database["wallets"].find()}
    uncertain = {row["streamer_id"] for row in payouts if row["payout_key"] in blocked}
    paid_minor = _paid_minor(payouts)
    positions = {(row["streamer_id"], row["currency"]): row for row in _rows(engine, schema.wallet_positions)}
    gained: dict[str, Decimal] = defaultdict(Decimal)
    for (streamer, currency), amount_minor in paid_minor.items():
        before_minor = since.paid_minor.get((streamer, currency), 0)
        gained[streamer] += _major(amount_minor - before_minor, currency)
        shown = now.get(streamer, {}).get("ledger", {}).get(currency, {})
        version = positions[streamer, currency]["version"]
        says = (shown.get("availableMinor"), shown.get("heldMinor"), shown.get("version"))
        if streamer not in uncertain and says != (amount_minor, 0, version):
            yield f"8: the wallet of {streamer} says {says}, the ledger {(amount_minor, 0, version)}"
    for streamer, wallet in since.wallets.items():
        if streamer in uncertain:
            continue
        for field in SHARED_FIELDS:
            expected = _decimal(wallet[field]) + (gained[streamer] if field in EARNED_FIELDS else 0)
            if _decimal(now[streamer][field]) != expected:
                yield f"8: {field} of {streamer} went from {wallet[field]} to {now[streamer][field]}, not to {expected}"


def _statement_lines(database: Database[Document], payouts: Sequence[Row], blocked: set[str]) -> Iterator[str]:
    lines: dict[str, list[Document]] = defaultdict(list)
    for line in database["transactions"].find({"createdBy": "payout-reconciler"}):
        lines[line["metadata"]["payoutKey"]].append(line)
    for row in payouts:
        found = lines.pop(row["payout_key"], [])
        amount = _major(row["amount_minor"], row["currency"])
        expected = [] if amount == 0 else [(row["streamer_id"], amount, row["currency"], "earnings_credit")]
        shown = [(x["userId"], _decimal(x["amount"]), x["currency"], x["transactionType"]) for x in found]
        if shown != expected and not (row["payout_key"] in blocked and not shown):
            yield f"8: {row['payout_key']} has the statement lines {shown}, not {expected}"
    yield from (f"8: a statement line for {key}, which is no payout" for key in lines)


def _gkeys(database: Database[Document], payouts: Sequence[Row], blocked: set[str], since: Opening) -> Iterator[str]:
    new = {
        (r["streamer_id"], str(_raw(r["campaign_id"]))): r for r in payouts if r["payout_key"] not in since.payout_keys
    }
    for key in database["gkeys"].find():
        before = since.gkeys[key["_id"]]
        row = new.get((before["userId"], before.get("lockedWith", "")))
        if row is not None and row["payout_key"] in blocked:
            continue
        if row is None or before["status"] != "locked" or before["lockedAt"] > row["created_at"]:
            if key != before:
                yield f"8: the key {before} was changed to {key}"
            continue
        hours = key.get("lastBrandCooloffHours", 0)
        rests = (key["status"], key["usageCount"], key.get("cooloffEndsAt"))
        expected = ("cooloff", before["usageCount"] + 1, row["created_at"] + timedelta(hours=hours))
        if rests != expected or hours < row["cooloff_hours"]:
            yield f"8: a key of {before['userId']} shows {rests}, not {expected}"


def _paid_minor(payouts: Sequence[Row]) -> Counter[tuple[str, str]]:
    paid_minor: Counter[tuple[str, str]] = Counter()
    for row in payouts:
        paid_minor[row["streamer_id"], row["currency"]] += row["amount_minor"]
    return paid_minor


def _journal(engine: Engine) -> dict[str, frozenset[str]]:
    return {table.name: frozenset(map(repr, _rows(engine, table))) for table in schema.JOURNAL_TABLES}


def _rows(engine: Engine, table: sa.Table) -> list[Row]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(table)).mappings()]


def _is_blocked(task: Row | None) -> bool:
    return task is not None and task["status"] == "blocked"


def _raw(tagged: str) -> ObjectId | str:
    kind, _, value = tagged.partition(":")
    return ObjectId(value) if kind == "oid" else value


def _major(amount_minor: int, currency: str) -> Decimal:
    return Decimal(amount_minor) / minor_per_major(currency)


def _decimal(number: object) -> Decimal:
    return Decimal(str(number))
