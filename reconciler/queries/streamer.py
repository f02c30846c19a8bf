"""A streamer's statement: opening, lines and closing by currency."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.clock import utc_text
from reconciler.ledger.engine import Engine
from reconciler.ledger.reads.general_ledger import Period
from reconciler.ledger.reads.streamer_statement import (
    CurrencyStatement,
    StreamerBalance,
    StreamerStatement,
    streamer_statement,
)
from reconciler.queries import Document
from reconciler.queries.identities import UnknownName, streamer_forms
from reconciler.reports.tables import Column, Columns, Kind, record

EARNINGS_ONLY = (
    "This statement shows earnings, not withdrawals: those are the platform's, and the ledger does not know them."
)

LINE_COLUMNS: Columns = (
    Column("booked_at", Kind.TIME),
    Column("effective_at", Kind.TIME, shown=False),
    Column("kind"),
    Column("campaign_id", Kind.IDENTITY),
    Column("currency", shown=False),
    Column("gross_minor", Kind.AMOUNT),
    Column("fee_minor", Kind.AMOUNT),
    Column("net_minor", Kind.AMOUNT),
    Column("lies"),
    Column("held_minor", Kind.AMOUNT, shown=False),
    Column("wallet_minor", Kind.AMOUNT, shown=False),
    Column("held_after_minor", Kind.AMOUNT, shown=False),
    Column("wallet_after_minor", Kind.AMOUNT, shown=False),
    Column("balance_after_minor", Kind.AMOUNT),
    Column("reason", shown=False),
    Column("key", shown=False),
    Column("corrects", shown=False),
    Column("sequence", Kind.COUNT, shown=False),
)
"""In CSV a currency begins with a row of kind ``opening`` and ends with one of kind ``closing``: only balances."""

_BALANCE_COLUMNS: Columns = (
    Column("held_minor", Kind.AMOUNT),
    Column("wallet_minor", Kind.AMOUNT),
    Column("total_minor", Kind.AMOUNT),
)


def find_statement(engine: Engine, text: str, period: Period) -> StreamerStatement:
    """The statement of the streamer that a text names. Raises UnknownName where the ledger has no earnings of one."""
    for one in streamer_forms(text):
        found = streamer_statement(engine, one, period)
        if found is not None:
            return found
    raise UnknownName(f"the ledger has no earnings of a streamer {text!r}")


def statement_document(found: StreamerStatement, period: Period) -> Document:
    """A statement for JSON."""
    return {
        "streamer_id": found.streamer_id,
        **bounds(period),
        "note": EARNINGS_ONLY,
        "currencies": [
            {
                "currency": one.currency,
                "opening": _balance(one.opening, one.currency),
                "lines": [record(row, LINE_COLUMNS) for row in statement_rows(one)],
                "closing": _balance(one.closing, one.currency),
            }
            for one in found.currencies
        ],
    }


def statement_rows(one: CurrencyStatement) -> Iterator[Document]:
    """The lines of one currency, by the names of LINE_COLUMNS."""
    for line in one.lines:
        row = {column.name: getattr(line, column.name, None) for column in LINE_COLUMNS}
        yield row | _balances(line.after) | {"currency": one.currency}


def framed_rows(one: CurrencyStatement) -> Iterator[Document]:
    """The same between a row of kind ``opening`` and one of kind ``closing``, which have only balances."""
    nothing = {column.name: None for column in LINE_COLUMNS} | {"currency": one.currency}
    yield nothing | {"kind": "opening"} | _balances(one.opening)
    yield from statement_rows(one)
    yield nothing | {"kind": "closing"} | _balances(one.closing)


def bounds(period: Period) -> dict[str, str | None]:
    """A period's ends for a JSON document, in UTC."""
    return {
        "since": None if period.since is None else utc_text(period.since),
        "until": None if period.until is None else utc_text(period.until),
    }


def _balance(balance: StreamerBalance, currency: str) -> Document:
    row = {"currency": currency, "held_minor": balance.held_minor, "wallet_minor": balance.wallet_minor}
    return record(row | {"total_minor": balance.total_minor}, _BALANCE_COLUMNS)


def _balances(balance: StreamerBalance) -> dict[str, int]:
    return {
        "held_after_minor": balance.held_minor,
        "wallet_after_minor": balance.wallet_minor,
        "balance_after_minor": balance.total_minor,
    }
