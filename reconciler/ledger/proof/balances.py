"""Derives every balance again from its postings: each one on the way, and the one that the account holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from reconciler.domain.accounts import kind_of
from reconciler.ledger.proof.faults import Faults
from reconciler.ledger.proof.streaming import rows_in_order

_POSTINGS = """
SELECT p.account, p.currency, p.account_version, p.amount_minor, p.balance_after_minor, p.sequence, p.batch,
       a.balance_minor, a.version, a.kind
FROM postings p LEFT JOIN accounts a ON a.account = p.account AND a.currency = p.currency
ORDER BY p.account, p.currency, p.account_version
"""

_WITHOUT_POSTINGS = """
SELECT a.account, a.currency, a.balance_minor, a.version FROM accounts a
WHERE (a.balance_minor <> 0 OR a.version <> 0) AND NOT EXISTS (
    SELECT 1 FROM postings p WHERE p.account = a.account AND p.currency = a.currency)
ORDER BY a.account, a.currency
"""


class _Account:
    """An account while its postings pass by, in the order of its versions."""

    def __init__(self, row: Sequence[Any]) -> None:
        self.name, self.currency = row[0], row[1]
        self.key = (row[0], row[1])
        self.kept = (row[7], row[8], row[9])
        self.is_escrow = kind_of(str(row[0])) == "escrow"
        self.balance_minor = 0
        self.version = 0


def check_balances(connection: Connection, faults: Faults) -> None:
    """Walk all postings, account by account. One account is in memory at a time."""
    account: _Account | None = None
    for row in rows_in_order(connection, _POSTINGS):
        if account is None or account.key != (row[0], row[1]):
            if account is not None:
                _compare(account, faults)
            account = _Account(row)
        _follow(account, row, faults)
    if account is not None:
        _compare(account, faults)
    for rest in rows_in_order(connection, _WITHOUT_POSTINGS):
        name, currency, balance_minor, version = rest
        detail = f"{name} holds {balance_minor} minor units of {currency} at version {version}, and has no postings"
        faults.add("balance_differs", detail)


def _follow(account: _Account, row: Sequence[Any], faults: Faults) -> None:
    _, _, version, amount_minor, after_minor, sequence, batch, *_ = row
    if not all(isinstance(one, int) for one in (version, amount_minor, after_minor)):
        detail = f"a posting of entry {sequence} on {account.name} holds what is no whole number"
        faults.add("balance_differs", detail, batch=_whole(batch), sequence=_whole(sequence))
        account.version += 1
        return
    if (version, after_minor) != (account.version + 1, account.balance_minor + amount_minor):
        faults.add(
            "balance_differs",
            f"entry {sequence} leaves {account.name} at {after_minor} minor units of {account.currency} (version "
            f"{version}); the postings before give {account.balance_minor + amount_minor} "
            f"(version {account.version + 1})",
            batch=_whole(batch),
            sequence=_whole(sequence),
        )
    elif account.is_escrow and after_minor < 0:
        detail = f"entry {sequence} leaves {account.name} at {after_minor} minor units of {account.currency}"
        faults.add("escrow_negative", detail, batch=_whole(batch), sequence=_whole(sequence))
    # On from what is stored: one wrong row is then one fault or two, and not one for every posting after it.
    account.balance_minor, account.version = after_minor, version


def _compare(account: _Account, faults: Faults) -> None:
    if account.kept != (account.balance_minor, account.version, kind_of(str(account.name))):
        balance_minor, version, kind = account.kept
        faults.add(
            "balance_differs",
            f"{account.name} ({kind}) holds {balance_minor} minor units of {account.currency} at version {version}; "
            f"its postings lead to {account.balance_minor} at version {account.version}",
        )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
