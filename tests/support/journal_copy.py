"""A copy of every journal row ever seen, and what must be true of it: invariants 1-6 of DESIGN.md 9, in plain Python.

Rows are read as the database returns them, without the product's tables, types or queries.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection, Engine

from reconciler.ledger.proof.verify import SqlVerifier

Row = dict[str, Any]

KEYS = {
    "entries": ("sequence",),
    "postings": ("sequence", "leg"),
    "payouts": ("payout_key",),
    "fundings": ("campaign_id", "n"),
    "hold_events": ("hold_key", "event"),
    "settlements": ("settlement_key",),
    "settlement_lines": ("settlement_key", "participation_id"),
    "decisions": ("decision_key",),
    "adoptions": ("participation_id",),
    "chain": ("batch",),
}
"""The journal, table by table, with what names a row of it."""


@dataclass(slots=True)
class JournalCopy:
    """Remembers rows; :meth:`read` finds out which are new, and that no old one changed."""

    tables: dict[str, dict[tuple[Any, ...], Row]] = field(default_factory=lambda: {name: {} for name in KEYS})
    accounts: list[Row] = field(default_factory=list)

    def read(self, engine: Engine) -> None:
        """Read the ledger again, and check all of it."""
        with engine.connect() as connection, connection.begin():
            found = {name: _rows(connection, name) for name in KEYS}
            self.accounts = _rows(connection, "accounts")
        for name, key in KEYS.items():
            rows = {tuple(row[column] for column in key): row for row in found[name]}
            assert len(rows) == len(found[name]), f"two rows of {name} have one key"
            for of, row in self.tables[name].items():
                assert rows.get(of) == row, f"{name} {of} was changed or is gone"
            self.tables[name] = rows
        self._check_keys()
        self._check_sums()
        self._check_balances()
        self._check_payouts()
        self._check_reversals_and_releases()
        self._check_money()
        self._check_holds_and_pools()

    def verify(self, engine: Engine) -> None:
        """What the product itself says of its chain, and that it looked at all of it."""
        found = SqlVerifier(engine).verify()
        assert not found.faults, found.faults
        assert (found.entries, found.payouts) == (len(self.tables["entries"]), len(self.tables["payouts"]))
        assert found.chain_verified_to == len(self.tables["chain"])

    def rows(self, name: str) -> list[Row]:
        return list(self.tables[name].values())

    def balances(self) -> dict[tuple[str, str], int]:
        return {(row["account"], row["currency"]): row["balance_minor"] for row in self.accounts}

    def open_holds(self) -> dict[str, tuple[str, int, str]]:
        """Tagged participation → reason, amount and currency of its open hold."""
        closed = {row["hold_key"] for row in self.rows("hold_events") if row["event"] == "closed"}
        found: dict[str, tuple[str, int, str]] = {}
        for row in self.rows("hold_events"):
            if row["event"] == "opened" and row["hold_key"] not in closed:
                assert row["participation_id"] not in found, f"two open holds for {row['participation_id']}"
                found[row["participation_id"]] = (row["reason"], row["amount_minor"], row["currency"])
        return found

    def _check_keys(self) -> None:
        """Invariant 1, and that sequences and batches have no gap."""
        entries = self.rows("entries")
        assert max(Counter(row["key"] for row in entries).values(), default=1) == 1, "a key was posted twice"
        assert {row["sequence"] for row in entries} == set(range(1, len(entries) + 1))
        links = self.rows("chain")
        assert {row["batch"] for row in links} == set(range(1, len(links) + 1))
        for name in KEYS:
            assert {row["batch"] for row in self.rows(name)} <= {row["batch"] for row in links}

    def _check_sums(self) -> None:
        """Invariant 2."""
        sums: Counter[tuple[int, str]] = Counter()
        legs: Counter[int] = Counter()
        currencies = {row["sequence"]: row["currency"] for row in self.rows("entries")}
        for row in self.rows("postings"):
            sums[row["sequence"], row["currency"]] += row["amount_minor"]
            legs[row["sequence"]] += 1
            assert row["currency"] == currencies[row["sequence"]]
        assert set(sums.values()) <= {0}, "an entry does not sum to zero"
        assert set(legs) == set(currencies)
        assert min(legs.values(), default=2) >= 2

    def _check_balances(self) -> None:
        """Invariants 3 and 4, at every moment of the past too."""
        running: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
        for row in sorted(self.rows("postings"), key=lambda one: (one["sequence"], one["leg"])):
            account = (row["account"], row["currency"])
            balance_minor, version = running[account]
            running[account] = (balance_minor + row["amount_minor"], version + 1)
            assert (row["balance_after_minor"], row["account_version"]) == running[account], account
        of_accounts = {
            (row["account"], row["currency"]): (row["balance_minor"], row["version"]) for row in self.accounts
        }
        assert of_accounts == running, (of_accounts, running)
        for row in self.rows("postings"):
            is_escrow = row["account"].endswith(":escrow")
            # Within an entry legs come one by one; what counts is where it leaves an account.
            assert not is_escrow or row["balance_after_minor"] >= 0, f"{row['account']} went below zero"

    def _check_payouts(self) -> None:
        payouts = self.rows("payouts")
        numbered = Counter((row["kind"], row["participation_id"], row["n"]) for row in payouts)
        assert max(numbered.values(), default=1) == 1, "paid twice under one number"
        standing: Counter[str] = Counter()
        owners: dict[tuple[str, str], set[str]] = defaultdict(set)
        for row in payouts:
            standing[row["participation_id"]] += 1 if row["kind"] == "payout" else -1
            owners[row["campaign_id"], row["streamer_id"]].add(row["participation_id"])
            assert row["gross_minor"] == row["amount_minor"] + row["fee_minor"]
        assert set(standing.values()) <= {0, 1}, f"a participation has more than one payout that stands: {standing}"
        assert all(len(one) == 1 for one in owners.values()), "a streamer was paid for two participations of a campaign"
        entries = {row["sequence"]: row for row in self.rows("entries")}
        of_entries = {one["key"] for one in entries.values() if one["kind"] in ("payout", "reversal")}
        assert {row["payout_key"] for row in payouts} == of_entries
        assert all(entries[row["sequence"]]["key"] == row["payout_key"] for row in payouts)

    def _check_reversals_and_releases(self) -> None:
        legs: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        keys = {row["sequence"]: row["key"] for row in self.rows("entries")}
        for row in self.rows("postings"):
            legs[keys[row["sequence"]]][row["account"], row["currency"]] += row["amount_minor"]
        entries = {row["key"]: row for row in self.rows("entries")}
        for row in self.rows("payouts"):
            if row["kind"] != "reversal":
                continue
            original = self.tables["payouts"][row["reverses"],]
            for name in ("gross_minor", "fee_minor", "amount_minor"):
                assert row[name] == -original[name]
            # Payout, release (before it, or never) and reversal together leave every account as it was.
            release = entries.get(f"release:{original['payout_key']}")
            together = Counter(legs[original["payout_key"]])
            for key in [row["payout_key"], *([release["key"]] if release else [])]:
                for account, minor in legs[key].items():
                    together[account] += minor
            assert set(together.values()) <= {0}, f"{row['payout_key']} is no mirror"
            assert release is None or release["sequence"] < row["sequence"], "released after the reversal"
        for entry in entries.values():
            if entry["kind"] == "hold_release":
                payout = self.tables["payouts"][entry["corrects"],]
                assert payout["release_at"] is not None
                assert payout["release_at"] <= entry["booked_at"], "released before its time"

    def _check_money(self) -> None:
        """What was paid came out of what was funded, and accounts, payouts and adjustments tell one story."""
        adjusted: Counter[tuple[str, str]] = Counter()
        refunded: Counter[tuple[str, str]] = Counter()
        entries = {row["sequence"]: row for row in self.rows("entries")}
        for row in self.rows("postings"):
            entry, account = entries[row["sequence"]], (row["account"], row["currency"])
            if entry["kind"] == "adjustment":
                adjusted[account] += row["amount_minor"]
            elif entry["kind"] == "refund" and row["account"].endswith(":escrow"):
                refunded[entry["campaign_id"], row["currency"]] -= row["amount_minor"]
        funded: Counter[tuple[str, str]] = Counter()
        for row in self.rows("fundings"):
            funded[row["campaign_id"], row["currency"]] += row["amount_minor"]
        gross: Counter[tuple[str, str]] = Counter()
        net: Counter[tuple[str, str]] = Counter()
        fees: Counter[str] = Counter()
        for row in self.rows("payouts"):
            gross[row["campaign_id"], row["currency"]] += row["gross_minor"]
            net[row["streamer_id"], row["currency"]] += row["amount_minor"]
            fees[row["currency"]] += row["fee_minor"]
        balances = self.balances()
        for (campaign, currency), minor in gross.items():
            given = adjusted[f"campaign:{campaign}:escrow", currency]
            net_funded = funded[campaign, currency] - refunded[campaign, currency] + given
            assert minor <= net_funded, f"{campaign} paid {minor} of {net_funded}"
            assert balances[f"campaign:{campaign}:escrow", currency] == net_funded - minor
        for (streamer, currency), minor in net.items():
            places = [(f"streamer:{streamer}:{place}", currency) for place in ("wallet", "held")]
            assert sum(balances.get(one, 0) for one in places) == minor + sum(adjusted[one] for one in places)
        for currency, minor in fees.items():
            assert balances.get(("platform:fees", currency), 0) == minor + adjusted["platform:fees", currency]
        everything: Counter[str] = Counter()
        for (_, currency), minor in balances.items():
            everything[currency] += minor
        assert set(everything.values()) <= {0}, "the trial balance is not zero"

    def _check_holds_and_pools(self) -> None:
        self.open_holds()
        opened = {row["hold_key"] for row in self.rows("hold_events") if row["event"] == "opened"}
        assert {row["hold_key"] for row in self.rows("hold_events")} == opened
        shares: Counter[str] = Counter()
        for row in self.rows("settlement_lines"):
            shares[row["settlement_key"]] += row["share_minor"]
        assert shares == {row["settlement_key"]: row["pool_minor"] for row in self.rows("settlements")}
        lines = {row["participation_id"]: row["share_minor"] for row in self.rows("settlement_lines")}
        void = {row["subject"]: row["batch"] for row in self.rows("decisions") if row["kind"] == "void"}
        for row in self.rows("payouts"):
            if row["settlement_key"] is not None and row["kind"] == "payout":
                assert row["gross_minor"] == lines[row["participation_id"]], "paid another amount than its share"
                assert row["participation_id"] not in void, "a void share was paid"


def _rows(connection: Connection, name: str) -> list[Row]:
    return [dict(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name}").mappings()]
