"""Derives every payout's amounts from its own row, and compares them with the postings that moved them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reconciler.domain.accounts import kind_of
from reconciler.domain.rederivation import AmountFacts, amounts_of
from reconciler.ledger.key_lists import among
from reconciler.ledger.proof.faults import Faults
from reconciler.ledger.proof.streaming import AT, COLUMNS, RawRow
from reconciler.ledger.schema import payouts, settlement_lines

_MIRRORED = ("gross_minor", "fee_minor", "amount_minor")
_OWN = ("payout_key", "sequence", "batch", "kind", "trigger", "run_id", "created_at", "release_at", "reverses")
_INHERITED = tuple(
    column for column in COLUMNS["payouts"] if column not in (*_MIRRORED, *_OWN, "decision_key", "facts_at")
)
"""What a reversal has in common with the payout that it takes back (``facts_at`` too, in another form here)."""


class PayoutAmounts:
    """Checks the payouts of one batch after the other; ``count`` of them so far."""

    def __init__(self, connection: Connection, faults: Faults) -> None:
        self._connection = connection
        self._faults = faults
        self.count = 0

    def check(self, batch: int, rows: Mapping[str, list[RawRow]]) -> None:
        """Check the payouts of a batch. Raises TypeError or ValueError for values that no payout has."""
        found = [dict(zip(COLUMNS["payouts"], row, strict=True)) for row in rows["payouts"]]
        if not found:
            self._without_payout(batch, rows, set())
            return
        self.count += len(found)
        shares = self._shares(found)
        originals = self._originals(found)
        moved = _moved(rows["postings"])
        at = AT["entries"]
        keys = {row[at["sequence"]]: row[at["key"]] for row in rows["entries"]}
        for payout in found:
            why = self._wrong(payout, shares, originals)
            sequence = payout["sequence"]
            if why is None and keys.get(sequence) != payout["payout_key"]:
                why = f"its entry has the key {keys.get(sequence)}"
            if why is None and moved.get(sequence) != _expected(payout):
                why = "its postings move other amounts"
            if why is not None:
                self._faults.add("amount_differs", f"{payout['payout_key']}: {why}", batch=batch, sequence=sequence)
        self._without_payout(batch, rows, {payout["sequence"] for payout in found})

    def _without_payout(self, batch: int, rows: Mapping[str, list[RawRow]], known: set[int]) -> None:
        at = AT["entries"]
        for row in rows["entries"]:
            if row[at["kind"]] in ("payout", "reversal") and row[at["sequence"]] not in known:
                detail = f"{row[at['key']]} has an entry and no row in the ledger table"
                self._faults.add("amount_differs", detail, batch=batch, sequence=row[at["sequence"]])

    def _wrong(
        self,
        payout: Mapping[str, Any],
        shares: Mapping[tuple[str, str], int],
        originals: Mapping[str, Mapping[str, Any]],
    ) -> str | None:
        if payout["kind"] == "reversal":
            return _wrong_mirror(payout, originals.get(payout["reverses"]))
        if payout["kind"] != "payout":
            return f"{payout['kind']!r} is no kind of payout"
        share_minor = None
        if payout["settlement_key"] is not None:
            share_minor = shares.get((payout["settlement_key"], payout["participation_id"]))
            if share_minor is None:
                return f"{payout['settlement_key']} has no line for it"
        derived = amounts_of(
            AmountFacts(
                payout["payment_type"],
                payout["rate"],
                payout["impressions"],
                payout["target"],
                payout["overdelivery"],
                payout["currency"],
                payout["fee_bps"],
                share_minor,
            )
        )
        stored = tuple(payout[name] for name in (*_MIRRORED, "impressions_paid", "rounding"))
        if stored != derived:
            return f"gross, fee and net are stored as {stored[:3]} minor units, and its facts give {derived[:3]}"
        return None

    def _shares(self, found: list[dict[str, Any]]) -> dict[tuple[str, str], int]:
        """(settlement, participation) → share, for those that are paid out of a pool."""
        members = [payout["participation_id"] for payout in found if payout["settlement_key"] is not None]
        if not members:
            return {}
        lines = settlement_lines.c
        query = sa.select(lines.settlement_key, lines.participation_id, lines.share_minor)
        rows = self._connection.execute(query.where(among(self._connection, lines.participation_id, members)))
        return {(row.settlement_key, row.participation_id): row.share_minor for row in rows}

    def _originals(self, found: list[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """Payout key → the payout that a reversal takes back."""
        keys = [payout["reverses"] for payout in found if payout["kind"] == "reversal"]
        if not keys:
            return {}
        columns = [payouts.c[name] for name in ("payout_key", "kind", *_MIRRORED, *_INHERITED)]
        query = sa.select(*columns).where(among(self._connection, payouts.c.payout_key, keys))
        return {row["payout_key"]: dict(row) for row in self._connection.execute(query).mappings()}


def _wrong_mirror(reversal: Mapping[str, Any], original: Mapping[str, Any] | None) -> str | None:
    if original is None or original["kind"] != "payout":
        return f"it takes back {reversal['reverses']}, which is no payout"
    if reversal["payout_key"] != f"reversal:{original['payout_key']}":
        return f"its key is not that of a reversal of {original['payout_key']}"
    differing = [name for name in _MIRRORED if reversal[name] != -original[name]]
    differing += [name for name in _INHERITED if reversal[name] != original[name]]
    return f"it does not mirror its payout: {', '.join(differing)}" if differing else None


def _moved(postings: list[RawRow]) -> dict[int, tuple[int, int, int]]:
    """Entry → what it moved onto escrow, onto the streamer's accounts and onto the platform's, in minor units."""
    at = AT["postings"]
    sums: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in postings:
        kind = kind_of(row[at["account"]])
        place = 0 if kind == "escrow" else 2 if kind == "fees" else 1
        sums[row[at["sequence"]]][place] += row[at["amount_minor"]]
    return {sequence: (escrow, streamer, fees) for sequence, (escrow, streamer, fees) in sums.items()}


def _expected(payout: Mapping[str, Any]) -> tuple[int, int, int]:
    return -payout["gross_minor"], payout["amount_minor"], payout["fee_minor"]
