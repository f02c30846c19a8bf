"""Finds which entry of a batch was changed, by comparing what its rows say twice.

A hash names the batch and no more. Most columns also stand somewhere else, or follow from others. A change of one that
does not, such as the impressions of a payout that was capped, is only located in its batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reconciler.domain.ids import DocumentId, payout_fingerprint
from reconciler.domain.rederivation import AmountFacts, amounts_of
from reconciler.ledger.proof.streaming import COLUMNS, RawRow

Row = Mapping[str, Any]
Named = Mapping[str, Sequence[Row]]


def first_bad_entry(rows: Mapping[str, list[RawRow]], created_at: object) -> tuple[int | None, str]:
    """The first entry that contradicts itself or its batch, and how; None if no row contradicts another."""
    named: Named = {table: [dict(zip(COLUMNS[table], row, strict=True)) for row in of] for table, of in rows.items()}
    found: list[tuple[int, str]] = []
    for look in (_entries, _postings, _payouts, _fundings):
        try:
            found += look(named, created_at)
        except (TypeError, ValueError, KeyError, AttributeError):
            # A value of a type that this program never writes: the other comparisons have to do.
            continue
    return min(found, default=(None, ""))


def _entries(named: Named, created_at: object) -> Iterator[tuple[int, str]]:
    entries = named["entries"]
    usual_run = _usual(row["run_id"] for row in entries)
    payouts = {row["sequence"]: row for row in named["payouts"]}
    postings = Counter((row["sequence"], row["currency"]) for row in named["postings"])
    for row in entries:
        sequence, kind, key = row["sequence"], row["kind"], row["key"]
        payout = payouts.get(sequence)
        if row["booked_at"] != created_at or row["effective_at"] != created_at:
            yield sequence, "its times are not the batch's"
        if usual_run is not None and row["run_id"] != usual_run:
            yield sequence, "its run is not the batch's"
        if postings[sequence, row["currency"]] < 2:
            yield sequence, "it lacks postings of its currency"
        if kind not in ("payout", "reversal", "fund", "hold_release", "refund", "adjustment"):
            yield sequence, "there is no such kind of entry"
        elif not str(key).startswith("release:" if kind == "hold_release" else f"{kind}:"):
            yield sequence, "its key is not of its kind"
        if kind in ("fund", "refund") and not str(key).startswith(f"{kind}:{row['campaign_id']}:"):
            yield sequence, "its key is of another campaign"
        if kind in ("fund", "refund", "payout", "adjustment") and row["corrects"] is not None:
            yield sequence, "it corrects nothing"
        if kind in ("hold_release", "reversal") and str(key).partition(":")[2] != row["corrects"]:
            yield sequence, "its key is of another payout than the one it corrects"
        if (payout is not None) != (kind in ("payout", "reversal")):
            yield sequence, "it is a payout without a row in the ledger table, or the other way round"
        yield from _of_participation(row, payout, named)


def _of_participation(row: Row, payout: Row | None, named: Named) -> Iterator[tuple[int, str]]:
    sequence = row["sequence"]
    if payout is not None:
        for name in ("campaign_id", "participation_id", "streamer_id", "currency", "run_id"):
            if row[name] != payout[name]:
                yield sequence, f"its {name} is not that of its payout"
        if row["kind"] == "payout" and row["reason"] != payout["rule"]:
            yield sequence, "its reason is not the rule of its payout"
    elif row["kind"] == "hold_release":
        if row["participation_id"] is None or row["participation_id"] not in str(row["corrects"]):
            yield sequence, "its participation is not that of its payout"
        owners = {str(one["account"]).split(":")[1] for one in named["postings"] if one["sequence"] == sequence}
        if owners != {row["streamer_id"]} and ":" not in str(row["streamer_id"]):
            yield sequence, "its streamer is not the owner of its accounts"
    elif row["participation_id"] is not None or row["streamer_id"] is not None:
        yield sequence, "no streamer takes part in it"


def _postings(named: Named, _created_at: object) -> Iterator[tuple[int, str]]:
    entries = {row["sequence"]: row for row in named["entries"]}
    sums: Counter[int] = Counter()
    legs: dict[int, list[int]] = {}
    for row in named["postings"]:
        sequence = row["sequence"]
        entry = entries.get(sequence)
        if entry is None:
            yield sequence, "a posting belongs to no entry of this batch"
            continue
        if row["currency"] != entry["currency"]:
            yield sequence, "a posting has another currency"
        sums[sequence] += row["amount_minor"]
        legs.setdefault(sequence, []).append(row["leg"])
    for sequence, total in sums.items():
        if total != 0:
            yield sequence, f"its postings sum to {total}"
        if sorted(legs[sequence]) != list(range(len(legs[sequence]))):
            yield sequence, "its postings are not numbered from zero"
    running: dict[tuple[str, str], tuple[int, int]] = {}
    for row in sorted(named["postings"], key=lambda one: (one["sequence"], one["leg"])):
        key = (row["account"], row["currency"])
        before = running.get(key)
        running[key] = (row["account_version"], row["balance_after_minor"])
        if before is not None and running[key] != (before[0] + 1, before[1] + row["amount_minor"]):
            yield row["sequence"], f"the balance of {row['account']} does not follow from the posting before"


def _payouts(named: Named, created_at: object) -> Iterator[tuple[int, str]]:
    entries = {row["sequence"]: row for row in named["entries"]}
    usual_trigger = _usual(row["trigger"] for row in named["payouts"])
    for row in named["payouts"]:
        sequence, entry = row["sequence"], entries.get(row["sequence"])
        if entry is None or (entry["key"], entry["kind"]) != (row["payout_key"], row["kind"]):
            yield sequence, "the payout's row and its entry have different keys"
        if row["created_at"] != created_at:
            yield sequence, "the payout's time is not the batch's"
        if usual_trigger is not None and row["trigger"] != usual_trigger:
            yield sequence, "the payout's trigger is not the batch's"
        if entry is not None and row["run_id"] != entry["run_id"]:
            yield sequence, "the payout's run is not its entry's"
        own = f"payout:{row['participation_id']}:{row['n']}"
        if row["payout_key"] != (own if row["kind"] == "payout" else f"reversal:{own}"):
            yield sequence, "the payout's key is of another participation or number"
        if row["fingerprint"] != _fingerprint(row):
            yield sequence, "the payout's fingerprint is of another identity"
    yield from _paid_from_and_to(named)


def _paid_from_and_to(named: Named) -> Iterator[tuple[int, str]]:
    accounts: dict[int, list[str]] = {}
    for row in named["postings"]:
        accounts.setdefault(row["sequence"], []).append(str(row["account"]))
    for row in named["payouts"]:
        sequence, touched = row["sequence"], accounts.get(row["sequence"], ())
        to = "held" if row["release_at"] is not None else "wallet"
        if row["kind"] == "payout" and f"streamer:{row['streamer_id']}:{to}" not in touched:
            yield sequence, f"the payout is not posted to {to}"
        if f"campaign:{row['campaign_id']}:escrow" not in touched:
            yield sequence, "the payout is not posted from its campaign's escrow"
        if row["kind"] == "payout" and row["settlement_key"] is None:
            derived = amounts_of(AmountFacts(*(row[name] for name in AmountFacts._fields[:-1])))
            names = ("gross_minor", "fee_minor", "amount_minor", "impressions_paid", "rounding")
            if tuple(row[name] for name in names) != derived:
                yield sequence, "the payout's amounts do not follow from its facts"


def _usual(values: Iterable[object]) -> object:
    """What more than half of some rows say; None where there is no such thing, and so no odd one out."""
    counts = Counter(values)
    found = counts.most_common(1)
    return found[0][0] if found and found[0][1] * 2 > counts.total() else None


def _fingerprint(row: Row) -> str:
    return payout_fingerprint(
        participation_id=DocumentId.from_tagged(row["participation_id"]),
        campaign_id=DocumentId.from_tagged(row["campaign_id"]),
        streamer_id=row["streamer_id"],
        currency=row["currency"],
        n=row["n"],
    )


def _fundings(named: Named, _created_at: object) -> Iterator[tuple[int, str]]:
    entries = {row["sequence"]: row for row in named["entries"]}
    into = {(row["sequence"], row["account"], row["currency"]): row["amount_minor"] for row in named["postings"]}
    for row in named["fundings"]:
        sequence, entry = row["sequence"], entries.get(row["sequence"])
        if entry is None or entry["key"] != f"fund:{row['campaign_id']}:{row['n']}":
            yield sequence, "the funding's row and its entry have different keys"
        if into.get((sequence, f"campaign:{row['campaign_id']}:escrow", row["currency"])) != row["amount_minor"]:
            yield sequence, "the funding's amount is not what its entry moved"
